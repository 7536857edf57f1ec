"""A run that is killed at any step and started again ends as the one that was not, bit for bit."""

import json
import math
import multiprocessing
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import lantu
from lantu.training.callbacks import Interruptible
from lantu.training.points import KEY

COMMON = (
    "trainer=cpu", "trainer.deterministic=true", "trainer.log_every_n_steps=3", "trainer.enable_progress_bar=false",
    "logger.mlflow.ship=false", "callbacks.figures=null", "callbacks.resume.steps=1", "test=false", "save_model=false",
    "optimizer.lr=0.01",
)  # fmt: skip
TABLES = (
    "data=breast_cancer", "model=mlp", "model.dropout=0.3", "data.batch_size=32", "trainer.accumulate_grad_batches=3",
    "scheduler=plateau", "scheduler.patience=0", "callbacks=[default,early_stopping]",
    "callbacks.early_stopping.patience=2", "trainer.max_epochs=12", "optimizer.lr=0.05",
)  # fmt: skip
IMAGES = (
    "data=digits", "model=cnn", "data.workers=2", "callbacks=[default,ema]", "callbacks.ema.decay=0.9",
    "scheduler=one_cycle", "trainer.max_epochs=2", "trainer.val_check_interval=5", "data.batch_size=128",
)  # fmt: skip
MEASURED_BY_THE_CLOCK = ("cost/", "speed/", "preflight/")
Place = tuple[int, str]
"""How many batches, and the hook of a callback in which the process is killed then."""


def run(folder: Path, overrides: tuple[str, ...]) -> None:
    lantu.run(lantu.compose(f"paths.root={folder}", f"paths.run={folder}/run", "resume=auto", *COMMON, *overrides))


def run_until(folder: Path, overrides: tuple[str, ...], place: Place) -> None:
    batches, hook = place

    def die(callback: Any, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx >= batches:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Interruptible, hook, die)
    run(folder, overrides)


def child(target: Any, *arguments: Any) -> int:
    """Run in a process of its own, forked: one that starts afresh takes seconds to import torch."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def points(folder: Path) -> Counter[tuple[str, int, float]]:
    """Every recorded number that does not depend on the clock."""
    found: Counter[tuple[str, int, float]] = Counter()
    for line in (folder / "run" / "journal" / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["values"].items() if record["kind"] == "metrics" else ():
            if not name.startswith(MEASURED_BY_THE_CLOCK):
                assert math.isfinite(float(value))
                found[name, record["step"], float(value)] += 1
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def check_same(whole: Path, killed: Path) -> None:
    last, best = ({each: torch.load(each / "run" / "checkpoints" / name, weights_only=True) for each in (whole, killed)}
                  for name in ("last.ckpt", "best.ckpt"))  # fmt: skip
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", KEY):
        assert same(last[whole][part], last[killed][part]), part
    for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
        assert same(best[whole][part], best[killed][part]), part
    for name, state in last[whole]["callbacks"].items():
        if name.startswith(("EarlyStopping", "EMA")):
            assert same(state, last[killed]["callbacks"][name]), name
    expected, found = points(whole), points(killed)
    assert found.keys() == expected.keys()
    assert all(count <= expected[point] for point, count in found.items())


def kill_and_compare(folder: Path, overrides: tuple[str, ...], places: list[Place]) -> None:
    assert child(run, folder / "whole", overrides) == 0
    for place in places:
        assert child(run_until, folder / "killed", overrides, place) == -signal.SIGKILL
    assert child(run, folder / "killed", overrides) == 0
    check_same(folder / "whole", folder / "killed")


def anywhere(batches: int) -> list[Place]:
    """Two places, anew in every session; a failure shows them."""
    hooks = ("on_train_batch_start", "on_train_batch_end", "on_validation_batch_start", "on_train_epoch_end")
    first, second = sorted(random.SystemRandom().sample(range(1, batches), 2))
    return [(first, random.SystemRandom().choice(hooks[:2])), (second, random.SystemRandom().choice(hooks))]


def test_tables_with_accumulation_a_plateau_schedule_and_early_stopping(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, TABLES, anywhere(30))


def test_images_with_worker_processes_averaged_weights_and_validation_inside_the_epoch(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, IMAGES, anywhere(15))
