"""Where every rank of a run is, for the sentence when one has waited for another in vain.

That it waited too long, torch itself notices: a collective ends with an error after `trainer.strategy.timeout`. Who was
late, and with what, it does not say. So each rank notes what it begins in a small mapped file, which costs microseconds
a step, and which can be read when its process is stopped, stuck or gone. Ranks that are all slow, as in a long
validation or a compilation, wait for nobody and are left alone.
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
"""In the run's folder: a file for each rank."""
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
_FORM = struct.Struct("<qqqdq64s")  # process, events so far, step, time of the last one, its number in DOING, host
_STATES = {"T": "which is stopped (`kill -CONT` lets it go on)", "t": "which a debugger holds", "Z": "which is gone"}
_SHOWN = 8


@dataclass(frozen=True)
class Place:
    """Where a rank was when it last began something."""

    rank: int
    process: int
    events: int
    """How many it had begun: who has begun less is behind."""
    step: int
    since: float
    doing: str
    host: str

    @property
    def where(self) -> str:
        return f"at step {self.step}, {self.doing}"


class Standing(Callback):
    """Notes what this rank begins.

    Args:
        folder: the run's.
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
            with suppress(OSError), place.open("w+b") as file:  # a full disk: training can do without
                file.write(bytes(_FORM.size))  # so that the disk has room for what is mapped
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
        """A sentence for when this rank has waited in vain."""
        return who_is_late(self._run, ranks=trainer.world_size, begun=self._begun)

    def _note(self, trainer: Trainer, doing: str) -> None:
        if self._map is not None:
            self._events += 1
            what = (os.getpid(), self._events, trainer.global_step, time.time(), DOING.index(doing), self._host)
            _FORM.pack_into(self._map, 0, *what)


def places(folder: Path) -> list[Place]:
    """What the ranks of a run have noted in its folder."""
    found = []
    for file in (folder / FOLDER).glob("[0-9]*"):
        noted = file.read_bytes()
        if len(noted) == _FORM.size:
            process, events, step, since, doing, host = _FORM.unpack(noted)
            found.append(Place(int(file.name), process, events, step, since, DOING[doing], host.rstrip(b"\0").decode()))
    return found


def who_is_late(folder: Path, *, ranks: int, begun: float) -> str:
    """A sentence: for which ranks the others have waited, where those are, and what became of their processes.

    Args:
        folder: the run's.
        ranks: how many there are.
        begun: when this start of the run began, in seconds since 1970: what is noted from before is not of it.
    """
    found = sorted((place for place in places(folder) if place.since >= begun), key=lambda place: place.events)
    there = {place.rank for place in found}
    absent = [str(rank) for rank in range(ranks) if rank not in there]
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        return f"rank {', '.join(absent[:_SHOWN])}{more} of {ranks} has not begun, and the others have waited in vain."
    behind = [place for place in found if place.events < found[-1].events and place.events == found[0].events]
    late = [place for place in found if _trouble(place)] or behind
    if late:
        others = [place for place in found if place not in late]
        waited = f" The furthest of the others is {others[-1].where}." if others else ""
        return f"the ranks have waited in vain for {_listed(late)}.{waited}"
    return f"the ranks have waited in vain for each other: {_listed(found)}."


def _listed(places: list[Place]) -> str:
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(_described(place) for place in places[:_SHOWN]) + more


def _described(place: Place) -> str:
    where = "" if place.host == socket.gethostname() else f" on {place.host}"
    trouble = _trouble(place)
    since = f"since {units.format_duration(time.time() - place.since)} {place.where}"
    return f"rank {place.rank} (process {place.process}{where}), {trouble + ', ' if trouble else ''}{since}"


def _trouble(place: Place) -> str | None:
    """What is wrong with a rank's process, where that can be seen."""
    if place.host != socket.gethostname() or not Path("/proc/self/stat").is_file():
        return None
    try:
        state = Path(f"/proc/{place.process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "which is gone"
    return _STATES.get(state)
