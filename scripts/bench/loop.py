"""What our training loop costs beside one written by hand: the same network, data, loss and optimizer.

Run: python scripts/bench/loop.py [--steps 200] [--rounds 3] [--callbacks] [WORK ...]
WORK is what is trained, such as "model=mlp model.hidden=[64]"; three, from short to long steps, if none is given.
The loops take turns, so that a busy machine slows all alike. A step is timed from its end to the next one's end, twice:
by the clock, and by the processor time of the training thread, which other programs disturb less. `--callbacks` adds
rows with one callback each, which say where the time goes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from itertools import pairwise
from typing import Any

import torch
from pytorch_lightning import Callback
from rich.console import Console
from rich.table import Table

import lantu
from lantu.config.build import build
from lantu.optim import parameter_groups
from lantu.training.run import build_task, completed, publish_facts

BARE = ("callbacks=none", "logger=none", "trainer.enable_progress_bar=false")
QUIET = ("logger=none", "trainer.enable_progress_bar=false")
ARMS: dict[str, tuple[str, ...] | None] = {
    "by hand": None,
    "bare: no callbacks, no logger": BARE,
    "bare, lean=false": (*BARE, "lean=false"),
    "the defaults": (),
    "the defaults, lean=false": ("lean=false",),
}
ONE_CALLBACK = {
    **{
        f"bare + {name}": (f"callbacks={name}", *QUIET)
        for name in ("finite_loss", "learning_rate", "figures", "cost", "resume", "checkpoint")
    },
    "bare + logger=mlflow": ("callbacks=none", "trainer.enable_progress_bar=false"),
}
WORK = (
    "model=mlp model.hidden=[64]",
    "model=mlp model.hidden=[1536,1536]",
    "model=cnn data.batch_size=128",
)
SKIPPED = 10
"""Steps at the beginning that are not counted: memory is allocated, the cost is estimated."""


class Clock(Callback):
    """When each step ended: by the clock, and in processor time of this thread; seconds."""

    ends: list[tuple[float, float]] = []  # noqa: RUF012 - the config builds the object, the bench reads the class

    def on_train_batch_end(self, *_: Any) -> None:
        Clock.ends.append((time.perf_counter(), time.thread_time()))


def main() -> None:
    """Time all loops in turns and print medians, and what they are over the loop written by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callbacks", action="store_true")
    parser.add_argument("work", nargs="*", default=WORK)
    asked = parser.parse_args()
    arms = ARMS | (ONE_CALLBACK if asked.callbacks else {})
    for work in asked.work:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        for _ in range(asked.rounds):
            for name, overrides in arms.items():
                taken[name] += steps_of(overrides, work.split(), asked.steps)
        Console().print(report(work, taken))


def steps_of(overrides: tuple[str, ...] | None, work: list[str], steps: int) -> list[tuple[float, float]]:
    """Seconds of each step of one loop, by the clock and in processor time."""
    Clock.ends = []
    with tempfile.TemporaryDirectory() as folder, silence():
        common = (
            "data=digits", *work, "trainer=cpu", "test=false", "save_model=false",
            "trainer.max_epochs=-1", f"trainer.max_steps={steps}", f"paths.root={folder}",
            "trainer.limit_val_batches=0",  # nor does the loop by hand validate
        )  # fmt: skip
        if overrides is None:
            by_hand(lantu.compose(*common), steps)
        else:
            clock = "+callbacks.clock._target_=__main__.Clock"
            ship = () if "logger=none" in overrides else ("logger.mlflow.ship=false",)
            lantu.run(lantu.compose(*common, *overrides, *ship, clock))
    ends = Clock.ends[SKIPPED:]
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(ends)]


def by_hand(composition: lantu.Composition, steps: int) -> None:
    """What one would write: five lines around the same parts."""
    torch.manual_seed(0)
    cfg = completed(composition)
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    task = build_task(cfg)
    assert task._optimizer is not None
    optimizer = task._optimizer(parameter_groups(task.net))
    batches, done = data.train_dataloader(), 0
    while done < steps:
        for x, y in batches:
            optimizer.zero_grad()
            loss = task.loss(task.net(x), y, stage="train")
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            optimizer.step()
            Clock.ends.append((time.perf_counter(), time.thread_time()))
            done += 1


def report(work: str, taken: dict[str, list[tuple[float, float]]]) -> Table:
    """Medians in milliseconds."""
    table = Table(f"digits, {work}", "ms a step", "CPU ms", "over by hand, CPU ms", "ratio", title_justify="left")
    medians = {
        name: [1000 * statistics.median(part) for part in zip(*each, strict=True)] for name, each in taken.items()
    }
    _, hand = medians["by hand"]
    for name, (wall, cpu) in medians.items():
        table.add_row(name, f"{wall:.3f}", f"{cpu:.3f}", f"{cpu - hand:.3f}", f"{cpu / hand:.3f}")
    return table


@contextmanager
def silence() -> Iterator[None]:
    """Keep what a run prints off the table."""
    with redirect_stdout(StringIO()):
        yield


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
