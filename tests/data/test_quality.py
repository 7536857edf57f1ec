"""Planted label errors and near-duplicates are found, and agreement is that of published examples."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from lantu.cli.data import data_main
from lantu.data.quality.agreement import agreement, fleiss_kappa, krippendorff_alpha
from lantu.data.quality.coverage import covered, vendi
from lantu.data.quality.label_errors import label_errors
from lantu.data.quality.near_duplicates import near_pictures, near_texts
from lantu.errors import UserError
from tests.responsible.applicants import applicants


def test_most_planted_label_errors_are_named_with_the_right_class_first() -> None:
    digits = load_digits()
    random = np.random.default_rng(0)
    rows = random.permutation(len(digits.target))[:900]
    y = digits.target[rows]
    wrong = random.random(len(y)) < 0.1
    flipped = np.where(wrong, (y + random.integers(1, 10, len(y))) % 10, y)
    found = label_errors(digits.data[rows] / 16, flipped, LogisticRegression(max_iter=100))
    named = found.row.to_numpy()
    assert wrong[named].mean() > 0.7
    assert np.isin(np.flatnonzero(wrong), named).mean() > 0.85
    assert wrong[named[:40]].mean() >= 0.9
    assert (found.suggested.to_numpy()[:40] == y[named[:40]]).mean() > 0.85


def test_a_class_with_too_few_rows_is_a_sentence() -> None:
    with pytest.raises(UserError, match="one class has only 1 rows"):
        label_errors(np.zeros((11, 2)), np.array([0] * 10 + [1]), LogisticRegression())


def test_texts_that_nearly_repeat_are_found_and_unknown_words_are_not_taken_for_the_same() -> None:
    random = np.random.default_rng(0)
    texts = random.integers(10, 5000, size=(300, 40))
    texts[:, 35:] = 0
    texts[299] = texts[5]
    texts[299, 20] = 7
    texts[298] = texts[9]
    pairs = near_texts(texts)
    assert {pair[:2] for pair in pairs} == {(5, 299), (9, 298)}
    assert (9, 298, 1.0) in pairs
    same_but_unknown = np.tile(np.array([[3, 1, 4, 1, 5, 1]]), (2, 1))
    assert near_texts(same_but_unknown)
    assert not near_texts(same_but_unknown, unknown=1)


def test_pictures_that_nearly_repeat_are_found_and_pictures_of_one_class_are_not() -> None:
    random = np.random.default_rng(0)
    smooth = np.kron(random.integers(0, 200, size=(100, 7, 7)), np.ones((4, 4)))[..., None]
    brighter = np.clip(smooth[3] + 25 + random.normal(0, 2, smooth[3].shape), 0, 255)
    pictures = np.concatenate([smooth, brighter[None], smooth[7:8]]).astype(np.uint8)
    assert {pair[:2] for pair in near_pictures(pictures)} == {(3, 100), (7, 101)}


KRIPPENDORFF = pd.DataFrame(
    {
        "a": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "c": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
)
"""Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C."""


def test_what_training_does_not_cover_is_seen_and_copies_add_no_diversity() -> None:
    random = np.random.default_rng(0)
    train, alike = random.normal(size=(2, 400, 3))
    assert covered(train, alike) > 0.85
    assert covered(train, alike + np.array([6, 0, 0])) < 0.05
    assert covered(csr_matrix(train), csr_matrix(alike)) == pytest.approx(covered(train, alike))
    assert vendi(np.eye(5)) == pytest.approx(5)
    assert vendi(np.repeat(np.eye(5), 20, axis=0)) == pytest.approx(5)
    assert vendi(np.ones((30, 2))) == pytest.approx(1)


def test_alpha_is_that_of_krippendorffs_own_example() -> None:
    assert krippendorff_alpha(KRIPPENDORFF) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(KRIPPENDORFF, level="interval") == pytest.approx(0.849, abs=5e-4)


def test_kappas_are_those_of_fleiss_and_of_scikit_learn() -> None:
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    ratings = pd.DataFrame([np.repeat(np.arange(5), row) for row in counts])
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)  # Fleiss 1971 as worked out on Wikipedia
    found = agreement(KRIPPENDORFF).set_index("who")
    both = KRIPPENDORFF[["a", "b"]].dropna()
    assert found.loc["a, b", "value"] == pytest.approx(cohen_kappa_score(both.a, both.b))
    assert found.loc["a, b", "units"] == 9
    assert np.isnan(krippendorff_alpha(pd.DataFrame({"a": [1, 1], "b": [1, 1]})))


def test_the_command_reports_doubtful_labels_and_agreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=300)
    label = np.where(x > 0, "up", "down")
    label[:10] = np.where(x[:10] > 0, "down", "up")
    other = np.where(random.random(300) < 0.9, label, "up")
    pd.DataFrame({"x": x, "label": label, "ann": label, "bob": other}).to_csv("rows.csv", index=False)
    options = ["data=csv", "data.path=rows.csv", "data.target=label", "data.ignore=[ann,bob]", "json=found.json"]
    assert data_main([*options, "labels=true", "annotators=[ann,bob]", "report=found.html"]) == 0
    found = json.loads(Path("found.json").read_text())["tables"]
    assert {each["given"] for each in found["Labels that may be wrong"]} <= {"up", "down"}
    assert found["Agreement of annotators"][0]["value"] > 0.7
    assert "Agreement of annotators" in Path("found.html").read_text()
    with pytest.raises(UserError, match="no column carl"):
        data_main([*options, "annotators=[ann,carl]"])
    with pytest.raises(UserError, match="these data are neither"):
        data_main([*options, "near=true"])


def test_the_command_finds_the_column_in_which_another_file_differs_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed, shift in (("old", 0, 0.0), ("alike", 1, 0.0), ("richer", 2, 0.6)):
        applicants(700, seed=seed, shift=shift).to_csv(tmp_path / f"{name}.csv", index=False)
    options = ["data=csv", f"data.path={tmp_path}/old.csv", "data.target=status", f"json={tmp_path}/found.json"]
    options += [f"report={tmp_path}/found.html"]
    assert data_main([*options, f"drift={tmp_path}/alike.csv", "coverage=true"]) == 0
    said = capsys.readouterr().out
    assert "no comparison shows a change" in said
    assert "coverage: near an example" in said
    assert data_main([*options, f"drift={tmp_path}/richer.csv"]) == 0
    assert "warning: income differs from training: KS" in capsys.readouterr().out
    table = json.loads((tmp_path / "found.json").read_text())["tables"]["Drift from the training rows to richer.csv"]
    assert {each["column"] for each in table if each["changed"]} <= {"income", "all columns together"}
    assert {each["test"] for each in table} == {"KS", "chi-square", "missing", "classifier"}
    with pytest.raises(UserError, match="compares the columns of tables"):
        data_main(["data=digits", "drift=other.csv"])
