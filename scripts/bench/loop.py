"""What our training loop costs beside one written by hand: the same network, data, loss and optimizer.

Run: python scripts/bench/loop.py [--steps 20] [--slices 40] [--callbacks] [WORK ...]
WORK is what is trained, such as "model=mlp model.hidden=[64]"; three, from short to long steps, if none is given.
The loops take turns in one process, a slice of steps at a time, so that what slows the machine slows all alike: each
slice is compared with the slice of the loop by hand of the same round. Times are processor time of the training thread,
which other programs disturb less than the clock. `--callbacks` adds rows with one callback each, which say where the
time goes.
"""

import argparse
import statistics
import tempfile
import threading
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
ARMS: dict[str, tuple[str, ...] | None] = {
    "by hand": None,
    "by hand, again": None,
    "bare: no callbacks, no logger": BARE,
    "bare, lean=false": (*BARE, "lean=false"),
    "the defaults": (),  # the only one with a progress bar: a process has one display
    "the defaults, no progress bar": ("trainer.enable_progress_bar=false",),
    "the defaults, no progress bar, lean=false": ("trainer.enable_progress_bar=false", "lean=false"),
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
class Turns:
    """Loops in threads of which one runs at a time: each takes a slice of steps and lets the next one go on."""

    arms: list[str]
    steps: int
    slices: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Processor time of a step, the median of each slice after the first, which warms up."""
    means: dict[str, list[float]] = field(default_factory=dict)
    """The same as means, into which the ends of epochs count: a loop has more to do there than one by hand."""

    def __post_init__(self) -> None:
        self._free = threading.Condition()
        self._turn = 0

    def begin(self, arm: str) -> Callable[[], bool]:
        """Wait for the arm's first turn; returns what it calls after every step, which says whether to go on."""
        self.seconds[arm], self.means[arm] = [], []
        self._wait(arm)
        ends, warm = [time.thread_time()], False

        def step_done() -> bool:
            nonlocal ends, warm
            ends.append(time.thread_time())
            if len(ends) <= self.steps:
                return True
            if warm:
                self.seconds[arm].append(statistics.median(b - a for a, b in pairwise(ends)))
                self.means[arm].append((ends[-1] - ends[0]) / self.steps)
            warm = True
            self.leave(arm)
            if len(self.seconds[arm]) == self.slices:
                return False
            self._wait(arm)
            ends = [time.thread_time()]
            return True

        return step_done

    def leave(self, arm: str) -> None:
        """Let the next arm run."""
        with self._free:
            self._turn = (self.arms.index(arm) + 1) % len(self.arms)
            self._free.notify_all()

    def _wait(self, arm: str) -> None:
        with self._free:
            self._free.wait_for(lambda: self.arms[self._turn] == arm)


class AfterStep(Callback):
    """Tells the turns of every step; the config builds it, so it finds them by its arm's name."""

    turns: dict[str, Callable[[], bool]] = {}  # noqa: RUF012

    def __init__(self, arm: str) -> None:
        self._arm = arm

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._step_done = AfterStep.turns[self._arm]

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if not self._step_done():
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


def main() -> None:
    """Time all loops in turns and print medians, and what they are over the loop written by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of a slice")
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--callbacks", action="store_true")
    parser.add_argument("--logger", default="mlflow", help="of the defaults; csv where MLflow is not installed")
    parser.add_argument("--arms", nargs="+", help="only arms of these names, or with these in their name")
    parser.add_argument("work", nargs="*", default=WORK)
    asked = parser.parse_args()
    arms = ARMS | (ONE_CALLBACK if asked.callbacks else {})
    wanted = ["by hand", "by hand, again", *asked.arms] if asked.arms else [""]
    arms = {
        name: overrides
        for name, overrides in arms.items()
        if any(each == name or (each in name and each not in arms) for each in wanted)
    }
    for work in asked.work:
        turns = Turns(list(arms), asked.steps, asked.slices)
        with tempfile.TemporaryDirectory() as folder, silence():
            threads = [
                threading.Thread(
                    target=run,
                    args=(turns, arm, overrides, work.split(), f"{folder}/{number}"),
                    kwargs={"logger": asked.logger},
                )
                for number, (arm, overrides) in enumerate(arms.items())
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        Console().print(report(work, turns))


def run(
    turns: Turns, arm: str, overrides: tuple[str, ...] | None, work: list[str], folder: str, *, logger: str
) -> None:
    """Train one loop until it has had all its slices."""
    step_done = turns.begin(arm)
    AfterStep.turns[arm] = step_done
    common = (
        "data=digits", *work, "trainer=cpu", "test=false", "save_model=false", "trainer.max_epochs=1000000",
        f"paths.root={folder}", "trainer.limit_val_batches=0",  # nor does the loop by hand validate
    )  # fmt: skip
    if overrides is None:
        return by_hand(lantu.compose(*common), step_done)
    ship: tuple[str, ...] = ("logger.mlflow.ship=false",) if logger == "mlflow" else (f"logger={logger}",)
    ship = () if "logger=none" in overrides else ship
    clock = ("+callbacks.clock._target_=__main__.AfterStep", f"+callbacks.clock.arm='{arm}'")
    lantu.run(lantu.compose(*common, *overrides, *ship, *clock))


def by_hand(composition: lantu.Composition, step_done: Callable[[], bool]) -> None:
    """What one would write: five lines around the same parts."""
    torch.manual_seed(0)
    cfg = complete_config(composition)
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    task = build_task(cfg)
    assert task._optimizer is not None
    optimizer = task._optimizer(parameter_groups(task.net))
    while True:
        for x, y in data.train_dataloader():
            optimizer.zero_grad()
            loss: Any = task.loss(task.net(x), y, stage="train")
            loss.backward()
            optimizer.step()
            if not step_done():
                return


def report(work: str, turns: Turns) -> Table:
    """Medians in milliseconds, and of the differences from the loop by hand in the same round."""
    table = Table(f"digits, {work}", "CPU ms a step", "over by hand, ms", "%", "mean, epochs' ends included")
    hand = turns.seconds["by hand"]
    for name, times in turns.seconds.items():
        over = statistics.median(mine - theirs for mine, theirs in zip(times, hand, strict=False))
        step = statistics.median(times)
        share = 100 * over / statistics.median(hand)
        mean = statistics.median(turns.means[name])
        table.add_row(name, f"{1e3 * step:.3f}", f"{1e3 * over:+.3f}", f"{share:+.1f}", f"{1e3 * mean:.3f}")
    return table


@contextmanager
def silence() -> Iterator[None]:
    """Keep what a run prints off the table."""
    with redirect_stdout(StringIO()):
        yield


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
