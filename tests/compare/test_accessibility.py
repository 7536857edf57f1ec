"""A report in a real browser: nothing is clipped, and axe-core finds nothing that keeps out a person."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lantu import pages
from lantu.compare.analysis import Options, analyse
from lantu.compare.reading.run_frames import Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.report.page import write_report
from lantu.registry.launch_page import page
from tests.browser import Browser
from tests.registry.test_launch import GATES, evidence, lines

AXE = "axe-core@4.10.3"
WIDTHS = (390, 800, 1400)
pytestmark = pytest.mark.slow
CLIPPED = """[...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().width
  && each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, .wide, svg")).length"""
JUDGED = """axe.run(document, { resultTypes: ["violations"] }).then((found) =>
  found.violations.map((each) => each.id + ": " + each.nodes.map((node) => node.html.slice(0, 100)).join(" | ")))"""


@pytest.fixture(scope="module")
def browser(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A report of the sweep, open, with two runs ticked."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    reader = open_reader(store)
    write_report(analyse(reader, Selection(sweeps=("lr_width",)), Options()), reader, file)
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(f"file://{file}")
        opened.run(
            "[0, 5].forEach((at) => document.querySelector('[data-part=body]').rows[at].querySelector('input').click())"
        )
        yield opened


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of axe-core, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which brings axe-core, and it is not installed")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", AXE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("needs axe-core from npm, which does not answer")
    if done.returncode:
        pytest.skip(f"needs axe-core from npm, which does not come: {done.stderr.strip().splitlines()[-1:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_of_a_report_is_clipped(browser: Browser, width: int) -> None:
    browser.look_at(width=width)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run(CLIPPED) == 0


def test_nothing_of_a_report_is_clipped_on_paper_where_nobody_can_scroll(browser: Browser) -> None:
    names = "[...document.querySelectorAll('.stack tbody td:first-child, .runs tbody td:last-child')]"
    browser.run(f"{names}.forEach((each) => {{ each.className = ''; each.textContent = '/a/long/folder'.repeat(9); }})")
    browser.look_at(width=718, paper=True)  # A4 within its margins
    try:
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run(CLIPPED.replace(".scroll, .wide, svg", "svg")) == 0
    finally:
        browser.look_at(width=1400)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_violation_in_a_report(browser: Browser, axe: str, width: int, dark: bool) -> None:
    browser.look_at(width=width, dark=dark)
    browser.run(f"{axe}; 1")
    assert browser.run(JUDGED) == []


def test_axe_finds_no_violation_in_a_launch_page_and_in_the_pages_of_other_commands(axe: str, tmp_path: Path) -> None:
    candidate = evidence(None)
    launch = page(candidate, None, lines(candidate), verdict="not yet", seal="1", gates=GATES)
    table = pages.table(["", "value"], [["a", 1], ["b", 2]])
    plain = pages.page("New rows", [pages.heading("Columns"), pages.paragraph("Shifted.", kind="warning"), table])
    with Browser(tmp_path / "profile") as browser:
        for content in (launch, plain):
            (tmp_path / "page.html").write_text(content, encoding="utf-8")
            browser.open(f"file://{tmp_path}/page.html")
            browser.run(f"{axe}; 1")
            for width, dark in ((390, False), (390, True), (1400, True)):
                browser.look_at(width=width, dark=dark)
                assert browser.run(JUDGED) == []
                assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_the_slider_smooths_the_curves_and_shows_them_as_measured_behind(browser: Browser) -> None:
    lines = "[...document.querySelectorAll('[data-smooth] .frame polyline')]"
    points = f"{lines}.map((each) => each.getAttribute('points'))"
    before = browser.run(points)
    browser.run("smoothing.value = 90; smoothing.dispatchEvent(new Event('input')); 1")
    after = browser.run(points)
    assert before[::2] == after[::2], "every first of two is the curve as it was measured"
    assert all(one != two for one, two in zip(before[1::2], after[1::2], strict=True))
    browser.run("smoothing.value = 0; smoothing.dispatchEvent(new Event('input')); 1")
    last = [[float(each.split(",")[1]) for each in line.split(" ")] for line in browser.run(points)]
    assert all(one == pytest.approx(two, abs=0.06) for one, two in zip(last[::2], last[1::2], strict=True))
