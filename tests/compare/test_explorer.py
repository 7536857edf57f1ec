"""The part of the report that one can work in, in a real browser."""

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from lantu.cli.main import main
from lantu.compare.analysis import Analysis, Options, analyse
from lantu.compare.reading.run_frames import Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.report.explorer import drawn, explorer_data, explorer_section
from lantu.compare.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
ACTIONS = """
<script>
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const found = {};
const look = (name) => { found[name] = { count: part("count").textContent, rows: [...part("body").rows].map((row) =>
  [...row.cells].map((cell) => cell.textContent)), head: [...part("head").cells].map((cell) => cell.textContent) }; };
const search = (text) => { part("search").value = text; part("search").dispatchEvent(new Event("input")); };
const drag = (canvas, from, to) => {
  canvas.setPointerCapture = () => {};
  const box = canvas.getBoundingClientRect();
  const at = ([x, y]) => ({ clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1 });
  canvas.dispatchEvent(new PointerEvent("pointerdown", at(from)));
  canvas.dispatchEvent(new PointerEvent("pointerup", at(to)));
};
look("all");
search("width=32"); look("width");
search("lr<0.05 width=32"); look("both");
part("clear").click();
[...part("head").querySelectorAll("button")].find((each) => each.textContent.startsWith("lr")).click(); look("sorted");
for (const at of [0, 5]) part("body").rows[at].querySelector("input").click();
part("note").value = "it's odd"; part("note").dispatchEvent(new Event("input"));
found.note = part("note-command").textContent;
found.drawn = ["none", "best", "median", "contour"].map((kind) => {
  part("trend").value = kind; part("trend").dispatchEvent(new Event("change"));
  return part("scatter").toDataURL().length;
});
found.differing = [...part("differing").rows].map((row) => row.cells[0].textContent);
part("clear").click();
const parallel = part("parallel");
drag(parallel, [46, 26], [46, 60]); look("brushed");
drag(parallel, [46, 40], [46, 41]); look("unbrushed");
drag(part("scatter"), [62, 10], [part("scatter").clientWidth / 2, 280]); look("boxed");
document.body.innerHTML = "";
document.body.append(Object.assign(document.createElement("pre"), { id: "found", textContent: JSON.stringify(found) }));
</script></body>"""


@pytest.fixture(scope="module")
def analysis(store: str) -> Analysis:
    return analyse(open_reader(store), Selection(sweeps=("lr_width",)), Options())


