"""A sweep's folder on disk, the single source of truth for the sweep and every command that reads it.

sweep.json            the sweep's identity and command
conf/                 snapshot of the config files at the start of the sweep
trials/0007/          a trial's run folder: journal, checkpoints, pictures, and
    trial.json        its overrides
    state.json        its state
    owner.json        the process that runs it
    output.txt        its output
journal/              the record of the parent run
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.sweeps.state.request import Point
from lantu.tracking.owner import Owner

FORMAT = 1
ENDED = ("finished", "pruned", "failed", "skipped")
STATUSES = ("planned", "running", *ENDED)
REQUIRED: dict[str, Any] = {
    "created": int | float, "objectives": list, "directions": list, "digest": str, "command": list,
}  # fmt: skip
"""What every sweep.json holds, and its type."""
LATEST = 1e11
"""Seconds since 1970 that no moment has, of which a year has to be printed."""
PRUNED = "pruned.txt"
"""The file in a trial's folder with the reason why a pruner ended it."""


@dataclass
class State:
    """The state of a trial."""

    status: str = "planned"
    """planned, running, finished, pruned, failed or skipped (the sweep's budget was spent)."""
    attempts: int = 0
    reason: str = ""
    """Why it failed or was pruned, in a sentence."""
    values: dict[str, float] = field(default_factory=dict)
    """Its metrics and cost, named as logged."""
    started: float = 0.0
    ended: float = 0.0
    run_id: str | None = None
    """Its MLflow run id, if known when it ended."""


def _state_of(content: dict[str, Any]) -> State:
    """The state that a file holds; planned, so that the trial is run again, where one of its fields is damaged."""
    given = {each.name: content[each.name] for each in fields(State) if each.name in content}
    state = State(**given)
    texts = (state.status, state.reason, "" if state.run_id is None else state.run_id)
    if not isinstance(state.values, dict) or not all(isinstance(each, str) for each in texts):
        return State()
    numbers = (state.attempts, *state.values.values())
    if state.status not in STATUSES or not all(_is_number(each) for each in numbers):
        return State()
    moments = (state.started, state.ended)
    return state if all(_is_number(each) and 0 <= each < LATEST for each in moments) else State()


def _is_number(value: Any) -> bool:
    """Whether it is one that a float holds, or none of a metric, such as NaN."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


class TrialFolder:
    """One trial on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def point(self) -> Point:
        """The values that vary.

        Raises:
            UserError: trial.json is damaged.
        """
        overrides = _read(self.path / "trial.json").get("overrides")
        if not isinstance(overrides, list) or not all(isinstance(each, str) for each in overrides):
            raise UserError(
                f"{self.path / 'trial.json'} is damaged. Remove the folder {self.path}: the trial is then run again."
            )
        return Point(tuple(overrides))

    @property
    def name(self) -> str:
        return self.point.name

    @property
    def owner(self) -> Owner:
        """The process that runs the trial."""
        return Owner(self.path / "owner.json")

    def plan(self, point: Point) -> "TrialFolder":
        """Write a point to disk; it is stored when this returns."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / "trial.json", {"overrides": point.overrides})
        return self

    def state(self) -> State:
        """Read the state; a running trial whose process has crashed counts as `planned`."""
        state = _state_of(_read(self.path / "state.json"))
        if state.status == "running" and not self.owner.is_alive():
            state.status = "planned"
        return state

    def keep(self, state: State) -> None:
        """Replace state.json atomically."""
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
        """The process that conducts the sweep."""
        return Owner(self.path / "owner.json")

    @property
    def conf(self) -> Path:
        """The snapshot of the config files."""
        return self.path / "conf"

    def exists(self) -> bool:
        return (self.path / "sweep.json").is_file()

    def content(self) -> dict[str, Any]:
        """Read sweep.json.

        Raises:
            UserError: it is damaged.
        """
        content = _read(self.path / "sweep.json")
        lost = [name for name, kind in REQUIRED.items() if not isinstance(content.get(name), kind)]
        texts = [name for name, kind in REQUIRED.items() if kind is list and name not in lost]
        lost += [name for name in texts if not all(isinstance(each, str) for each in content[name])]
        if not lost and not 0 <= content["created"] < LATEST:
            lost = ["a time that can be"]
        if not lost and not 0 < len(content["objectives"]) == len(content["directions"]):
            lost = ["a direction of each objective"]
        if lost:
            raise UserError(
                f"{self.path / 'sweep.json'} is damaged: it lacks {', '.join(lost)}. The sweep's runs are not: `lantu "
                "runs` lists them. Under another `sweep.name` the sweep can be started again."
            )
        return content

    def keep(self, content: dict[str, Any]) -> None:
        """Replace sweep.json atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / "sweep.json", {"format": FORMAT, **content})

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.path / "trials" / f"{number:04d}")

    def trials(self) -> list[TrialFolder]:
        """Return the planned trials, in order."""
        found = (self.path / "trials").glob("*/trial.json")
        return sorted((TrialFolder(each.parent) for each in found), key=lambda each: each.number)

    def spent(self) -> dict[str, float]:
        """Return the cost of all trials so far, by the names of a budget: usd, kwh, hours."""
        total = dict.fromkeys(COSTS, 0.0)
        for trial in self.trials():
            values = trial.state().values
            for name, metric in COSTS.items():
                total[name] += values.get(metric, 0.0)
        return total


COSTS = {"usd": "cost/usd", "kwh": "cost/kwh", "hours": "cost/device_hours"}
"""The names of a budget, and the metrics that they limit."""


def sweeps_of(store: Path) -> Path:
    """Return the folder of a store's sweeps."""
    return store / "runs" / "sweeps"


def sweep_folders(store: Path) -> Iterator[SweepFolder]:
    """Yield a store's sweeps, oldest first; of one that is damaged a warning says so."""
    found: list[tuple[float, SweepFolder]] = []
    for path in sweeps_of(store).glob("*/sweep.json"):
        folder = SweepFolder(path.parent)
        try:
            found.append((float(folder.content()["created"]), folder))
        except UserError as error:
            warn_once(str(error))
    yield from (folder for _, folder in sorted(found, key=lambda each: each[0]))


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping; an empty one where it is not there or is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(content, indent=1))
    os.replace(draft, path)
