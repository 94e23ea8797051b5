"""What a board says, in a sentence: a reader should not have to find it between the columns."""

from __future__ import annotations

import pandas as pd

from benchmark.boards.columns import NEVER_ATTACKED
from benchmark.boards.standings import FLOOR
from benchmark.boards.statistics import FEWEST

_LITTLE = 0.1
"""Of what undefended explanations tell: what is left of less is next to nothing."""
_PLACES = {"": "", "placed": "Of triggers with a place: ", "unplaced": "Of those without: "}


def answer(noun: str, board: pd.DataFrame) -> str:
    """What a board of one track says, in a sentence or a few.

    Args:
        noun: one of :data:`benchmark.methods.variants.KINDS`.
        board: its rows, as :func:`benchmark.boards.board.build_boards` makes them.
    """
    kinds = board["place"].fillna("") if "place" in board else pd.Series("", board.index)
    groups = sorted(set(kinds) - {""}) or [""]
    parts = [_PLACES[kind] + _ranking(noun, board[kinds == kind]) for kind in groups]
    more = (
        *(_silenced(noun, board), _misleading(board), _transferring(board), _unpromised(board)),
        _opaque(board),
    )
    words = " ".join(parts) + "".join(more)
    clusters = int(board["clusters"].iloc[0]) if "clusters" in board else FEWEST
    if clusters >= FEWEST or all(part.endswith("is ranked.") for part in parts):
        return words
    few = _few(noun, clusters, int(board["cases"].iloc[0]))
    return f"{words} {few} too few to rank: the order is no more than one."


def _ranking(noun: str, board: pd.DataFrame) -> str:
    """Who leads among rows that are ranked together, and who cannot be told from it."""
    closed = board[board["division"] == "closed"]
    ranked = closed[closed["rank"].notna()]
    note = closed.get("note", pd.Series("", closed.index)).fillna(
        ""
    )  # an empty column may have been left out
    sound = ~closed["control"].astype(bool) & note.isin(["", NEVER_ATTACKED]) & closed["score"].notna()
    few = "clusters" in board and int(board["clusters"].iloc[0]) < FEWEST
    unattacked = ranked.empty and bool((note[sound] == NEVER_ATTACKED).any())
    if few or unattacked:
        ranked = closed[sound]
    if ranked.empty:
        return f"No {noun} is ranked."
    leader = ranked.iloc[0]
    floor = _floor(noun, board)
    tells = noun in ("hardening", "repair")
    words = _of_telling(noun, floor, leader) if tells else _leads(noun, leader, floor)
    if noun == "attack" or floor is None:
        words += _shared(ranked, noun)
    if unattacked:
        return f"{words} No attack was asked to adapt to any: none has a rank."
    return words + _neighbours(board)


def _few(noun: str, clusters: int, cases: int) -> str:
    """What there are too few of."""
    if clusters == cases:
        return f"{cases} case{'s are' if cases > 1 else ' is'}"
    what = "unit" if noun == "hardening" else "network"  # of hardenings, cases of one unit are one
    return f"{cases} cases of {clusters} {what}{'s are' if clusters > 1 else ' is'}"


def _unpromised(board: pd.DataFrame) -> str:
    """Where no threshold keeps its rate, because it cannot be set on too few samples."""
    if "unpromised" not in board or not board["unpromised"].max() > 0:
        return ""
    promised = board["promised"].dropna() if "promised" in board else pd.Series(dtype=float)
    rate = f"{promised.iloc[0]:.0%}" if len(promised) else "the rate of"
    share = float(board["unpromised"].max())
    said = f"{rate} false alarms cannot be promised on {share:.0%} of the tasks"
    if share == 1:
        said = f"Nowhere here can {rate} false alarms be promised"
    return (
        f" {said}: there are too few clean networks or harmless images to set a threshold on, and nothing is "
        "detected there."
    )


def _leads(noun: str, leader: pd.Series, floor: pd.Series | None) -> str:
    named = f"{leader[noun]} {_score(leader)}{_tries(leader)}"
    more, most = ("manipulates more", "manipulates most") if noun == "attack" else ("sees more", "sees most")
    if floor is not None and leader["score"] <= floor["score"]:
        least = f"No {noun} {more} than {floor[noun]} {_score(floor)}"
        return f"{least}." if leader["score"] == floor["score"] else f"{least}; the best is {named}."
    if floor is not None and not _is_first(leader, floor):
        return f"The best {noun}, {named}, is not clearly better than {floor[noun]} {_score(floor)}."
    return f"{leader[noun]} {most} {_score(leader)}{_tries(leader)}."


