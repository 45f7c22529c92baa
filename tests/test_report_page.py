"""The report in a real browser: what it shows, what it lets people do, and whom it keeps out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from browser import DESKTOP, PHONE, Scheme, Visit, launched, program, visit
from playwright.sync_api import Browser, Page, expect
from rendering import render
from warm import WarmProcess

pytestmark = [
    pytest.mark.integration,
    pytest.mark.browser,
    pytest.mark.skipif(program() is None, reason="no Chromium on this machine"),
]

SHORT = ["--batch_size", "32", "--num_workers", "0", "--export_bundle", "false"]
# every width and scheme once; the other two pairs are seen in the slow set
LOOKS: list[tuple[int, Scheme]] = [(DESKTOP, "light"), (PHONE, "dark")]
OTHER_LOOKS: list[tuple[int, Scheme]] = [(DESKTOP, "dark"), (PHONE, "light")]


@dataclass
class Project:
    """A rendered project whose package is imported once.

    Attributes:
        folder: where it is.
        process: runs its commands.
    """

    folder: Path
    process: WarmProcess

    def train(self, *options: str) -> Path:
        """Train for a few steps; gives the run's folder."""
        before = set(self.folder.glob("runs/*/report.html"))
        self.process.run(self.folder, "train", *SHORT, *options)
        [made] = set(self.folder.glob("runs/*/report.html")) - before
        return made.parent

    def compare(self, *runs: Path) -> Path:
        """The page of several runs."""
        self.process.run(self.folder, "report", *map(str, runs))
        return runs[0].parent / "comparison.html"


def project(modality: str, template_folder: Path, folder: Path) -> Iterator[Project]:
    answers = {"modality": modality, "project_name": f"{modality.title()} Project"}
    rendered = render(template_folder, folder / modality, answers)
    package = f"{modality}_project"
    environment = {"OMP_NUM_THREADS": "1"}
    log = folder / f"{modality}.log"
    with WarmProcess(rendered / "src", package, log, environment) as process:
        yield Project(rendered, process)


