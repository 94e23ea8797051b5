"""Many attacks on a map under one budget, of which each image keeps the best."""

from __future__ import annotations

from collections.abc import Sequence

from baselines.attacks.ensemble_parts import Member
from baselines.attacks.ensemble_run import Outcome, Run, Settings
from baselines.attacks.square_search import SquareSearch
from benchmark.api import Attack, Case, Forgery, TaskFacts


class Ensemble(Attack):
    """The scheme of AutoAttack on maps: different attacks, no parameters, the best of each image.

    It begins with ``dombrowski`` at its usual settings, whose result is the floor. Then every member has two
    fifths as many explanations, from a start of its own. What is left goes, in parts as large as the floor,
    to the member that has reached most on a case, from the best image so far; one that gains less than .01
    there hands on to the next. A case is done at a correlation of .99. All in all it asks for ``times`` as
    many explanations as the floor, or as many as the task allows.

    Whatever is kept is of eight bits, keeps its prediction, and was looked at through the exact explainer,
    under two draws where it has chance; in the end under eight fresh ones, beside the floor. Against a
    detector, worth is the correlation less what is suspected beyond nine in ten natural images: the threshold
    is the judge's alone.

    What a case saves by being done is saved, and not spent on others: samples never interact.

    Unlike AutoAttack's members these share one budget, divided by what they reach (each of its four runs in
    full on what is not broken yet), and the losses are distances of maps.
    """

    name = "ensemble"
    paper = "after Croce and Hein, Reliable evaluation of adversarial robustness (AutoAttack), ICML 2020"
    evades = True

    times: float = 6.0
    """Explanations, in those of ``dombrowski``."""
    first: float = 0.4
    """Of a member in the first round, likewise."""
    later: float = 1.0
    """Of each part after it."""
    iterations: int = 200
    """Steps of ``dombrowski``."""

    members: Sequence[Member] = (
        Member("adam", "adam"),
        Member("adam_softplus", "adam", surrogate="softplus", random=True),
        Member("adam_exact", "adam", surrogate="exact"),
        Member("signs", "signs"),
        Member("signs_squared", "signs", loss="squared", random=True),
        Member("signs_ssim", "signs", loss="dissimilar"),
        Member("squares", "squares"),
    )

    def skip(self, task: TaskFacts) -> str | None:
        """Budgets that one of its members is not for."""
        return SquareSearch().skip(task)

    def forge(self, case: Case) -> Forgery:
        """The best image of each case."""
        return Forgery(self.attacked(case).inputs)

    def attacked(self, case: Case) -> Outcome:
        """The best image of each case, who made it, and what it took."""
        settings = Settings(self.times, self.first, self.later, self.iterations, self.members)
        return Run(settings, case).outcome()


class EnsembleSmall(Ensemble):
    """The same with three members, in 2.3 times the explanations of ``dombrowski``."""

    name = "ensemble_small"
    paper = Ensemble.paper

    times = 2.3
    first = 0.25
    later = 0.5

    members = (
        Member("adam", "adam"),
        Member("signs_squared", "signs", loss="squared", random=True),
        Member("squares", "squares"),
    )
