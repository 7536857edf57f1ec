"""Progress of a running sweep in the terminal."""

import os
import sys
import threading
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lantu import units
from lantu.sweeps.state.objective import objective_value
from lantu.sweeps.state.status import SweepStatus, Watcher
from lantu.sweeps.state.sweep_folder import State, SweepFolder, TrialFolder

COLOURS = {
    "finished": "green",
    "planned": "dim",
    "running": "cyan",
    "pruned": "yellow",
    "failed": "red",
    "skipped": "dim",
}
EVERY = 0.5
"""Seconds between two looks at the sweep."""
SHARE = 0.05
"""The most of the time that looking may take: a look at ten thousand trials takes a quarter of a second."""


class Progress:
    """Print one line for each trial that ends, and below them a live summary of the sweep.

    It writes to a duplicate of stdout, because a trial that runs in this process redirects stdout to a file. When
    stdout is not a terminal, only the lines are printed.
    """

    def __init__(self, sweep: SweepFolder, *, planned: int | None) -> None:
        self.planned = planned
        self._sweep, self._watcher = sweep, Watcher(sweep)
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1) if _has_file() else sys.stdout
        self._console = Console(file=self._out, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._stop = threading.Event()
        self._seen: set[int] = set()
        self._begun = time.time()

    def __enter__(self) -> "Progress":
        status = self._watcher.look()
        done = len(self._watcher.newly_ended(self._seen))
        many = "as many trials as there is time for" if self.planned is None else _trials(self.planned)
        again = f"; {done:,} of them are done already" if done else ""
        self._console.print(f"sweep [bold]{self._sweep.name}[/bold]: {many}{again}", soft_wrap=True)
        if self._console.is_terminal:
            self._live.start()
            self._live.update(self._picture(status), refresh=True)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._say(self._watcher.look())
        if self._console.is_terminal:
            self._live.stop()

    def _watch(self) -> None:
        took = 0.0
        while not self._stop.wait(max(EVERY, took / SHARE)):
            started = time.thread_time()
            status = self._watcher.look()
            took = time.thread_time() - started
            self._say(status)
            if self._console.is_terminal:
                self._live.update(self._picture(status), refresh=True)

    def _say(self, status: SweepStatus) -> None:
        for trial, state in self._watcher.newly_ended(self._seen):
            self._console.print(_line(trial, state, status), soft_wrap=True)

    def _picture(self, status: SweepStatus) -> Group:
        row = Table.grid(padding=(0, 1))
        total = self.planned
        bar = ProgressBar(total=total, completed=status.ended, width=30, pulse=total is None)
        left = status.seconds_left(total)
        ends = f"  about {units.format_duration(left)} left" if left and status.ended < (total or 0) else ""
        row.add_row(bar, f"{status.ended}{f'/{total}' if total is not None else ''}", counted(status), ends)
        best = status.best
        return Group(row, Text(f"best so far  {best}" if best else "", style="bold"))


def counted(status: SweepStatus, *, separator: str = ", ") -> str:
    """Format the number of trials by status, in colour."""
    shown = [(name, status.counts[name]) for name in COLOURS if status.counts[name]]
    return separator.join(f"[{COLOURS[name]}]{number} {name}[/]" for name, number in shown)


def _line(trial: TrialFolder, state: State, status: SweepStatus) -> str:
    colour = COLOURS.get(state.status, "")
    metric = status.best.metric if status.best else ""
    value = objective_value(state.values, metric)
    parts = [f"{metric} {value:.4g}"] if value is not None and state.status == "finished" else []
    parts += [state.reason] if state.reason else []
    seconds = units.format_duration(state.ended - state.started) if state.started else ""
    return f"  [{colour}]{state.status:<9}[/]{trial.name}  [dim]{seconds}[/]  {'; '.join(parts)}"


def _has_file() -> bool:
    try:
        sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number:,} trials"