@pytest.fixture(scope="module")
def vision(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from project("vision", template_folder, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def text(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from project("text", template_folder, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def digits(vision: Project) -> Path:
    """A run that has learned something, but not everything."""
    return vision.train("--max_steps", "60")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def drawn(seen: Visit) -> Page:
    """The page, once its charts are there."""
    seen.page.wait_for_selector("html[data-drawn]", state="attached")
    return seen.page


def check_looks(browser: Browser, report: Path, looks: list[tuple[int, Scheme]]) -> None:
    for width, scheme in looks:
        with visit(browser, report, width=width, scheme=scheme) as seen:
            drawn(seen)
            assert seen.complaints == seen.foreign() == seen.barriers() == []
            assert not seen.is_too_wide()


def curve(page: Page, chart: str, series: str) -> tuple[list[float], list[float]]:
    content = page.locator("#page-data").evaluate("element => element.textContent")
    [found] = [
        one for one in json.loads(content)["charts"][chart]["series"] if one["name"] == series
    ]
    return found["x"], found["y"]


def lines_of(page: Page, chart: str) -> list[str | None]:
    """The shapes of a chart's lines."""
    paths = page.locator(f'[data-chart="{chart}"] .mark-line path').all()
    return [path.get_attribute("d") for path in paths]


# --- A classifier of images -----------------------------------------------------------------------


@pytest.mark.parametrize("looks", [LOOKS, pytest.param(OTHER_LOOKS, marks=pytest.mark.slow)])
def test_it_keeps_nobody_out_and_asks_for_nothing(
    looks: list[tuple[int, Scheme]], browser: Browser, digits: Path
) -> None:
    check_looks(browser, digits / "report.html", looks)


def test_its_numbers_are_those_of_the_metrics_file(browser: Browser, digits: Path) -> None:
    rows = pd.read_csv(digits / "metrics.csv")
    validated = rows.dropna(subset=["val/loss"])
    best = validated.sort_values(["val/accuracy", "val/loss"], ascending=[False, True]).iloc[0]
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        for name in ("val/loss", "val/accuracy", "val/f1"):
            row = page.locator("#metrics tr", has=page.get_by_text(name, exact=True))
            assert row.locator("td").first.inner_text() == f"{best[name]:.4f}"
            low, high = row.locator("td").nth(1).inner_text().split(" to ")
            assert float(low) <= round(best[name], 4) <= float(high)
        losses = rows[["optimizer_step", "train/loss"]].dropna()
        x, y = curve(page, "loss", "training, each step")
        assert x == losses["optimizer_step"].tolist()
        assert y == pytest.approx(losses["train/loss"].tolist(), rel=1e-5)
        _, accuracy = curve(page, "scores", "accuracy")
        assert accuracy == pytest.approx(validated["val/accuracy"].tolist(), rel=1e-5)
        for row in page.locator("#classes tbody tr").all():
            name, recall = row.locator("th").inner_text(), row.locator("td").nth(1).inner_text()
            assert recall == f"{best[f'val/recall/{name}']:.4f}"


def test_a_cell_of_the_confusion_shows_its_samples(browser: Browser, digits: Path) -> None:
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        buttons = page.locator(".confusion [data-cell]")
        counts = [int(count) for count in buttons.evaluate_all("b => b.map(o => o.dataset.count)")]
        assert sum(counts) == 360
        wrong = page.locator("#confusion .cell").first
        truth, answer = (wrong.get_attribute("data-cell") or "").split(",")
        # the surest mistake is named beside the pair, without a click and without scripts
        row = page.locator("#confusion .scroll-y tbody tr").first
        assert f"data/val/{truth}/" in row.locator(".file").inner_text()
        cell = page.locator(f'.confusion [data-cell="{truth},{answer}"]')
        cell.focus()
        page.keyboard.press("Enter")
        expect(cell).to_have_attribute("aria-pressed", "true")
        panel = page.locator("#chosen-cell")
        files = panel.locator(".file").all_inner_texts()
        assert len(files) == int(cell.get_attribute("data-count") or 0)
        assert all(file.startswith(f"data/val/{truth}/") for file in files)
        assert panel.locator("img").count() == len(files)
        expect(panel).to_contain_text(f"answer: {answer} (")
        expect(panel).to_contain_text("runner-up: ")
        page.get_by_role("button", name="share of the row").click()
        expect(cell).to_have_text(re.compile(r"^\d+%$"))


def test_the_table_of_classes_is_sorted(browser: Browser, digits: Path) -> None:
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        header = page.locator("#classes th", has=page.get_by_role("button", name="samples"))
        cells = page.locator("#classes tbody td:nth-child(2)")
        for order, is_reverse in (("descending", True), ("ascending", False)):
            header.get_by_role("button").click()
            expect(header).to_have_attribute("aria-sort", order)
            counts = [int(count) for count in cells.all_inner_texts()]
            assert counts == sorted(counts, reverse=is_reverse)


def test_a_chart_answers(browser: Browser, digits: Path) -> None:
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        chart = page.locator('[data-chart="loss"]')
        whole = lines_of(page, "loss")
        plot = chart.locator(".plot")
        plot.scroll_into_view_if_needed()
        plot.hover(position={"x": 300, "y": 120})
        tooltip = page.locator("#vg-tooltip-element")
        expect(tooltip).to_be_visible()
        expect(tooltip).to_contain_text("optimizer step")

        validation = chart.get_by_role("checkbox", name="validation")
        validation.uncheck()
        assert len(lines_of(page, "loss")) == len(whole) - 1
        validation.check()
        assert lines_of(page, "loss") == whole

        smoothing = chart.get_by_role("slider", name="Smoothing")
        smoothing.fill("90")
        assert lines_of(page, "loss")[0] != whole[0]
        smoothing.fill("0")
        assert lines_of(page, "loss") == whole

        box = plot.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 150, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 350, box["y"] + 100, steps=4)
        page.mouse.up()
        assert lines_of(page, "loss") != whole
        chart.get_by_role("button", name="Show all").click()
        assert lines_of(page, "loss") == whole
        chart.get_by_role("button", name="Zoom in").click()
        assert lines_of(page, "loss") != whole
        chart.get_by_role("button", name="Zoom out").click()
        assert lines_of(page, "loss") == whole
        assert seen.complaints == []


FOCUSABLE = "a[href], button:not([tabindex='-1']), input, summary, [tabindex='0']"


def test_the_keyboard_reaches_everything(browser: Browser, digits: Path) -> None:
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        # what a folded part holds is reached once it is unfolded
        wanted = page.locator(FOCUSABLE).evaluate_all(
            "found => found.filter(one => one.checkVisibility()).length"
        )
        assert len(seen.reached_by_keyboard(1000)) == wanted > 60
        assert seen.page.locator("h1").count() == 1


def test_arrows_reach_every_cell_of_the_confusion(browser: Browser, digits: Path) -> None:
    with visit(browser, digits / "report.html") as seen:
        page = drawn(seen)
        cells = page.locator(".confusion [data-cell]")
        places = [str(place) for place in cells.evaluate_all("b => b.map(o => o.dataset.cell)")]
        focused = "document.activeElement.dataset.cell"
        assert page.locator(".confusion [data-cell][tabindex='0']").count() == 1
        page.locator(".confusion [data-cell][tabindex='0']").focus()
        reached = [page.evaluate(focused)]
        for _ in range(len(places)):  # the last step goes nowhere
            page.keyboard.press("ArrowRight")
            reached.append(page.evaluate(focused))
        assert reached == [*places, places[-1]]
        page.keyboard.press("Home")
        assert page.evaluate(focused) == places[0]
        page.keyboard.press("ArrowDown")
        column = [place for place in places if place.split(",")[1] == "0"]
        assert page.evaluate(focused) == (column[1] if len(column) > 1 else places[0])
        page.keyboard.press("ArrowUp")
        assert page.evaluate(focused) == places[0]
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        expect(cells.last).to_have_attribute("aria-pressed", "true")
        assert page.locator(".confusion [data-cell][tabindex='0']").count() == 1


def test_without_scripts_every_table_is_there(browser: Browser, digits: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto((digits / "report.html").as_uri())
        for part in ("metrics", "confusion", "classes", "samples", "calibration", "settings"):
            expect(page.locator(f"#{part} h2")).to_be_visible()
        expect(page.locator("#classes tbody tr")).to_have_count(10)
        expect(page.locator(".confusion [data-cell]").first).to_be_visible()
        expect(page.locator(".controls").first).to_be_hidden()
        page.locator('[data-chart="loss"] summary').click()
        expect(page.locator('[data-chart="loss"] tbody tr').first).to_be_visible()
    finally:
        context.close()


def test_two_runs_beside_each_other(browser: Browser, vision: Project, digits: Path) -> None:
    second = vision.train("--max_steps", "4", "--learning_rate", "0.0001")
    comparison = vision.compare(digits, second)
    check_looks(browser, comparison, LOOKS)
    with visit(browser, comparison) as seen:
        page = drawn(seen)
        expect(page.locator(".verdict")).to_contain_text(f"{digits.name} is best: accuracy")
        accuracy = page.locator("#best-metrics tbody tr").first.locator("td").nth(2)
        expect(accuracy).to_have_text(re.compile(r"^0\.\d{4} \(0\.\d{4} to [01]\.\d{4}\)$"))
        settings = page.locator("#settings tbody th").all_inner_texts()
        assert settings == ["max_steps", "learning_rate"]
        shown = page.locator('[data-chart="train/loss"] .series').all_inner_texts()
        assert shown == [digits.name, second.name]
        for run in (digits, second):
            rows = pd.read_csv(run / "metrics.csv")["train/loss"].dropna()
            _, losses = curve(page, "train/loss", run.name)
            assert losses == pytest.approx(rows.tolist(), rel=1e-5)
        page.get_by_role("link", name=second.name).click()
        expect(page.locator("h1")).to_have_text(second.name)


# --- Other tasks ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("vision_multilabel", ["labels", "samples", "calibration"]),
        ("vision_regression", ["values", "samples"]),
    ],
)
def test_other_tasks_of_images(
    task: str, parts: list[str], browser: Browser, vision: Project
) -> None:
    vision.process.run(vision.folder, "data", "sample", "--task", task, "--data", task)
    run = vision.train("--task", task, "--data", task, "--max_steps", "20")
    check_task(browser, run, parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("text_classification", ["confusion", "classes", "samples", "calibration"]),
        ("lm", ["tokens", "texts"]),
        ("masked_lm", ["tokens", "texts"]),
    ],
)
def test_tasks_of_texts(task: str, parts: list[str], browser: Browser, text: Project) -> None:
    text.process.run(text.folder, "data", "sample", "--task", task, "--data", task)
    for number, path in enumerate(sorted((text.folder / task).rglob("*.txt"))):
        if number % 6:
            path.unlink()
    run = text.train("--task", task, "--data", task, "--max_steps", "6")
    check_task(browser, run, parts)


def check_task(browser: Browser, run: Path, parts: list[str]) -> None:
    check_looks(browser, run / "report.html", LOOKS)
    rows = pd.read_csv(run / "metrics.csv")
    with visit(browser, run / "report.html") as seen:
        page = drawn(seen)
        for part in parts:
            expect(page.locator(f"#{part} h2")).to_be_visible()
        row = page.locator("#metrics tr", has=page.get_by_text("val/loss", exact=True))
        shown = float(row.locator("td").first.inner_text())
        assert any(abs(loss - shown) < 1e-3 for loss in rows["val/loss"].dropna())
        figures = page.locator("figure[data-chart]")
        assert page.locator("figure[data-chart]:has(.plot svg)").count() == figures.count() > 3
