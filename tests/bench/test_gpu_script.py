"""scripts/bench/gpu.py measures every part, here on small networks and a processor."""

import json
import os
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

from tests.warm import run_warm

REPO = Path(__file__).resolve().parent.parent.parent
TINY = Namespace(tiny=True, cpu=True, nanogpt=None, profile=None, wait_for=None, batch=2)


def measured(part, options=TINY):
    """The rows of a part, which is imported here: collecting the tests need not wait for it."""
    return list(import_module(f"scripts.bench.gpu_parts.{part}").measure(options))


@pytest.mark.parametrize("part", ["kernels", "gpt", "steps", "resnet", "detection", "memory", "wavenet", "writing"])
def test_a_part_measures_all_its_rows(part, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    rows = measured(part)
    assert len(rows) >= 2
    for row in rows:
        assert "failed" not in row, row
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert numbers or "not here" in row
        assert all(value >= 0 for value in numbers)


def test_the_kernels_of_each_loop_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    measured("gpt", Namespace(**{**vars(TINY), "profile": tmp_path / "profile.txt"}))
    text = (tmp_path / "profile.txt").read_text()
    assert "ours, chunked_loss=false" in text
    assert "aten::mm" in text


def test_a_part_that_fails_does_not_stop_the_next(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), "OMP_NUM_THREADS": "1"}
    done = run_warm(
        [
            sys.executable, REPO / "scripts/bench/gpu.py", "--tiny", "--cpu", "--out", tmp_path, "--only", "gpt",
            "kernels", "--nanogpt", tmp_path / "nothing",
        ],
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert "No module named 'model'" in json.dumps(found["parts"]["gpt"])
    assert found["parts"]["kernels"]["rows"]
    assert "tests: skipped as asked" in found["not measured"]
