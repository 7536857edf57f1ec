"""The model that a server answers with, and its replacement while it serves."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.serving.http.served import ServedModel
from lantu.serving.http.watching import Watch
from lantu.tracking.find import find_checkpoint, find_registered
from lantu.tracking.registered import REGISTERED, RegisteredVersion

Load = Callable[[], ServedModel]


class Source:
    """Where a server's model is from.

    Args:
        run: as `run=...` names it.
        store, tracking_uri: as in `find_checkpoint`.
    """

    def __init__(self, run: str, *, store: Path, tracking_uri: str | None) -> None:
        self.run = run
        self.store = store
        self.tracking_uri = tracking_uri

    def version(self) -> str | None:
        """What is registered under the name and alias now; None where the run is named otherwise."""
        found = self._registered()
        return found.version if found else None

    def load(self) -> ServedModel:
        """Read the model.

        Raises:
            UserError: there is none, or it answers nothing.
        """
        found = self._registered()
        checkpoint = find_checkpoint(
            f"{REGISTERED}{found.name}/{found.version}" if found else self.run,
            store=self.store, tracking_uri=self.tracking_uri,
        )  # fmt: skip
        rebuilt = rebuild(checkpoint)
        if not rebuilt.task.answers:
            raise UserError("this run's model predicts hidden tokens and answers nothing by itself: fine-tune it.")
        name = found.name if found else str(rebuilt.cfg.get("name") or "model")
        return ServedModel(rebuilt, name=name, version=found.version if found else checkpoint.parent.parent.name)

    def _registered(self) -> RegisteredVersion | None:
        if not self.run.startswith(REGISTERED):
            return None
        return find_registered(self.run, store=self.store, tracking_uri=self.tracking_uri)


class Holder:
    """The current model. Requests that have begun are answered by the one that they began with."""

    def __init__(self, source: Source, model: ServedModel, watch: Watch) -> None:
        self.source = source
        self.model = model
        self.watch = watch
        watch.serving(model.name, model.version)
        self._turn = asyncio.Lock()

    def current(self) -> ServedModel:
        """The model to answer with."""
        return self.model

    async def reload(self, *, force: bool = False) -> bool:
        """Load what is registered now, if it is another version; the old model answers until the new one can.

        A model that cannot be loaded changes nothing: the old one goes on, and the log says why.

        Returns:
            Whether another model answers now.
        """
        async with self._turn:
            try:
                version = await asyncio.to_thread(self.source.version)
                if not force and (version is None or version == self.model.version):
                    return False
                model: ServedModel = await asyncio.to_thread(self.source.load)
            except Exception as error:
                self.watch.reloads.labels("failed").inc()
                self.watch.say("reload failed", reason=str(error)[:300])
                return False
            before, self.model = self.model.version, model
            self.watch.serving(model.name, model.version)
            self.watch.reloads.labels("done").inc()
            self.watch.say("reloaded", was=before, model=model.version)
            return True

    async def follow(self, every: float) -> None:
        """Look for a promotion every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(every)
            await self.reload()


def described(model: ServedModel) -> dict[str, Any]:
    """A model for clients."""
    return {"name": model.name, "version": model.version, "inputs": model.schema()}
