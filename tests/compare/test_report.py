"""From runs to a decision: groups, the table in every format, the words, the page, MLflow's artifacts."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from lantu.cli.main import main
from lantu.compare.analysis import Analysis, Options, analyse
from lantu.compare.methods.groups import group, short_names
from lantu.compare.methods.statistics import compare
from lantu.compare.publish import compare_sweep
from lantu.compare.reading.run_frames import Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.recommendation import Decision, decide
from lantu.compare.report import charts_cost
from lantu.compare.report.drawing import cut_apart
from lantu.compare.report.page import write_report
from lantu.compare.report.slices_section import slices_section
from lantu.errors import UserError
from lantu.tasks.contrastive import contrastive_loss
from tests.compare.made import Made, falling, grid, uri, write

SWEEP = Selection(sweeps=("lr_width",))


@pytest.fixture(scope="module")
def analysis(store: str) -> Analysis:
    return analyse(open_reader(store), SWEEP, Options())


def test_runs_that_differ_in_their_seed_are_one_group(analysis: Analysis) -> None:
    groups = analysis.groups
    assert set(groups.settings) == {"optimizer.lr", "model.width"}
    assert len(groups.labels) == 7  # six and the one that failed
    assert groups.of_run.value_counts().tolist() == [4] * 6 + [1]
    assert groups.short == {"optimizer.lr": "lr", "model.width": "width"}


def test_what_a_choice_determines_is_folded_into_it(tmp_path: Path) -> None:
    runs = [
        Made(
            f"{model} {lr} {seed}",
            {
                "seed": seed,
                "data.split_seed": seed,
                "choices.model": model,
                "model._target_": f"lantu.models.{model}",
                **({"model.channels": 1} if model == "cnn" else {"model.hidden": 64}),
                "optimizer.lr": lr,
                "scheduler.max_lr": lr,
                "name": f"{model} {lr} {seed}",
            },
            curves={"val/loss": falling(0.3 + seed / 100)},
        )
        for model in ("cnn", "mlp")
        for lr in (0.1, 0.01)
        for seed in (0, 1)
    ]
    write(uri(tmp_path), runs)
    reader = open_reader(uri(tmp_path))
    found = analyse(reader, Selection(experiments=("made",)), Options())
    assert set(found.groups.settings) == {"choices.model", "optimizer.lr"}
    assert "cnn lr=0.1" in found.groups.labels
    assert found.groups.folded["model.channels"] == "choices.model"
    assert found.groups.folded["scheduler.max_lr"] == "optimizer.lr"
    assert set(group(found.runs, by=["optimizer.lr"]).labels) == {"lr=0.1", "lr=0.01"}


def test_short_names_stay_apart() -> None:
    names = ["model.encoder.width", "model.decoder.width", "optimizer.lr", "choices.model", "choices.optimizer"]
    assert list(short_names(names).values()) == ["encoder.width", "decoder.width", "lr", "model", "optimizer"]


def test_the_decision_names_the_true_winner_and_never_looks_at_test(tmp_path: Path) -> None:
    runs = grid(seeds=3)
    for each in runs:  # a test score that says the opposite
        each.metrics["test/loss"] = 1 - each.curves["val/loss"][-1]
    write(uri(tmp_path), runs)
    decision = decide(analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options()))
    assert decision.ship == "width=128 lr=0.001"
    assert "better than every other" in decision.headline


SIZES = [
    Made(
        f"{size} {seed}",
        {"seed": seed, "model.size": size},
        metrics={"cost/usd": usd, "test/loss": loss + luck + 0.1},
        curves={"val/loss": falling(loss + luck)},
    )
    for size, usd, loss in (("small", 1.0, 0.301), ("large", 5.0, 0.3), ("tiny", 0.1, 0.9))
    for seed, luck in enumerate((0.0, 0.02, 0.04, 0.02) if size == "large" else (0.02, 0.0, 0.02, 0.04))
]
"""A small configuration that is as good as a large one, and a tiny one that is not."""
EVERY_WORD = {
    "a winner": (
        grid(seeds=3),
        [
            "Ship width=128 lr=0.001. It is better than every other configuration.",
            "width=128 lr=0.001 reaches val/loss 0.2495 (95% interval 0.2406 to 0.2583, corrected for the choice among "
            "6; 3 seeds); expect about 0.2494 from new seeds, since the best of several is partly luck; on the test "
            "split, which was not used to choose, test/loss 0.2695.",
            "That is 0.0552 lower than the next, width=32 lr=0.001 (95% interval 0.0443 to 0.0662 over shared seeds; "
            "corrected p < 0.001).",
            "All 5 others are worse.",
            "18 runs together took $4.50, 1.8 device hours, 2.25 kWh, 0.9 kg CO2e.",
            ("0.2495", "best val/loss", "0.2406 to 0.2583, 3 seeds"),
            ("1 of 6", "tied with the best", "configurations, the best one included"),
            ("$4.50", "spent on all runs", "2.25 kWh"),
            ("$0.40", "to train again", "width=128 lr=0.001"),
        ],
    ),
    "one seed each": (
        grid(seeds=1),
        [
            "width=128 lr=0.001 has the best val/loss, but one seed each is not enough to call a winner.",
            "width=128 lr=0.001 reaches val/loss 0.2531 (1 seed); on the test split, which was not used to choose, "
            "test/loss 0.2731.",
            "width=128 lr=0.001 is 0.0514 lower than the next, width=32 lr=0.001.",
            "6 runs together took $1.50, 0.6 device hours, 0.75 kWh, 0.3 kg CO2e.",
            "Run the best 3 configurations with at least three seeds each (about $1.80 for two more seeds each); then "
            "compare again.",
            ("0.2531", "best val/loss", "1 seed"),
            ("?", "tied with the best", "configurations, the best one included"),
            ("$1.50", "spent on all runs", "0.75 kWh"),
            ("$0.40", "to train again", "width=128 lr=0.001"),
        ],
    ),
    "a cheaper one that is tied": (
        SIZES,
        [
            "Ship size=small. It is statistically tied with the best, and costs 80% less to train.",
            "size=small reaches val/loss 0.321 (95% interval 0.295 to 0.347; 4 seeds); on the test split, which was "
            "not used to choose, test/loss 0.421.",
            "The best scorer, size=large, is 0.001 lower than the next, size=small (95% interval -0.028 to 0.030 over "
            "shared seeds; corrected p = 0.99).",
            "1 of the 2 others is statistically tied with it; 1 is worse.",
            "size=small measured 0.001 higher than the best scorer, size=large; with these seeds the true difference "
            "could be up to 0.030.",
            "12 runs together took $24.40.",
            "Detecting a difference of 0.001 between size=large and size=small with 80% power needs more than 1,000 "
            "seeds per configuration: for practical purposes they are equal.",
            ("0.320", "best val/loss", "0.272 to 0.368, 4 seeds"),
            ("2 of 3", "tied with the best", "configurations, the best one included"),
            ("$24.40", "spent on all runs", ""),
            ("$1.00", "to train again", "size=small"),
        ],
    ),
}
"""Runs, and each sentence, caution and tile of the decision about them."""


@pytest.mark.parametrize("name", EVERY_WORD)
def test_every_word_of_a_decision(name: str, tmp_path: Path) -> None:
    runs, expected = EVERY_WORD[name]
    write(uri(tmp_path), runs)
    decision = decide(analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options()))
    assert [decision.headline, *decision.sentences, *decision.caution, *decision.tiles] == expected


def test_the_cheapest_that_is_as_good_is_shipped(tmp_path: Path) -> None:
    write(uri(tmp_path), SIZES)
    found = analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options())
    decision = decide(found)
    assert decision.headline == "Ship size=small. It is statistically tied with the best, and costs 80% less to train."
    assert any("the true difference could be up to" in each for each in decision.sentences)
    assert any("for practical purposes they are equal" in each for each in decision.caution)
    wider = analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options(difference=0.03))
    assert any("more runs, about $" in each for each in decide(wider).caution)


def test_one_seed_each_ships_nothing_and_says_what_to_run(tmp_path: Path) -> None:
    write(uri(tmp_path), grid(seeds=1))
    decision = decide(analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options()))
    assert decision.ship is None
    assert "one seed each is not enough to call a winner" in decision.headline
    assert any("at least three seeds each (about $" in each for each in decision.caution)


def test_failed_runs_are_counted_in_the_caution(analysis: Analysis) -> None:
    caution = " ".join(decide(analysis).caution)
    assert "1 of 25 runs failed (crashed, diverged, or without val/loss): width=32 lr=1 (1 of 1)." in caution
    assert "Every seed failed in 1 configuration: width=32 lr=1." in caution
    assert analysis.table.index[-1] == "width=32 lr=1"  # it stays in the table


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "md", "tex"])
def test_the_table_is_written_by_its_ending(ending: str, store: str, tmp_path: Path) -> None:
    file = tmp_path / f"table.{ending}"
    assert main(["compare", "sweep=lr_width", f"tracking_uri={store}", f"table={file}", "top=3"]) == 0
    if ending in ("csv", "parquet", "json"):
        read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[ending]
        table = read(file)
        assert table["group"].iloc[0] == "width=128 lr=0.001"
        assert len(table) == 3
        assert table["val/loss"].iloc[0] == pytest.approx(0.25, abs=0.02)
        assert table["val/loss low"].iloc[0] < table["val/loss"].iloc[0] < table["val/loss high"].iloc[0]
    else:
        assert "±" in file.read_text() or r"$\pm$" in file.read_text()
        assert len(file.read_text().splitlines()) == {"md": 5, "tex": 9}[ending]


def test_rows_and_columns_are_picked_by_override(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sweep=lr_width", f"tracking_uri={store}", "sort=-cost/usd", "columns=[lr,cost/usd]", "top=2"]
    assert main(["compare", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["lr", "cost/usd"]
    assert lines[1].split()[1] == "0.4000"


def test_the_rows_and_the_decision_are_json_for_programs(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "sweep=lr_width", f"tracking_uri={store}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decision"]
    assert {"lr", "width"} <= found["rows"][0].keys()


def test_an_experiment_is_named_as_everywhere_else(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "experiment=other", f"tracking_uri={store}"]) == 0
    assert "There is only one configuration" in capsys.readouterr().out
    assert main(["compare", "experiment=[made,other]", f"tracking_uri={store}"]) == 0
    assert "26 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sort=los", "there is no column `los`"),
        ("table=x.docx", "a table can be written as .csv"),
        ("mode=best", "`min` or `max`"),
        ("business.utilisation=30", "above 0 and at most 1"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    override: str, said: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["compare", "sweep=lr_width", f"tracking_uri={store}", override, f"report={tmp_path}/r.html"]
    try:
        status = main(asked)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    assert said in capsys.readouterr().err


class Tags(HTMLParser):
    """Checks that what is opened is closed, and collects what would need a network."""

    VOID = frozenset({"meta", "br", "wbr", "input", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("link", "iframe") or given.get("src") or str(given.get("href", "")).startswith("http"):
            self.fetched.append(f"{tag} {given}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_slices_are_shown_by_configuration_and_older_runs_beside_newer_ones(tmp_path: Path) -> None:
    runs = []
    for lr, name in ((0.1, "test/accuracy/slice/script/{}"), (0.2, "test/accuracy_by_script/{}")):
        for seed in (0, 1):
            metrics = {name.format("Latin"): 0.9 - lr + seed / 100, name.format("Thai"): 0.5 + seed / 10}
            curves = {"val/loss": falling(lr)}
            runs.append(Made(f"{lr} {seed}", {"seed": seed, "optimizer.lr": lr}, metrics, curves=curves))
    failed = {"test/accuracy/slice/script/Thai": 0.0}
    runs.append(Made("0.1 2", {"seed": 2, "optimizer.lr": 0.1}, failed, {"val/loss": [0.1]}, status="FAILED"))
    write(uri(tmp_path), runs)
    analysis = analyse(open_reader(uri(tmp_path)), Selection(experiments=("made",)), Options())
    html = slices_section(analysis)
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    assert rows[0] == ["column", "slice", "lr=0.1", "lr=0.2"]
    worst = "<b>0.550 \N{PLUS-MINUS SIGN} 0.071</b>"
    assert rows[1] == ["script", "Thai", worst, worst]
    assert [cell[:5] for cell in rows[2][1:]] == ["Latin", "0.805", "0.705"]


def test_the_report_is_one_sound_page_that_needs_nothing_else(analysis: Analysis, store: str, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.html"
    decision, _ = write_report(analysis, open_reader(store), file)
    text = file.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert "url(" not in text
    assert "@import" not in text
    body = text[text.index("<main>") :]
    assert re.sub(r"</?em>", "", body).index(decision.headline) < body.index("<table")
    for heading in ("Who won", "Quality against cost", "What mattered", "Learning curves", "Return on investment"):
        assert heading in body
    assert not re.search(r"\bnan\b|\bNaN\b|\binf\b", body)


def test_names_from_runs_cannot_write_html(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    runs = [
        Made(f"{kind} {seed}", {"seed": seed, "model.kind": kind}, curves={"val/loss": falling(0.3 + 0.1 * seed)})
        for kind in (bad, 'a"b', "c")
        for seed in range(2)
    ]
    write(uri(tmp_path), runs, experiment="<b>bold</b>")
    reader = open_reader(uri(tmp_path))
    file = tmp_path / "report.html"
    write_report(analyse(reader, Selection(experiments=("<b>bold</b>",)), Options()), reader, file)
    text = file.read_text(encoding="utf-8")
    assert bad not in text
    assert text.count("<script") == 3  # the slider, the explorer's data and its program
    assert "<b>bold" not in text


def test_a_single_run_and_an_accuracy_are_reported_too(tmp_path: Path) -> None:
    write(uri(tmp_path), [Made("one", {"seed": 0}, curves={"val/accuracy": [0.1, 0.9]})])
    reader = open_reader(uri(tmp_path))
    found = analyse(reader, Selection(), Options(metric="val/accuracy"))
    decision, further = write_report(found, reader, tmp_path / "report.html")
    assert "only one configuration" in decision.headline
    assert "scaling laws describe losses" in getattr(further.law, "reason", "")


def test_a_forecast_appears_where_sizes_and_data_vary(tmp_path: Path) -> None:
    runs = [
        Made(
            f"{n} {steps} {seed}",
            {"seed": seed, "model.width": n, "trainer.max_steps": steps},
            metrics={"model/parameters": n, "cost/usd": 1e-9 * n * steps},
            curves={"val/loss": falling(0.1 + 5 / n**0.4 + 20 / (steps * 640) ** 0.5 + 0.001 * seed, points=steps)},
        )
        for n in (1000, 4000, 16000, 64000)
        for steps in (10, 30, 100)
        for seed in (0, 1)
    ]
    write(uri(tmp_path), runs)
    reader = open_reader(uri(tmp_path))
    found = analyse(reader, Selection(experiments=("made",)), Options())
    decision, further = write_report(found, reader, tmp_path / "report.html")
    assert getattr(further.law, "variables", None) == ("N", "D")
    assert any(each.startswith("Ten times the compute") for each in decision.sentences)


def test_a_sweep_leaves_its_comparison_with_its_parent(tmp_path: Path) -> None:
    tracking_uri = uri(tmp_path)
    (parent,) = write(tracking_uri, [Made("lr_width", {})])
    trials = grid(seeds=2)
    for each in trials:
        each.parent = parent
    write(tracking_uri, trials)
    decision = compare_sweep("lr_width", tracking_uri=tracking_uri)
    client = MlflowClient(tracking_uri)
    kept = {Path(each.path).name for each in client.list_artifacts(parent, "comparison")}
    assert {"report.html", "table.csv", "ranking.png", "cost.png", "curves.png"} <= kept
    tags = client.get_run(parent).data.tags
    assert tags["lantu.decision"] == decision.headline
    assert decision.headline in tags["mlflow.note.content"]
    children = [each for each in client.search_runs(["1"], max_results=100) if "rank" in each.data.metrics]
    assert len(children) == len(trials)
    first = min(children, key=lambda each: each.data.metrics["score"])
    assert (first.data.metrics["rank"], first.data.metrics["difference"]) == (1, 0)
    assert "is the best of" in first.data.tags["mlflow.note.content"]


def test_a_report_without_a_parent_to_keep_it_is_refused(store: str) -> None:
    with pytest.raises(UserError, match="no sweep of that name"):
        compare_sweep("other", tracking_uri=store)


def test_the_json_table_is_json(store: str, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    assert main(["compare", "sweep=lr_width", f"tracking_uri={store}", f"table={file}"]) == 0
    rows = json.loads(file.read_text())
    assert [row["tied with best"] for row in rows] == [True] + [False] * 6


def made(name: str, seed: int, loss: float | list[float], **options: Any) -> Made:
    curve = loss if isinstance(loss, list) else falling(loss)
    return Made(f"{name} {seed}", {"seed": seed, "model.kind": name}, curves={"val/loss": curve}, **options)


def decided(folder: Path, runs: list[Made], **options: Any) -> tuple[Analysis, Decision]:
    write(uri(folder), runs)
    found = analyse(open_reader(uri(folder)), Selection(experiments=("made",)), Options(**options))
    return found, decide(found)


def test_a_best_scorer_whose_seeds_fail_is_not_shipped(tmp_path: Path) -> None:
    nan = float("nan")
    a = [made("a", seed, 0.1 + 0.001 * seed) for seed in range(2)]
    a += [made("a", 2, [0.1, nan]), made("a", 3, 0.1, status="FAILED"), made("a", 4, [nan])]
    found, decision = decided(tmp_path, [*a, *(made("b", seed, 0.3 + 0.001 * seed) for seed in range(5))])
    assert decision.ship is None
    assert "3 of its 5 seeds failed" in decision.headline
    assert "best that trains reliably is kind=b" in decision.headline
    assert found.table["failed"].tolist() == ["3 of 5", ""]


def test_a_run_that_is_still_going_or_was_stopped_is_left_out_and_said(tmp_path: Path) -> None:
    runs = [made(kind, seed, loss + 0.001 * seed) for kind, loss in (("a", 0.2), ("b", 0.3)) for seed in range(3)]
    runs += [made("b", 3, 0.01, status="RUNNING"), made("b", 4, 0.01, status="KILLED")]
    found, decision = decided(tmp_path, runs)
    assert decision.ship == "kind=a"
    assert found.comparison.table.loc["kind=b", ["seeds", "failed"]].tolist() == [3, 0]
    assert "1 run is still going and left out." in decision.caution
    assert "1 run was stopped before the end and left out." in decision.caution


def test_a_choice_by_the_test_split_is_called_too_good(tmp_path: Path) -> None:
    runs = [made(kind, seed, loss + 0.001 * seed) for kind, loss in (("a", 0.2), ("b", 0.3)) for seed in range(2)]
    _, by_validation = decided(tmp_path, runs, metric="val/loss")
    assert "The test split" not in " ".join(by_validation.caution)
    tested = [dataclasses.replace(each, curves={}, metrics={"test/loss": each.curves["val/loss"][-1]}) for each in runs]
    _, by_test = decided(tmp_path / "tested", tested, metric="test/loss")
    assert "The test split chooses here (test/loss)" in " ".join(by_test.caution)
    assert "Rank by val/loss" in " ".join(by_test.caution)


def test_only_unfinished_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 1 runs has finished"):
        decided(tmp_path, [made("a", 0, 0.2, status="RUNNING")])


def test_the_interval_of_a_difference_holds_the_difference_in_either_direction(tmp_path: Path) -> None:
    runs = []
    for kind, base in (("a", 0.900), ("b", 0.892)):
        for seed, luck in enumerate((0.0, 0.02, -0.01)):
            value = base + (luck if kind == "a" else -luck)
            runs.append(Made(f"{kind} {seed}", {"seed": seed, "model.kind": kind}, curves={"val/accuracy": [value]}))
    found, decision = decided(tmp_path, runs, metric="val/accuracy")
    said = next(each for each in decision.sentences if "higher than the next" in each)
    gap, low, high = map(float, re.search(r"is (\S+) higher.*interval (\S+) to (\S+) ", said).groups())  # type: ignore[union-attr]
    assert low < gap < high
    assert low < 0 < high
    assert not found.comparison.table["alike"].eq(False).any()


def test_a_tie_is_called_one(tmp_path: Path) -> None:
    runs = [made(kind, seed, 0.2 + 0.01 * seed) for kind in ("a", "b") for seed in (0, 1, 2)]
    _, decision = decided(tmp_path, runs)
    assert "has, to the digits shown, the score of the next" in " ".join(decision.sentences)


def test_equal_seeds_claim_nothing(tmp_path: Path) -> None:
    _, decision = decided(
        tmp_path, [made(kind, seed, loss) for kind, loss in (("a", 0.2), ("b", 0.3)) for seed in (0, 1, 2)]
    )
    assert decision.ship is None
    assert "its seeds do not differ" in decision.headline


def test_several_objectives_end_in_their_front(tmp_path: Path) -> None:
    runs = [
        made(kind, seed, loss + 0.001 * seed, metrics={"cost/usd": usd})
        for kind, loss, usd in (("small", 0.4, 1.0), ("large", 0.2, 5.0), ("wasteful", 0.3, 9.0))
        for seed in range(3)
    ]
    found, decision = decided(tmp_path, runs, objectives=(("val/loss", "min"), ("cost/usd", "min")))
    assert found.front == ("kind=large", "kind=small")
    assert decision.ship is None
    assert decision.headline.startswith(
        "2 configurations on the front of val/loss and cost/usd: kind=large; kind=small. The front covers 50%"
    )


def test_the_price_of_fairness_and_of_privacy_is_drawn_as_a_front(tmp_path: Path) -> None:
    gap = "fairness/race/demographic_parity_difference"
    runs = [
        made(kind, seed, loss + 0.001 * seed, metrics={gap: unfair, "privacy/epsilon": epsilon})
        for kind, loss, unfair, epsilon in (
            ("fair", 0.4, 0.02, 1.0),
            ("plain", 0.2, 0.3, 8.0),
            ("neither", 0.5, 0.1, 3),
        )
        for seed in range(3)
    ]
    found, _ = decided(tmp_path, runs)
    drawn = charts_cost.trade_offs(found)
    assert ["Demographic parity difference between groups of race" in each for each in drawn] == [True, False]
    assert ["Privacy: epsilon" in each for each in drawn] == [False, True]
    assert found.cost is None  # a gap is no cost that a cheaper run could save


def losses(kinds: dict[str, Any], metrics: dict[str, list[float]]) -> list[Made]:
    return [
        Made(
            f"{value} {seed}",
            {"seed": seed, **setting},
            curves={k: [v[place] + 0.001 * seed] for k, v in metrics.items()},
        )
        for place, (value, setting) in enumerate(kinds.items())
        for seed in range(3)
    ]


LEVELS = {"char": {"data.level": "char", "spec.vocab_size": 65}, "bpe": {"data.level": "bpe", "spec.vocab_size": 512}}


def test_text_of_different_tokens_is_compared_per_byte(tmp_path: Path) -> None:
    scores = {"val/loss": [1.479, 3.837], "val/perplexity": [4.4, 46.0], "val/bits_per_byte": [2.134, 1.845]}
    found, decision = decided(tmp_path, losses(LEVELS, scores))
    assert found.metric == "val/bits_per_byte"
    assert str(decision.ship).startswith("level=bpe")
    assert any("compared instead" in each for each in decision.caution)


def test_losses_that_differ_in_kind_are_not_ranked_where_nothing_is_shared(tmp_path: Path) -> None:
    kinds = {"mse": {"task.loss": "mse"}, "mae": {"task.loss": "mae"}}
    _, decision = decided(tmp_path, losses(kinds, {"val/loss": [0.2, 0.4]}))
    assert decision.ship is None
    assert decision.headline.startswith("No ranking: val/loss is a different quantity")


def test_detectors_with_losses_of_their_own_are_ranked_by_average_precision(tmp_path: Path) -> None:
    kinds = {"yolo": {"choices.model": "yolo"}, "detr": {"choices.model": "detr"}}
    scores = {"val/loss": [3.0, 17.0], "val/map": [0.3, 0.5], "val/map_50": [0.7, 0.6]}
    found, decision = decided(tmp_path, losses(kinds, scores))
    assert (found.metric, found.mode) == ("val/map", "max")
    assert decision.ship == "detr"


def test_contrastive_losses_of_different_batches_are_ranked_by_recall(tmp_path: Path) -> None:
    kinds = {"few": {"data.batch_size": 32}, "many": {"data.batch_size": 256}}
    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(256, 8), dim=1) for _ in range(2))
    chance = [
        float(contrastive_loss(image[:size], text[:size], scale=torch.tensor(1.0), bias=torch.tensor(0.0),
                               texts=torch.arange(size), objective="softmax"))
        for size in (32, 256)
    ]  # fmt: skip
    assert chance[0] < chance[1] - 1  # the same network that knows nothing
    found, decision = decided(tmp_path, losses(kinds, {"val/loss": chance, "val/mean_recall": [0.3, 0.4]}))
    assert (found.metric, decision.ship) == ("val/mean_recall", "batch_size=256")


def test_losses_that_differ_in_kind_are_ranked_by_a_metric_that_they_share(tmp_path: Path) -> None:
    kinds = {"mse": {"task.loss": "mse"}, "mae": {"task.loss": "mae"}}
    found, _ = decided(tmp_path, losses(kinds, {"val/loss": [0.2, 0.4], "val/r2": [0.7, 0.8]}))
    assert (found.metric, found.mode) == ("val/r2", "max")


def test_runs_on_different_data_carry_a_caution(tmp_path: Path) -> None:
    runs = losses({"a": {"choices.data": "digits"}, "b": {"choices.data": "fashion"}}, {"val/loss": [0.2, 0.4]})
    _, decision = decided(tmp_path, runs)
    assert any("different data sets (`data`)" in each for each in decision.caution)


def test_configurations_are_named_by_what_was_typed_not_by_what_followed(tmp_path: Path) -> None:
    runs = losses(LEVELS, {"val/loss": [1.0, 2.0]})
    for each in runs:
        each.params["model.vocab_size"] = each.params["spec.vocab_size"]
        each.tags["lantu.asked"] = "data.level seed"
    found, _ = decided(tmp_path, runs)
    assert set(found.groups.labels) == {"level=char", "level=bpe"}
    assert found.groups.folded["model.vocab_size"] == "data.level"


@pytest.mark.parametrize(("saved", "ships"), [(0.09, "large"), (0.11, "small")])
def test_a_cheaper_configuration_is_preferred_from_a_tenth_of_the_cost(
    tmp_path: Path, saved: float, ships: str
) -> None:
    runs = [
        made(size, seed, loss + luck, metrics={"cost/usd": usd})
        for size, usd, loss in (("small", 1 - saved, 0.301), ("large", 1.0, 0.3))
        for seed, luck in enumerate((0.0, 0.02, 0.04, 0.02) if size == "large" else (0.02, 0.0, 0.02, 0.04))
    ]
    _, decision = decided(tmp_path, runs)
    assert decision.ship == f"kind={ships}"


def test_folds_are_not_taken_for_seeds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.01, (2, 5))
    runs = [
        Made(
            f"{kind} {fold}",
            {"seed": 0, "data.folds": 5, "data.fold": fold, "model.kind": kind},
            curves={"val/loss": [0.3 + 0.01 * place + noise[place, fold]]},
        )
        for place, kind in enumerate("ab")
        for fold in range(5)
    ]
    found, decision = decided(tmp_path, runs)
    assert len(found.groups.labels) == 2
    assert found.groups.folds == 5
    as_seeds = compare(found.runs.score, found.groups.of_run, found.groups.seed, mode="min").table
    as_folds = found.comparison.table
    assert ((as_folds["high"] - as_folds["low"]) > 1.3 * (as_seeds["high"] - as_seeds["low"])).all()
    assert "5 folds" in decision.sentences[0]
    assert any("correction of Nadeau and Bengio" in each for each in decision.caution)


def test_every_run_is_listed_and_links_to_its_server(analysis: Analysis, store: str, tmp_path: Path) -> None:
    options = dataclasses.replace(analysis.options, tracking_uri="https://me:secret@mlflow.example.com/")
    there = dataclasses.replace(analysis, options=options)
    write_report(there, open_reader(store), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for run in analysis.runs.info.index:
        experiment = analysis.runs.info.loc[run, "experiment_id"]
        assert f"https://mlflow.example.com/#/experiments/{experiment}/runs/{run}" in text
    assert "secret" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here, which acts as a full disk")
def test_a_report_that_does_not_fit_on_the_disk_is_a_sentence(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "experiment=other", f"tracking_uri={store}", "report=/dev/full"]) == 2
    assert "the disk, or your share of it, is full" in capsys.readouterr().err


def test_names_that_begin_alike_are_told_apart_where_there_is_no_room_for_them() -> None:
    files = ["/home/me/project/data/north.parquet", "/home/me/project/data/south.parquet"]
    assert cut_apart(files, 8) == ["…north.…", "…south.…"]
    assert cut_apart(["torch.optim.AdamW", "torch.optim.SGD"], 12) == ["…AdamW", "…SGD"]
    assert cut_apart(["mlp", "cnn"], 8) == ["mlp", "cnn"]
    assert cut_apart([files[0]], 8) == ["/home/m…"]


def test_runs_that_failed_or_still_go_are_not_part_of_what_a_configuration_costs(tmp_path: Path) -> None:
    runs = [made(kind, seed, loss + 0.001 * seed, metrics={"cost/usd": 10.0}) for kind, loss in (("a", 0.2), ("b", 0.3))
            for seed in range(3)]  # fmt: skip
    runs += [
        made("a", 3, 0.2, metrics={"cost/usd": 0.1}, status="FAILED"),
        made("b", 3, 0.3, metrics={"cost/usd": 0.1}, status="RUNNING"),
    ]
    found, decision = decided(tmp_path, runs)
    assert found.table["cost/usd"].tolist() == [10.0, 10.0]
    assert ("$10.00", "to train again", "kind=a") in decision.tiles
    assert "8 runs together took $60.20." in decision.sentences
    _, unmetered = decided(tmp_path / "other", [*runs, made("b", 4, 0.3, status="FAILED")])
    assert "9 runs together took $60.20 (1 of them recorded no cost)." in unmetered.sentences


def with_a_baseline(loss: float, **metrics: float) -> list[Made]:
    """Two configurations with three seeds each, and a baseline, which records no settings."""
    runs = [
        made(kind, seed, base + 0.001 * seed, metrics=metrics) for kind, base in (("a", 0.2), ("b", 0.3))
        for seed in range(3)
    ]  # fmt: skip
    for each in runs:
        each.params |= {"choices.task": "classification", "data.path": "a.csv"}
        each.curves |= {f"{name}_best": [value] for name, value in metrics.items()}
    baseline = Made("baseline: trivial", {}, {"val/loss": loss, **metrics}, tags={"lantu.baseline": "the mean"})
    return [*runs, baseline]


def test_a_baseline_beside_the_trials_changes_neither_the_metric_nor_the_names(tmp_path: Path) -> None:
    found, decision = decided(tmp_path, with_a_baseline(0.4, **{"val/accuracy": 0.8}))
    assert found.metric == "val/loss"
    assert found.groups.labels == ["kind=a", "kind=b", "baseline: trivial"]
    assert "different" not in " ".join(decision.caution)
    assert decision.headline == (
        "Ship kind=a. It has the best val/loss; one other has too few seeds to be told from it."
    )
    assert "1 of the 2 others is worse; 1 has too few seeds to tell." in decision.sentences
    assert found.table["tied with best"].tolist() == [True, False, None]
    assert found.comparison.tied.tolist() == [True, False, False]


def test_a_baseline_can_be_on_the_front(tmp_path: Path) -> None:
    runs = with_a_baseline(0.4, **{"cost/usd": 5.0})
    runs[-1].metrics["cost/usd"] = 1.0
    found, _ = decided(tmp_path, runs, objectives=(("val/loss", "min"), ("cost/usd", "min")))
    assert found.front == ("kind=a", "baseline: trivial")
