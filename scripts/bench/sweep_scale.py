"""What a sweep of thousands of trials costs beside its trials: overhead per trial, memory, and resuming after SIGKILL.

    python scripts/bench/sweep_scale.py [--trials 10000] [--workers 64] [--kill 9000] [--kinds grid search]
        [--parts whole resume]

The trials take no time and the workers are simulated: they run in this process, one after the other, while as many
trials as there are workers count as running. All else is the sweep's own: its folder, its states on disk, its source of
trials, its progress, its end. Times are processor time. The overhead is given for every tenth of the trials; the last
figure is the time from typing the command again, after SIGKILL, until the first trial begins.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar

GRID = ("seed=range({half})", "optimizer.weight_decay={decays}")
SEARCH = (
    "hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials={trials}",
    "hydra.sweeper.n_jobs={workers}", "optimizer.lr=tag(log,interval(1e-4,1e-1))",
)  # fmt: skip


def main() -> None:
    """Run both kinds of sweeps, each once through, and once killed and resumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--kill", type=int, help="after how many trials; default: nine tenths")
    parser.add_argument("--kinds", nargs="+", default=["grid", "search"])
    parser.add_argument("--parts", nargs="+", default=["whole", "resume"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return conduct(asked.child, trials=asked.trials, workers=asked.workers, kill=asked.kill)
    for kind in asked.kinds:
        if "whole" in asked.parts:
            with tempfile.TemporaryDirectory() as folder:
                begun = time.time()
                lines = _child(folder, kind, asked, kill=0)
                took = time.time() - begun
                print(f"{kind}: {asked.trials:,} trials on {asked.workers} workers, {took:.0f} s of the clock")
                _show(lines)
        if "resume" in asked.parts:
            with tempfile.TemporaryDirectory() as folder:
                _resumed(folder, kind, asked)


def _resumed(folder: str, kind: str, asked: argparse.Namespace) -> None:
    kill = asked.kill or 9 * asked.trials // 10
    _child(folder, kind, asked, kill=kill)
    begun = time.time()
    first = next(each for each in _child(folder, kind, asked, kill=1) if "first" in each)
    print(
        f"{kind}: killed at {kill:,}; the same command: first trial after {first['first'] - begun:.1f} s of the clock, "
        f"{first['cpu']:.1f} processor seconds"
    )


def _show(lines: list[dict[str, float]]) -> None:
    ends = [each for each in lines if "ended" in each]
    for before, after in pairwise(ends):
        each = 1000 * (after["cpu"] - before["cpu"]) / (after["ended"] - before["ended"])
        print(f"  to {after['ended']:6,.0f} trials {each:6.2f} ms a trial {after['mebibytes']:6.0f} MiB")
    print(f"  start {ends[0]['cpu']:.1f} s, end {lines[-1]['cpu'] - ends[-1]['cpu']:.1f} s")


def _child(folder: str, kind: str, asked: argparse.Namespace, *, kill: int) -> list[dict[str, float]]:
    command = [
        sys.executable, __file__, "--child", kind, "--trials", str(asked.trials), "--workers", str(asked.workers),
        "--kill", str(kill),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANTU_HOME": folder}
    done = subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, check=False,
                          stdout=subprocess.DEVNULL)  # fmt: skip
    if done.returncode not in (0, -signal.SIGKILL if kill else 0):
        sys.exit(f"{kind}: {done.stderr[-3000:]}")
    return [json.loads(each) for each in done.stderr.splitlines() if each.startswith("{")]


class Simulated:
    """A pool whose workers are simulated: a job runs when it is waited for."""

    shares_fate: ClassVar[bool] = False

    def __init__(self, task: Any, *, trials: int, kill: int) -> None:
        self._task, self._kill = task, kill
        self._waiting: deque[int] = deque()
        self._ended, self._report = 0, max(1, trials // 10)

    def submit(self, jobs: Sequence[Any]) -> None:
        self._waiting += [job.number for job in jobs]

    def wait(self) -> list[Any]:
        from lantu.sweeps.pools.pool import Ended

        if not self._ended:
            say(first=time.time())
            say(ended=0)
        number = self._waiting.popleft()
        self._task(trial_config(number))
        self._ended += 1
        if self._ended == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._ended % self._report == 0:
            say(ended=self._ended)
        return [Ended(number)]

    def close(self) -> None:
        """Nothing to release."""


def trial_config(number: int) -> Any:
    """What a trial reads of its config before it trains; composing the rest is the worker's own time."""
    from omegaconf import OmegaConf

    return OmegaConf.create({"sweep": {"trial": number, "budget": {}}})


def conduct(kind: str, *, trials: int, workers: int, kill: int) -> None:
    """Run a sweep in this process, through its command."""
    from lantu.cli.main import main as lantu
    from lantu.sweeps import rounds
    from lantu.sweeps.sweeper import Work
    from lantu.sweeps.trial import RunTrial

    def nothing(self: RunTrial, cfg: Any, sweep: Any, trial: Any) -> Any:
        return SimpleNamespace(metrics={"val/loss_best": 1 / (1 + trial.number % 97)}, cost={}, run_id=None)

    RunTrial._train = nothing  # type: ignore[method-assign]
    made: list[Any] = []
    of = Work.of
    Work.of = lambda context, config, task: made.append(task) or of(context, config, task)  # type: ignore
    rounds.open_pool = lambda launcher: Simulated(made[-1], trials=trials, kill=kill)
    half = max(1, trials // 100)
    decays = ",".join(f"{0.001 * each:.3f}" for each in range(100))
    words = [each.format(trials=trials, workers=workers, half=half, decays=decays) for each in _words(kind)]
    try:
        lantu(["train", "-m", "sweep.compare=false", "logger=none", "model=linear", *words])
    finally:
        say(end=1.0)


def _words(kind: str) -> tuple[str, ...]:
    return GRID if kind == "grid" else SEARCH


def say(**values: float) -> None:
    """A line for the bench that started this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": time.process_time(), "mebibytes": peak, **values}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
