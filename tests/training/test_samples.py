"""What a language model writes during a run is kept, and changes nothing about the run."""

import json
from collections.abc import Callable
from math import log
from pathlib import Path

import pytest

import lantu

TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "
SMALL = ("data.batch_size=8", "data.context=16", "model.width=16", "model.layers=1", "model.heads=2")
QUIET = ("trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false", "task.sample_tokens=30")


@pytest.fixture
def writer(train: Callable[..., lantu.Result], tmp_path: Path) -> Callable[..., lantu.Result]:
    (tmp_path / "t.txt").write_text(TEXT * 40)
    data = ("data=text_files", f"data.path={tmp_path}/t.txt", "model=gpt", "model.dropout=0.2")
    return lambda *more: train(*data, *SMALL, *QUIET, "trainer.max_epochs=3", *more)


def test_every_validation_is_a_row_of_a_table_and_the_test_is_measured(writer: Callable[..., lantu.Result]) -> None:
    result = writer()
    spool = [path for path in result.run_dir.rglob("validation.json*") if path.is_file()]
    table = json.loads(max(spool, key=lambda path: path.stat().st_size).read_text())
    assert table["columns"] == ["step", "val/loss", "text"]
    steps, losses, texts = zip(*table["data"], strict=True)
    assert len(set(steps)) == 3
    assert losses[-1] == pytest.approx(result.metrics["val/loss"])
    assert all(len(text) == 8 + 30 for text in texts)
    assert {"test/distinct_1", "test/bits_per_byte"} <= result.metrics.keys()
    sample = (result.run_dir / "samples" / "sample.txt").read_text()
    assert len(sample) == 8 + 30
    records = [json.loads(line) for line in (result.run_dir / "journal" / "records.jsonl").read_text().splitlines()]
    recorded = set().union(*(record.get("values", {}) for record in records))
    assert "test/distinct_1" in recorded
    assert any(record.get("path") == "samples/validation.json" for record in records)


def test_writing_changes_nothing_about_the_run(writer: Callable[..., lantu.Result]) -> None:
    with_samples = writer("name=with")
    without = writer("name=without", "callbacks=[checkpoint]")
    for name in ("train/loss", "val/loss", "test/loss"):
        assert with_samples.metrics[name] == without.metrics[name]


def test_bits_per_byte_of_the_test_are_by_its_own_bytes(train: Callable[..., lantu.Result], tmp_path: Path) -> None:
    held_out = "жук и " * 75
    (tmp_path / "t.txt").write_text((TEXT * 60)[: 9 * len(held_out)] + held_out, encoding="utf-8")
    data = ("data=text_files", f"data.path={tmp_path}/t.txt", "model=gpt", "callbacks=[checkpoint]")
    metrics = train(*data, *SMALL, *QUIET, "trainer.max_steps=1").metrics
    per_token = len(held_out.encode()) / len(held_out)
    assert per_token > 1.6  # every letter is two bytes; those of validation are one
    assert metrics["test/bits_per_byte"] == pytest.approx(metrics["test/loss"] / log(2) / per_token, rel=1e-5)
    assert metrics["val/bits_per_byte"] == pytest.approx(metrics["val/loss"] / log(2), rel=1e-5)