def _of_telling(noun: str, none: pd.Series | None, leader: pd.Series) -> str:
    best = f"{leader[noun]} {_score(leader)}{_tries(leader)}"
    if none is None:
        return f"The best {noun} is {best}."
    nothing = f"{none[noun]} {_score(none)}"
    if leader["score"] <= none["score"]:
        return f"No {noun} does better than {nothing}; the best is {best}."
    if not _is_first(leader, none):
        return f"The best {noun}, {best}, is not clearly better than {nothing}."
    return f"The best {noun}, {best}, does better than {nothing}."


def _is_first(leader: pd.Series, floor: pd.Series) -> bool:
    """Whether the leader is ranked before the control that does nothing; unranked, whether clear of it."""
    if pd.notna(leader["rank"]):
        return bool(leader["rank"] == 1)
    return bool(leader["ci_low"] > floor["ci_high"])


def _floor(noun: str, board: pd.DataFrame) -> pd.Series | None:
    """The control that does nothing, where it has a score."""
    rows = board[board.get(noun, pd.Series("", board.index)) == FLOOR.get(noun, "")]
    return rows.iloc[0] if len(rows) and pd.notna(rows.iloc[0]["score"]) else None


def _silenced(noun: str, board: pd.DataFrame) -> str:
    """Where no hardening is worth much once attacked, and the order is that of clean explanations."""
    if noun != "hardening" or "truth" not in board:
        return ""
    none = board["hardening"] == "none"
    left = board.loc[(none | ~board["control"].astype(bool)) & board["score"].notna(), "truth"].dropna()
    if len(left) < 2 or left.max() >= _LITTLE:
        return ""
    much = f"more than {left.max():.2f}" if left.max() >= 0.005 else "anything"
    return (
        f" Under the worst attack none of them tells {much}: the order is mostly that of what they tell "
        "unattacked."
    )


def _misleading(board: pd.DataFrame) -> str:
    """Hardenings that attacks by queries move further than attacks by gradients."""
    if "misleads" not in board:
        return ""
    rows = board[board["misleads"].eq(True)]
    told = [
        f"{row['hardening']} ({row['by_queries']:.2f} by queries, {row['by_gradients']:.2f} by gradients)"
        for _, row in rows.iterrows()
    ]
    return f" Gradients mislead attacks on {', '.join(told)}." if told else ""


def _transferring(board: pd.DataFrame) -> str:
    """Hardenings that forgeries made against others move further than those made against them."""
    if "transfers" not in board:
        return ""
    names = board.loc[board["transfers"].eq(True), "hardening"].astype(str)
    if names.empty:
        return ""
    return f" What was made against others moves {', '.join(names)} further than what was made against it."


def _opaque(board: pd.DataFrame) -> str:
    """Where networks were asked for gradients alone, since nothing can look into them."""
    share = float(board["opaque"].max()) if "opaque" in board else 0.0
    if not share > 0:  # or not a number
        return ""
    told = "The networks" if share == 1 else f"Of {share:.0%} of the cases the network"
    return f" {told} could not be looked into: explanations and attacks had gradients of it as a whole."


def _shared(ranked: pd.DataFrame, noun: str) -> str:
    """Who cannot be told from the leader."""
    group, rest = float(ranked["tie_group"].astype(float).iloc[0]), ranked.iloc[1:]
    others = rest.loc[rest["tie_group"].astype(float).eq(group), noun].astype(str)
    return f" It cannot be told apart from {', '.join(others)}." if len(others) else ""


def _neighbours(board: pd.DataFrame) -> str:
    """How many places are told from the one before, the control that does nothing at its place among them.

    Where most are not, the order is more than a board knows.
    """
    closed = board[board["division"] == "closed"]
    apart = closed["apart"].dropna() if "apart" in closed else pd.Series(dtype=float)
    pairs, told = len(apart), int(apart.sum())
    if pairs < 2:  # of one pair the sentence before has said it
        return ""
    if told == pairs:
        return f" All {pairs} pairs of neighbours are told apart."
    which = {0: "none is", 1: "one is"}.get(told, f"{told} are")
    rest = "the others are equal as far as this run can tell"
    return f" Of {pairs} pairs of neighbours {which} told apart; {rest}."


def _tries(row: pd.Series) -> str:
    """Of how many variants it is the best."""
    tries = row.get("tries", 1)
    return f", the best of {int(tries)} tries" if pd.notna(tries) and tries > 1 else ""


def with_interval(row: pd.Series, digits: int) -> str:
    """A row's score and its interval; of one case, or one cluster of them, there is none but a point."""
    score = f"{row['score']:.{digits}f}"
    if row.get("clusters") == 1:
        return f"{score} [{'one case' if row.get('cases', 1) == 1 else 'one cluster'}]"
    return f"{score} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"


def _score(row: pd.Series) -> str:
    return f"({with_interval(row, 2)})"
