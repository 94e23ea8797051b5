"""The site in a real browser, from disk and without a network: skipped where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT
from site_case import HOSTILE, made_up

from benchmark.publishing.site.pages import Site, write_site
from benchmark.publishing.site.reading import read_published
from benchmark.publishing.site.texts import visible

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no chromium here", allow_module_level=True)

METHODS, TASKS = 200, 100
LIMIT_MS = 300
"""For a sort and for a filter."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        made = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page without a network; whatever it complains of, or asks another host for, fails the test."""
    context = browser.new_context(offline=True)
    found: list[str] = []
    made = context.new_page()
    made.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: found.append(str(error)))
    made.on("dialog", lambda dialog: (found.append("a dialog"), dialog.dismiss()))
    made.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else found.append(r.url))
    yield made
    context.close()
    assert found == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site") / "site"
    suites = [
        read_published(ROOT / "results/published" / name) for name in ("quick", "signature", "saliency")
    ]
    write_site(Site(suites, {}, ROOT, pictures=False), made)
    return made


def _column(page: Any, table: str, index: int) -> list[str]:
    found: list[str] = page.locator(f"#{table} tbody tr td:nth-child({index}):visible").all_inner_texts()
    return found


def test_every_kind_of_page_opens_without_a_complaint(page: Any, folder: Path) -> None:
    for name in (
        "index",
        "methods",
        "tasks",
        "methods/dombrowski",
        "tasks/saliency/cifar-lrp-8",
        "quick/saliency",
    ):
        page.goto((folder / f"{name}.html").as_uri())
        assert page.locator("h1").inner_text()
    page.goto((folder / "index.html").as_uri())
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert loaded < 2000


def test_a_board_sorts_filters_folds_and_draws_its_plots(page: Any, folder: Path) -> None:
    page.goto((folder / "saliency/saliency.html").as_uri())
    names = page.locator("#board-hardenings tbody th").all_inner_texts()
    assert not any("beta=5" in name for name in names) and any("control" in name for name in names)
    page.get_by_label("all variants").first.check()
    assert page.locator("#board-hardenings tbody th", has_text="beta=5").count() == 1
    page.locator("#hardenings .controls").uncheck()
    assert not page.locator("#board-hardenings tbody th .mark", has_text="control").count()
    head = page.locator("#board-hardenings thead th", has_text="Protection")
    head.click()
    head.click()
    shown = [float(text.replace("\u2212", "-")) for text in _column(page, "board-hardenings", 6)]
    assert len(shown) > 3 and shown in (sorted(shown), sorted(shown, reverse=True))
    assert head.get_attribute("aria-sort") in ("ascending", "descending")
    page.locator("#hardenings .find").fill("smoothgrad")
    assert page.locator("#board-hardenings tbody tr").count() == 1
    assert page.locator(".canvas svg").count() == page.locator("figure.plot").count() > 0


def test_a_field_of_the_matrix_leads_to_its_cells_and_one_of_them_to_its_command(
    page: Any, folder: Path
) -> None:
    page.goto((folder / "quick/saliency.html").as_uri())
    page.locator("#matrix-hardenings td a").first.click()
    page.wait_for_url("**/cells.html#*")
    assert page.locator("#list-cells tbody tr").count() >= 1
    attack = page.locator(".filters select[data-column=attack]").input_value()
    assert {row for row in _column(page, "list-cells", 4)} == {attack}
    page.locator("#list-cells tbody a").first.click()
    command = page.locator("#cell code").filter(has_text="potemkin reproduce").inner_text()
    assert command.startswith("potemkin reproduce saliency/") and command.endswith("--suite quick")


def test_the_theme_can_be_chosen_and_stays(page: Any, folder: Path) -> None:
    page.goto((folder / "index.html").as_uri())
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_no_page_is_wider_than_a_phone(page: Any, folder: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name in (
        "index",
        "methods",
        "methods/dombrowski",
        "tasks/saliency/cifar-lrp-8",
        "quick/saliency",
        "quick/cells",
    ):
        page.goto((folder / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_what_strangers_write_runs_nowhere(page: Any, tmp_path: Path) -> None:
    suite = made_up(tmp_path, list(HOSTILE), list(HOSTILE), ["saliency/gradient-32", *HOSTILE[:3]])
    write_site(Site([suite], {}, ROOT, {"made_up": HOSTILE[0]}, pictures=False), tmp_path / "site")
    for name in ("index", "methods", "tasks", "made_up/saliency", "made_up/cells"):
        page.goto((tmp_path / f"site/{name}.html").as_uri())
        assert page.locator("img").count() == 0
    page.locator("#list-cells tbody a").first.click()
    assert visible(HOSTILE[0]) in page.locator("#cell").inner_text()


_TIMED = """([table, act, value]) => new Promise((resolve) => {
    const start = performance.now();
    $(`#${table}`).one("draw.dt", () => requestAnimationFrame(() => resolve(performance.now() - start)));
    if (act === "sort") {
        const heads = [...document.querySelectorAll(`#${table} thead th`)];
        heads.find((one) => one.textContent.includes(value)).click();
        return;
    }
    const input = document.querySelector(`.filters[data-for=${table}] .find`);
    input.value = value;
    input.dispatchEvent(new Event("input"));
})"""
"""Milliseconds from an action to the table as it is then painted."""


def test_twenty_thousand_rows_sort_and_filter_at_once(page: Any, tmp_path: Path) -> None:
    attacks = [f"attack_{i:03d}" for i in range(METHODS)]
    suite = made_up(tmp_path, attacks, [], [f"saliency/task-{i:03d}" for i in range(TASKS)])
    write_site(Site([suite], {}, ROOT, pictures=False), tmp_path / "site")
    page.goto((tmp_path / "site/made_up/saliency.html").as_uri())
    assert page.evaluate("potemkin.tasks.rows.length") == METHODS * TASKS
    for table in ("board-attacks", "board-tasks"):
        sorts = [page.evaluate(_TIMED, [table, "sort", head]) for head in ("Score", "Attack", "Score")]
        finds = [page.evaluate(_TIMED, [table, "find", text]) for text in ("attack_19", "attack_0", "")]
        print(f"{table}: sorts {sorts}, finds {finds} ms")
        # The best of three: what else runs on the machine is no part of it.
        assert min(sorts) <= LIMIT_MS and min(finds) <= LIMIT_MS
