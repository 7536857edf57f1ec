"""Record where each rank of a run is, to report which one is late when a collective times out.

torch detects the timeout: a collective raises after `trainer.strategy.timeout`. It does not say which rank was late, or
at what. So each rank writes each phase that it begins to a small memory-mapped file. That costs microseconds per step,
and the file can be read when the process is stopped, hangs or has crashed. Ranks that are merely slow together, as in a
long validation or a compilation, cause no timeout.
"""

import mmap
import os
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu import units

FOLDER = "ranks"
"""The folder in a run's folder with a file for each rank."""
DOING = (
    "preparing",
    "waiting for a batch of data",
    "computing a training step",
    "in the backward pass",
    "updating the weights",
    "validating",
    "testing",
    "writing a checkpoint",
    "ending",
)
_FORM = struct.Struct("<qqqdq64s")  # process id, event count, step, time of the event, index in DOING, host
_STATES = {"T": "which is stopped (`kill -CONT` lets it go on)", "t": "which a debugger holds", "Z": "which is gone"}
_SHOWN = 8


@dataclass(frozen=True)
class Place:
    """The last event of a rank."""

    rank: int
    process: int
    events: int
    """The number of events so far; the rank with the fewest is behind."""
    step: int
    since: float
    doing: str
    host: str

    @property
    def where(self) -> str:
        return f"at step {self.step}, {self.doing}"


class RankProgress(Callback):
    """Record the phases that this rank begins.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._begun = time.time()
        self._run = folder
        self._events = 0
        self._map: mmap.mmap | None = None
        self._host = socket.gethostname().encode()[:64]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._map is None and trainer.world_size > 1:
            place = self._run / FOLDER / str(trainer.global_rank)
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError), place.open("w+b") as file:  # a full disk: training works without
                file.write(bytes(_FORM.size))  # allocates disk space for the mapping
                file.flush()
                self._map = mmap.mmap(file.fileno(), _FORM.size)
        self._note(trainer, "preparing")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "computing a training step")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "in the backward pass")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "updating the weights")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "waiting for a batch of data")

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "validating")

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "testing")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note(trainer, "writing a checkpoint")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "ending")

    def who_is_late(self, trainer: Trainer) -> str:
        """Describe which ranks are late, after this rank has timed out."""
        return who_is_late(self._run, ranks=trainer.world_size, begun=self._begun)

    def _note(self, trainer: Trainer, doing: str) -> None:
        if self._map is not None:
            self._events += 1
            what = (os.getpid(), self._events, trainer.global_step, time.time(), DOING.index(doing), self._host)
            _FORM.pack_into(self._map, 0, *what)


def places(folder: Path) -> list[Place]:
    """Read the last event of every rank from a run's folder."""
    found = []
    for file in (folder / FOLDER).glob("[0-9]*"):
        noted = file.read_bytes()
        if len(noted) == _FORM.size:
            process, events, step, since, doing, host = _FORM.unpack(noted)
            found.append(Place(int(file.name), process, events, step, since, DOING[doing], host.rstrip(b"\0").decode()))
    return found


def who_is_late(folder: Path, *, ranks: int, begun: float) -> str:
    """Describe the late ranks: where they are, and the state of their processes.

    Args:
        folder: the run's folder.
        ranks: the number of ranks.
        begun: when this start of the run began, in seconds since 1970; older events are ignored.
    """
    found = sorted((place for place in places(folder) if place.since >= begun), key=lambda place: place.events)
    there = {place.rank for place in found}
    absent = [str(rank) for rank in range(ranks) if rank not in there]
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        return (
            f"rank {', '.join(absent[:_SHOWN])}{more} of {ranks} has not started; the others timed out waiting for it."
        )
    behind = [place for place in found if place.events < found[-1].events and place.events == found[0].events]
    late = [place for place in found if _trouble(place)] or behind
    if late:
        others = [place for place in found if place not in late]
        waited = f" The furthest of the others is {others[-1].where}." if others else ""
        return f"the ranks timed out waiting for {_listed(late)}.{waited}"
    return f"the ranks timed out waiting for each other: {_listed(found)}."


def _listed(places: list[Place]) -> str:
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(_described(place) for place in places[:_SHOWN]) + more


def _described(place: Place) -> str:
    where = "" if place.host == socket.gethostname() else f" on {place.host}"
    trouble = _trouble(place)
    since = f"since {units.format_duration(time.time() - place.since)} {place.where}"
    return f"rank {place.rank} (process {place.process}{where}), {trouble + ', ' if trouble else ''}{since}"


def _trouble(place: Place) -> str | None:
    """Describe what is wrong with a rank's process, if that can be seen from here."""
    if place.host != socket.gethostname() or not Path("/proc/self/stat").is_file():
        return None
    try:
        state = Path(f"/proc/{place.process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "which is gone"
    return _STATES.get(state)
