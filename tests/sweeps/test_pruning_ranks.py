"""Ending a trial early under DDP: two processes that talk over gloo."""

import sys
from pathlib import Path

import optuna
import pytest

from lantu.sweeps.search.study import open_storage
from lantu.sweeps.state.sweep_folder import PRUNED
from tests.warm import run_warm

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_all_ranks_stop_at_the_same_validation_when_the_study_says_so(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="mine", storage=open_storage(storage))
    good = study.ask()
    for validation in range(1, 9):
        good.report(0.01, validation)
    study.tell(good, 0.01)
    bad = study.ask()
    pruner = "{_target_:optuna.pruners.MedianPruner,n_startup_trials:1,n_warmup_steps:2}"
    callback = (
        f"{{_target_:lantu.sweeps.search.pruning.Pruning,storage:'{storage}',study_name:mine,number:{bad.number},"
        f"pruner:{pruner},monitor:'val/loss',run_dir:'{tmp_path}'}}"
    )
    command = ("model=linear", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=8")
    kept = (f"paths.root={tmp_path}", "logger.mlflow.ship=false", "save_model=false", "callbacks.figures=null")
    done = run_warm(
        [sys.executable, REPO / "scripts" / "train.py", *command, *kept, f"+callbacks.pruning={callback}"],
        cwd=tmp_path,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr  # had one rank stopped alone, the other would wait for it until it fails
    assert "was not among the best" in (tmp_path / PRUNED).read_text()
    assert 2 <= len(study.trials[bad.number].intermediate_values) < 8
