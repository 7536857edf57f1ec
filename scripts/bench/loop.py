"""What our training loop costs beside one written by hand: the same network, data, loss and optimizer.

Run: python scripts/bench/loop.py [--steps 20] [--slices 40] [--callbacks] [--arms NAME ...] [-- WORK ...]
WORK is what is trained, such as "model=mlp model.hidden=[64]"; three, from short to long steps, if none is given.
After every 20 steps a run of ours takes 20 of the loop by hand, so that what slows the machine slows both alike, and
each slice is compared with the one by hand that follows it. Both run in the main thread: every other thread has a heap
of its own, which makes loops in threads differ by more than what is measured. Times are processor time of that thread,
which other programs disturb less than the clock. `--callbacks` adds rows with one callback each, which say where the
time goes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table

import lantu
from lantu.config.build import build
from lantu.optim import parameter_groups
from lantu.training.build_task import build_task
from lantu.training.complete_config import complete_config, publish_facts

BARE = ("callbacks=none", "logger=none", "trainer.enable_progress_bar=false")
QUIET = ("logger=none", "trainer.enable_progress_bar=false")
BY_HAND = "by hand, beside itself"
ARMS: dict[str, tuple[str, ...]] = {
    BY_HAND: (),
    "bare: no callbacks, no logger": BARE,
    "bare, lean=false": (*BARE, "lean=false"),
    "the defaults": (),
    "the defaults, lean=false": ("lean=false",),
    "the defaults, no progress bar": ("trainer.enable_progress_bar=false",),
}
ONE_CALLBACK = {
    **{
        f"bare + {name}": (f"callbacks={name}", *QUIET)
        for name in ("finite_loss", "learning_rate", "figures", "cost", "resume", "checkpoint", "samples")
    },
    "bare + logger=mlflow": ("callbacks=none", "trainer.enable_progress_bar=false"),
}
WORK = (
    "model=mlp model.hidden=[64]",
    "model=mlp model.hidden=[1536,1536]",
    "model=cnn data.batch_size=128",
)


@dataclass
class Times:
    """Processor seconds of a step: of ours and of the loop by hand, one pair for each round after the first."""

    medians: list[tuple[float, float]] = field(default_factory=list)
    means: list[tuple[float, float]] = field(default_factory=list)
    """Into these the ends of epochs count, where a loop has more to do than one by hand."""
    _is_warm: bool = False

    def add(self, ours: list[float], by_hand: list[float]) -> None:
        """Count a round.

        Args:
            ours: when each step of a slice ended, with when the first one began.
            by_hand: the same.
        """
        if self._is_warm:
            self.medians.append((_median(ours), _median(by_hand)))
            self.means.append(((ours[-1] - ours[0]) / (len(ours) - 1), (by_hand[-1] - by_hand[0]) / (len(by_hand) - 1)))
        self._is_warm = True


class ByHand:
    """What one would write: five lines around the same parts."""

    def __init__(self, composition: lantu.Composition) -> None:
        torch.manual_seed(0)
        cfg = complete_config(composition)
        self._data = build(cfg.data)
        publish_facts(cfg, self._data, composition)
        self._task = build_task(cfg)
        assert self._task._optimizer is not None
        self._optimizer = self._task._optimizer(parameter_groups(self._task.net))
        self._steps = self._train()

    def slice(self, steps: int) -> list[float]:
        """Take some steps; returns when each ended, with when the first one began."""
        ends = [time.thread_time()]
        for _ in range(steps):
            next(self._steps)
            ends.append(time.thread_time())
        return ends

    def _train(self) -> Iterator[None]:
        task, optimizer = self._task, self._optimizer
        while True:
            for x, y in self._data.train_dataloader():
                optimizer.zero_grad()
                loss: Any = task.loss(task.net(x), y, stage="train")
                loss.backward()
                optimizer.step()
                yield


class Beside(Callback):
    """After each slice of steps takes one of the loop by hand; the config builds it, so it finds that here."""

    round_done: Callable[[list[float]], bool]
    """Is given when each step of a slice ended; says whether to go on."""
    steps: int

    def on_train_start(self, *_: Any) -> None:
        self._ends = [time.thread_time()]

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._ends.append(time.thread_time())
        if len(self._ends) <= self.steps:
            return
        if not Beside.round_done(self._ends):
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step
        self._ends = [time.thread_time()]


def main() -> None:
    """Time all loops and print medians, and what they are over the loop written by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of a slice")
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--callbacks", action="store_true")
    parser.add_argument("--logger", default="mlflow", help="of the defaults; csv where MLflow is not installed")
    parser.add_argument("--arms", nargs="+", help="these only, beside the loop by hand")
    parser.add_argument("work", nargs="*", default=WORK)
    asked = parser.parse_args()
    arms = ARMS | (ONE_CALLBACK if asked.callbacks else {})
    if unknown := set(asked.arms or ()) - arms.keys():
        parser.error(f"no arm is called {', '.join(sorted(unknown))}; there are {', '.join(arms)}")
    for work in asked.work:
        found = {
            name: timed(name, arms[name], work.split(), asked)
            for name in arms
            if asked.arms is None or name in (BY_HAND, *asked.arms)
        }
        Console().print(report(work, found))


def timed(name: str, overrides: tuple[str, ...], work: list[str], asked: argparse.Namespace) -> Times:
    """Train with an arm's overrides until it has had all its slices."""
    with tempfile.TemporaryDirectory() as folder, silence():
        common = (
            "data=digits", *work, "trainer=cpu", "test=false", "save_model=false", "trainer.max_epochs=1000000",
            f"paths.root={folder}", "trainer.limit_val_batches=0",  # nor does the loop by hand validate
        )  # fmt: skip
        by_hand, times = ByHand(lantu.compose(*common)), Times()

        def round_done(ours: list[float]) -> bool:
            times.add(ours, by_hand.slice(asked.steps))
            return len(times.medians) < asked.slices

        if name == BY_HAND:
            another = ByHand(lantu.compose(*common))
            while round_done(another.slice(asked.steps)):
                pass
            return times
        Beside.round_done, Beside.steps = staticmethod(round_done), asked.steps
        logger = "logger.mlflow.ship=false" if asked.logger == "mlflow" else f"logger={asked.logger}"
        ship = () if "logger=none" in overrides else (logger,)
        clock = "+callbacks.clock._target_=__main__.Beside"
        lantu.run(lantu.compose(*common, *overrides, *ship, clock))
    return times


def report(work: str, found: dict[str, Times]) -> Table:
    """Medians in milliseconds, and of the differences from the loop by hand in the same round, with their quartiles."""
    table = Table(f"digits, {work}", "CPU ms a step", "by hand", "over by hand, ms", "%", "mean, epochs' ends included")
    for name, times in found.items():
        step, hand = (1e3 * statistics.median(each) for each in zip(*times.medians, strict=True))
        low, over, high = statistics.quantiles((1e3 * (mine - theirs) for mine, theirs in times.medians), n=4)
        mean = statistics.median(1e3 * (mine - theirs) for mine, theirs in times.means)
        table.add_row(
            name, f"{step:.3f}", f"{hand:.3f}", f"{over:+.3f} ({low:+.2f} to {high:+.2f})", f"{100 * over / hand:+.1f}",
            f"{mean:+.3f}",
        )  # fmt: skip
    return table


def _median(ends: list[float]) -> float:
    """Of the steps between these moments."""
    return statistics.median(end - begin for begin, end in pairwise(ends))


@contextmanager
def silence() -> Iterator[None]:
    """Keep what a run prints off the table."""
    with redirect_stdout(StringIO()):
        yield


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
