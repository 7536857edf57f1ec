"""A model card says what the run knows and marks what it does not."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from omegaconf import OmegaConf
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from lantu.cli.main import main
from lantu.errors import UserError
from lantu.responsible.card import document, sections
from lantu.responsible.card.facts import Facts, _read_journal, intervals
from lantu.tracking.run_folder import RunFolder


@pytest.fixture(scope="module")
def card(table_run: Path) -> Path:
    assert main(["card", f"run={table_run}", "ship=false", f"paths.root={table_run.parents[2]}"]) == 0
    return table_run / "card"


def test_the_card_is_one_that_hugging_face_reads(card: Path) -> None:
    found = ModelCard.load(card / "card.md")
    assert found.data.library_name == "lantu"
    metrics = {each.metric_type: each.metric_value for each in found.data.eval_results}
    assert 0.7 < metrics["accuracy"] <= 1


def test_the_card_has_figures_with_intervals_data_with_fingerprints_cost_and_versions(card: Path) -> None:
    text = (card / "card.md").read_text()
    for expected in (
        "| income | double |",
        "95% interval",
        "| train | ",
        "Environment",
        "| torch | ",
        "gradients_gain",
    ):
        assert expected in text, expected
    assert "not known" not in next(line for line in text.splitlines() if line.startswith("| accuracy"))
    assert document.TODO in text
    assert "Trained without a privacy guarantee" in text


def test_annex_iv_has_its_nine_points_and_marks_what_a_person_must_write(card: Path) -> None:
    text = (card / "annex_iv.md").read_text()
    assert [line[3] for line in text.splitlines() if line.startswith("## ")] == list("123456789")
    assert text.count(document.TODO) > 8
    assert (card / "annex_iv.html").read_text().count('class="todo"') == text.count(document.TODO)


def test_the_card_is_kept_in_the_runs_record_which_ends_as_it_had(card: Path, table_run: Path) -> None:
    records = (table_run / "journal" / "records.jsonl").read_text().splitlines()
    assert any('"kind":"artifact"' in line and "card" in line for line in records)
    assert '"status":"FINISHED"' in records[-1]
    assert RunFolder(table_run).state() == "waits"


def test_a_card_that_the_runs_record_cannot_keep_ends_with_status_1(
    card: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(table_run, run)
    shutil.rmtree(run / "journal" / "spool", ignore_errors=True)
    (run / "journal" / "spool").write_text("in the way")  # as on a full disk, nothing can be put there
    assert main(["card", f"run={run}", "ship=false", f"paths.root={table_run.parents[2]}"]) == 1
    assert "and not in MLflow" in capsys.readouterr().err
    assert (run / "card" / "card.md").read_text() == (card / "card.md").read_text()


def test_a_damaged_journal_gives_no_figures_and_one_without_end_is_said(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, found = tmp_path / "records.jsonl", Facts(cfg={}, parameters=1, inputs=[], outputs=[])
    lines = (table_run / "journal" / "records.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines))
    _read_journal(path, found)
    assert "test/accuracy" in found.metrics
    assert capsys.readouterr().err == ""
    path.write_bytes(b"".join(lines)[: len(b"".join(lines)) // 2])
    _read_journal(path, found)
    assert f"{path} has no end" in capsys.readouterr().err
    path.write_bytes(b"".join([*lines[:5], b"?" + lines[5], *lines[6:]]))
    with pytest.raises(UserError, match=r"records\.jsonl is damaged: 1 of its records cannot be read"):
        _read_journal(path, found)


def test_intervals_cover_the_mean_and_shrink_with_more_examples() -> None:
    random = np.random.default_rng(0)
    right = random.random(2000) < 0.8
    frame = pd.DataFrame({"target": "a", "prediction": np.where(right, "a", "b"), "loss": random.random(2000)})
    low, high, count = intervals(frame)["test/accuracy"]
    assert low < right.mean() < high
    assert count == 2000
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 2000), rel=0.1)


def test_intervals_of_two_classes_hold_the_figures_of_the_examples() -> None:
    random = np.random.default_rng(0)
    score = random.random(800)
    frame = pd.DataFrame({"target": np.where(random.random(800) < score, "bad", "good"), "score": score})
    frame["prediction"] = np.where(score > 0.5, "bad", "good")
    found, y = intervals(frame, positive="bad"), frame["target"] == "bad"
    expected = {
        "auroc": roc_auc_score(y, score), "brier": ((score - y) ** 2).mean(),
        "f1": f1_score(y, frame["prediction"] == "bad"), "recall": recall_score(y, frame["prediction"] == "bad"),
    }  # fmt: skip
    for name, value in expected.items():
        low, high, count = found[f"test/{name}"]
        assert low < value < high < low + 0.15
        assert count == 800


def test_a_card_gives_logged_limits_as_intervals_and_names_the_group_that_decisions_need() -> None:
    metrics = {"test/profit": 0.5, "test/profit_low": 0.4, "test/profit_high": 0.6}
    metrics |= {f"fairness/race/gap_difference{end}": 0.1 for end in ("", "_low", "_high")}
    facts = Facts(
        cfg=OmegaConf.create({"name": "n"}), parameters=1, inputs=[], outputs=[], metrics=metrics, carried=["race"]
    )
    parts = [sections.model(facts), sections.evaluation(facts), sections.groups(facts)]
    text = document.markdown("x", parts)
    assert "| profit | 0.5 | 0.4 to 0.6 |" in text
    assert "| fairness/race/gap_difference | 0.1 | 0.1 to 0.1 |" in text
    assert "_low" not in text
    assert "threshold for each group of race" in text


def test_a_private_runs_card_states_epsilon_and_what_is_not_covered() -> None:
    account = {
        "epsilon": 2.5, "delta": 1e-5, "unit": "one training example", "adjacency": "zero-out", "accountant": "prv",
        "noise": 1.1, "clip": 1.0, "steps": 120, "not_covered": ["<statistics>"],
    }  # fmt: skip
    section = sections.privacy(Facts(cfg={}, parameters=1, inputs=[], outputs=[], privacy=account))
    text = document.markdown("x", [section])
    assert "epsilon 2.5 at delta 1e-05" in text
    assert "- &lt;statistics>" in text
    assert "<statistics>" not in document.html("x", [section])


def test_without_the_runs_folder_a_card_does_not_claim_that_training_was_not_private() -> None:
    text = document.markdown("x", [sections.privacy(Facts(cfg={}, parameters=1, inputs=[], outputs=[]))])
    assert "Trained without a privacy guarantee" not in text
    assert document.TODO in text
