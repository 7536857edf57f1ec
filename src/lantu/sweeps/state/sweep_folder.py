"""Where a sweep lies on disk. What is there is the truth about it, for the sweep itself and for whoever looks on.

sweep.json            what was asked for, and which sweep it is
conf/                 the config files as they were when the sweep began
trials/0007/          a trial's run folder: journal, checkpoints, pictures, and
    trial.json        what varies in it
    state.json        how it stands with it
    owner.json        the process that works on it
    output.txt        what it printed
journal/              the record of the parent run
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lantu.sweeps.state.request import Point
from lantu.tracking.owner import Owner

FORMAT = 1
ENDED = ("finished", "pruned", "failed", "skipped")
PRUNED = "pruned.txt"
"""A file in a trial's folder that says why a pruner ended it."""


@dataclass
class State:
    """How it stands with a trial."""

    status: str = "planned"
    """planned, running, finished, pruned, failed or skipped (the sweep's budget was spent)."""
    attempts: int = 0
    reason: str = ""
    """Why it failed, in a sentence."""
    values: dict[str, float] = field(default_factory=dict)
    """Its metrics and its cost, named as they are logged."""
    started: float = 0.0
    ended: float = 0.0
    run_id: str | None = None
    """Its MLflow run, where that was known when it ended."""


class TrialFolder:
    """One trial on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def point(self) -> Point:
        """What varies in it."""
        return Point(tuple(json.loads((self.path / "trial.json").read_text())["overrides"]))

    @property
    def name(self) -> str:
        return self.point.name

    @property
    def owner(self) -> Owner:
        """The process that works on it."""
        return Owner(self.path / "owner.json")

    def plan(self, point: Point) -> "TrialFolder":
        """Put a point on disk; it has happened when this returns."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / "trial.json", {"overrides": point.overrides})
        return self

    def state(self) -> State:
        """How it stands with it; a trial whose process died is `planned` again."""
        try:
            content = json.loads((self.path / "state.json").read_text())
        except (OSError, ValueError):
            return State()
        known = {each.name for each in fields(State)}
        state = State(**{name: value for name, value in content.items() if name in known})
        if state.status == "running" and not self.owner.is_alive():
            state.status = "planned"
        return state

    def keep(self, state: State) -> None:
        """Replace state.json in one step."""
        _write(self.path / "state.json", asdict(state))


class SweepFolder:
    """One sweep on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def owner(self) -> Owner:
        """The process that conducts it."""
        return Owner(self.path / "owner.json")

    @property
    def conf(self) -> Path:
        """The config files as they were when the sweep began."""
        return self.path / "conf"

    def exists(self) -> bool:
        return (self.path / "sweep.json").is_file()

    def content(self) -> dict[str, Any]:
        """What sweep.json says."""
        content: dict[str, Any] = json.loads((self.path / "sweep.json").read_text())
        return content

    def keep(self, content: dict[str, Any]) -> None:
        """Replace sweep.json in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / "sweep.json", {"format": FORMAT, **content})

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.path / "trials" / f"{number:04d}")

    def trials(self) -> list[TrialFolder]:
        """Those that were planned, in order."""
        found = (self.path / "trials").glob("*/trial.json")
        return sorted((TrialFolder(each.parent) for each in found), key=lambda each: each.number)

    def spent(self) -> dict[str, float]:
        """What the trials have cost so far, by the names of a budget: usd, kwh, hours."""
        total = dict.fromkeys(COSTS, 0.0)
        for trial in self.trials():
            values = trial.state().values
            for name, metric in COSTS.items():
                total[name] += values.get(metric, 0.0)
        return total


COSTS = {"usd": "cost/usd", "kwh": "cost/kwh", "hours": "cost/device_hours"}
"""A budget's names, and the metrics that they limit."""


def sweeps_of(store: Path) -> Path:
    """The folder that holds a store's sweeps."""
    return store / "runs" / "sweeps"


def sweep_folders(store: Path) -> Iterator[SweepFolder]:
    """A store's sweeps, oldest first."""
    found = [SweepFolder(each.parent) for each in sweeps_of(store).glob("*/sweep.json")]
    yield from sorted(found, key=lambda each: float(each.content().get("created", 0)))


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(content, indent=1))
    os.replace(draft, path)
