"""What a language model writes during a run is kept, and changes nothing about the run."""

import json
from collections.abc import Callable
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