@pytest.fixture(scope="module")
def found(store: str, analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page shows after each of some actions."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    file = tmp_path_factory.mktemp("explorer") / "report.html"
    write_report(analysis, open_reader(store), file)
    file.write_text(file.read_text().replace("</body>", ACTIONS), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--dump-dom"]
    done = subprocess.run([*command, f"file://{file}"], capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="found">(.*)</pre>', done.stdout)
    assert text, done.stdout[-2000:]
    result: dict[str, Any] = json.loads(text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return result


def column(shown: dict[str, Any], name: str) -> list[str]:
    place = next(at for at, text in enumerate(shown["head"]) if text.split(" ")[0] == name)
    return [row[place] for row in shown["rows"]]


def counted(shown: dict[str, Any]) -> int:
    return int(shown["count"].split(" ")[0])


def test_the_table_begins_with_all_runs_the_best_first(found: dict[str, Any], analysis: Analysis) -> None:
    assert found["all"]["count"] == f"{len(analysis.runs)} of {len(analysis.runs)} runs"
    scores = [float(text) for text in column(found["all"], "val/loss") if text]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(analysis.runs.score.min(), rel=1e-4)


def test_words_and_conditions_of_the_search_narrow_the_runs(found: dict[str, Any], analysis: Analysis) -> None:
    settings = analysis.groups.settings.reindex(analysis.groups.of_run)
    wide = settings["model.width"] == 32
    assert counted(found["width"]) == wide.sum() > 0
    assert counted(found["both"]) == (wide & (settings["optimizer.lr"] < 0.05)).sum() > 0


def test_a_click_on_a_heading_sorts_by_it(found: dict[str, Any]) -> None:
    rates = [float(text) for text in column(found["sorted"], "lr")]
    assert rates == sorted(rates)
    assert len(set(rates)) > 1


def test_two_ticked_runs_show_only_what_differs(found: dict[str, Any]) -> None:
    assert "val/loss" in found["differing"]
    assert "ended" not in found["differing"]


def test_a_note_on_the_ticked_runs_becomes_commands_that_write_it_into_mlflow(
    found: dict[str, Any], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [shlex.split(line) for line in found["note"].splitlines()]
    assert [each[:3] for each in commands] == [["lantu", "runs", "--note"]] * 2
    for each in commands:
        assert main([*each[1:], "--tracking-uri", store]) == 0
    client = MlflowClient(store)
    tags = [client.get_run(each[3]).data.tags for each in commands]
    assert {each["lantu.note"] for each in tags} == {"it's odd"}
    assert all(each["mlflow.note.content"].endswith("it's odd") for each in tags)
    reread = analyse(open_reader(store), Selection(sweeps=("lr_width",)), Options())
    notes = next(each for each in explorer_data(reread)["columns"] if each["name"] == "note")
    assert notes["words"] == ["it's odd"]
    for each in commands:
        client.delete_tag(each[3], "lantu.note")


def test_lines_and_contours_are_drawn_over_the_picture(found: dict[str, Any]) -> None:
    assert len(set(found["drawn"])) == 4


def test_a_brush_and_a_box_choose_runs_and_a_click_gives_them_back(found: dict[str, Any], analysis: Analysis) -> None:
    every = len(analysis.runs)
    assert 0 < counted(found["brushed"]) < every
    assert counted(found["unbrushed"]) == every
    assert 0 < counted(found["boxed"]) < every


def test_without_script_the_section_is_hidden_and_the_rest_stays(analysis: Analysis) -> None:
    assert '<section id="explorer" hidden>' in explorer_section(analysis)


def test_text_of_a_run_cannot_end_the_data_or_become_html(analysis: Analysis) -> None:
    params = analysis.groups.settings.assign(**{"model.note": "</script><script>alert(1)</script>"})
    params.iloc[0, params.columns.get_loc("model.note")] = "other"
    groups = analysis.groups.__class__(**{**vars(analysis.groups), "settings": params})
    made = analysis.__class__(**{**vars(analysis), "groups": groups})
    section = explorer_section(made)
    assert section.count("</script>") == section.count("<script") == 2  # of the data and of the program
    script = Path(explorer_section.__code__.co_filename).with_name("explorer.js").read_text()
    assert "innerHTML" not in script


def test_ten_thousand_runs_with_ten_columns_stay_about_a_megabyte(analysis: Analysis) -> None:
    data = explorer_data(analysis)
    each = len(json.dumps(data["columns"], separators=(",", ":"))) / len(analysis.runs)
    assert each + 36 < 120  # bytes for a run, its id included


def test_the_best_so_far_goes_up_where_more_is_better(analysis: Analysis) -> None:
    metrics = analysis.runs.metrics.assign(**{"val/accuracy": 0.5})
    data = explorer_data(replace(analysis, runs=replace(analysis.runs, metrics=metrics)))
    assert data["score"] == "val/loss"
    assert data["higher"] == ["val/accuracy"]


def test_of_too_many_runs_the_best_are_drawn_and_a_sample_of_the_others():
    score = pd.Series(np.random.default_rng(0).permutation(1000).astype(float))
    score[::7] = np.nan
    for mode, best in (("min", score.nsmallest(25)), ("max", score.nlargest(25))):
        kept = drawn(score, mode=mode, most=100)
        assert len(set(kept)) == 100
        assert set(best.index) <= set(kept)
        assert list(kept) == sorted(kept)
    assert list(drawn(score, mode="min", most=1000)) == list(range(1000))
