"""New data that have changed are found, those that have not raise no alarm, and the exit status says which."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ks_2samp
from statsmodels.stats.multitest import multipletests

from lantu.cli.main import main
from lantu.data.table.column import Column
from lantu.data.table.reference import described
from lantu.monitoring import drift, performance
from lantu.monitoring.monitor_command import one_file, redacted_in
from tests.responsible.applicants import applicants

NUMBER = Column("x", "number", "double")


def of(values: Any) -> dict[str, Any]:
    return described(pd.Series(values), NUMBER)


def test_the_kolmogorov_smirnov_test_is_scipys_where_all_values_are_kept() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(size=300), random.normal(0.3, 1, size=250)
    found = drift.numbers("x", of(one), of(two), least=0.1)
    expected = ks_2samp(one, two, method="asymp")
    assert found.effect == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, rel=0.2)


def test_categories_are_tested_by_chi_square_and_their_effect_does_not_depend_on_the_number_of_rows() -> None:
    before, after = (
        {"rows": 1000, "missing": 0, "counts": each} for each in ({"a": 700, "b": 300}, {"a": 600, "c": 400})
    )
    found = drift.categories("x", before, after, least=0.1)
    assert found.p == pytest.approx(chi2_contingency([[700, 300, 0], [600, 0, 400]]).pvalue)
    assert found.effect == pytest.approx(0.4)
    assert "40.0% are values not seen in training (c)" in found.note
    tenfold = {**after, "counts": {name: 10 * count for name, count in after["counts"].items()}}
    assert drift.categories("x", before, tenfold, least=0.1).effect == pytest.approx(found.effect)


@pytest.mark.parametrize("kept", [None, 100])
def test_the_same_many_categories_are_no_drift_however_many_a_checkpoint_keeps(kept: int | None) -> None:
    random, city = np.random.default_rng(3), Column("city", "category", "string")
    names, alarms = [f"c{each}" for each in range(150)], 0
    for _ in range(40):
        rows = [pd.Series(random.choice(names, 1000), name="city") for _ in range(2)]
        found = drift.categories("city", described(rows[0], city, most=kept), described(rows[1], city), least=0.1)
        alarms += found.p < 0.01
        assert kept is None or found.note == ""
    assert alarms <= 3  # of 40 at 1% each, more than three in 1,000


def test_categories_are_compared_as_scipy_compares_their_table() -> None:
    random, city = np.random.default_rng(4), Column("city", "category", "string")
    before, after = (pd.Series(random.choice(list("abcd"), 500, p=p)) for p in ([0.4, 0.3, 0.2, 0.1], [0.25] * 4))
    table = pd.crosstab(np.repeat([0, 1], 500), np.concatenate([before, after]))
    found = drift.categories("city", described(before, city), described(after, city), least=0.1)
    assert found.p == pytest.approx(chi2_contingency(table).pvalue)


def test_the_stability_index_is_by_hand() -> None:
    shares = np.array([0.5, 0.5]), np.array([0.8, 0.2])
    assert drift._index(*shares) == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5))


def test_p_values_are_corrected_as_holm_does() -> None:
    values = [0.01, 0.04, 0.03, 0.005]
    findings = [drift.Finding("x", "KS", 1.0, 0.1, p) for p in values]
    drift.correct(findings)
    assert [each.corrected for each in findings] == pytest.approx(multipletests(values, method="holm")[1])


def test_clean_rows_seldom_raise_an_alarm_and_a_third_of_a_deviation_is_seen() -> None:
    """20 columns, 900 new rows against 3,000: single tests at 5% would raise an alarm in two of three reports."""
    random = np.random.default_rng(0)
    alarms = seen = 0
    for _ in range(30):
        before = [of(random.normal(size=3000)) for _ in range(20)]
        after = [random.normal(size=900) for _ in range(20)]
        clean = [drift.numbers("x", one, of(two), least=0.1) for one, two in zip(before, after, strict=True)]
        drift.correct(clean)
        alarms += any(each.drifted for each in clean)
        clean[0] = drift.numbers("x", before[0], of(after[0] + 0.33), least=0.1)
        drift.correct(clean)
        seen += clean[0].drifted
    assert alarms <= 1
    assert seen >= 26


def test_a_classifier_tells_rows_apart_whose_columns_look_alike_one_by_one() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(600, 2))
    two = random.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=600)
    assert performance.classifier_test(one, two, least=0.1).p < 1e-6
    same = performance.classifier_test(one, random.normal(size=(600, 2)), least=0.1)
    assert same.effect < 0.2


def test_accuracy_without_targets_is_estimated_from_confidence() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 4000)
    right = random.random(4000) < confidence
    frame = pd.DataFrame({"target": "a", "prediction": np.where(right, "a", "b"), "probability": confidence})
    assert performance.estimated_accuracy(frame[:2000], confidence[2000:]) == pytest.approx(
        right[2000:].mean(), abs=0.03
    )


def monitor(run: Path, rows: pd.DataFrame, folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    rows.to_csv(folder / "new.csv", index=False)
    arguments = [
        f"run={run}",
        f"new={folder}/new.csv",
        f"output={folder}/out",
        f"paths.root={folder}",
        "ship=false",
        *more,
    ]
    status = main(["monitor", *arguments])
    return status, json.loads((folder / "out" / "monitoring.json").read_text())


def test_the_same_kind_of_rows_ends_with_status_0(table_run: Path, tmp_path: Path) -> None:
    status, found = monitor(table_run, applicants(500, seed=5), tmp_path, "track=false")
    assert (status, found["drifted"]) == (0, [])
    assert any(each["column"] == "performance" for each in found["findings"])


def test_rows_too_few_to_show_a_change_are_said_to_be(table_run: Path, tmp_path: Path) -> None:
    _, found = monitor(table_run, applicants(1, seed=5), tmp_path, "track=false")
    assert found["notes"][0].startswith("1 row cannot show a change of a distribution, however large")
    shown = [drift.unseen(rows, 10, alpha=0.05) for rows in (20, 40, 500)]
    assert [text.partition(" below ")[2][:4] for text in shown] == ["0.39", "", ""]
    far = [drift.numbers("x", of(np.arange(2000.0)), of(np.full(n, 1e6)), least=0.1) for n in (1, 20)]
    drift.correct(far[:1] * 10)
    assert not far[0].drifted
    drift.correct(far[1:])
    assert far[1].drifted


def test_a_reference_whose_column_is_empty_is_compared_by_what_is_missing(table_run: Path, tmp_path: Path) -> None:
    applicants(300, seed=7).assign(home="").to_csv(tmp_path / "before.csv", index=False)
    status, found = monitor(
        table_run, applicants(300, seed=8), tmp_path, "track=false", f"reference={tmp_path}/before.csv"
    )
    assert status == 3
    assert [each["test"] for each in found["findings"] if each["column"] == "home"] == ["missing"]
    applicants(2, seed=7).to_csv(tmp_path / "before.csv", index=False)
    _, found = monitor(table_run, applicants(300, seed=8), tmp_path, "track=false", f"reference={tmp_path}/before.csv")
    assert found["notes"][0].startswith("2 rows cannot show a change")


def test_a_folder_of_other_files_is_judged_as_predict_takes_it(tmp_path: Path) -> None:
    (tmp_path / "0.png").touch()
    assert one_file(tmp_path, tmp_path / "place") == tmp_path
    assert redacted_in(tmp_path) == []


def test_changed_rows_end_with_status_3_and_are_named_and_kept(table_run: Path, tmp_path: Path) -> None:
    rows = applicants(500, seed=6, shift=1).drop(columns="status")
    rows.loc[:149, "home"] = "boat"
    rows.loc[200:, "age"] = None
    status, found = monitor(table_run, rows, tmp_path)
    assert status == 3
    assert {"income (KS)", "home (chi-square)", "age (missing)"} <= set(found["drifted"])
    assert found["estimated"] is not None
    assert (tmp_path / "out" / "monitoring.html").is_file()
    (records,) = (tmp_path / "mlruns" / "runs" / "monitoring").glob("*/journal/records.jsonl")
    assert "monitor/income/KS" in records.read_text()


def test_wrong_answers_are_found_where_targets_are_known(table_run: Path, tmp_path: Path) -> None:
    rows = applicants(500, seed=7)
    rows["status"] = np.where(np.arange(500) % 2, rows.status, np.where(rows.status == "good", "bad", "good"))
    status, found = monitor(table_run, rows, tmp_path, "track=false")
    assert (status, found["drifted"]) == (3, ["performance (accuracy)"])


def test_a_file_that_is_not_there_or_lacks_a_column_is_a_sentence_with_status_2(
    table_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["monitor", f"run={table_run}", "new=nowhere.csv", f"paths.root={tmp_path}"]) == 2
    assert "`new=nowhere.csv`: there is no such file" in capsys.readouterr().err
    applicants(60, seed=1).drop(columns="income").to_csv(tmp_path / "less.csv", index=False)
    assert main(["monitor", f"run={table_run}", f"new={tmp_path}/less.csv", f"paths.root={tmp_path}"]) == 2
    assert "lacks the column income" in capsys.readouterr().err
