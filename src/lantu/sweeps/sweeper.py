"""Conduct a sweep: plan, launch, retry, compare. The Hydra plugins in `hydra_plugins` only forward to it."""

import shutil
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from lantu.config.checking import check
from lantu.config.composing import Composition
from lantu.config.sweeping import Composer, distinct
from lantu.data.table_header import check_table
from lantu.errors import Fault, UserError, is_full_disk
from lantu.interrupts import interruptible, raise_if_asked
from lantu.redaction import redact
from lantu.sweeps.pools import Work
from lantu.sweeps.rounds import MakeEngine
from lantu.sweeps.search.objectives import directions_of, objectives_of
from lantu.sweeps.state.identity import find_or_name
from lantu.sweeps.state.request import Point, Request, read_request
from lantu.sweeps.state.snapshot import composed, from_snapshot, refuse_difference, settings, take_snapshot
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.sweeps.trial import RunTrial
from lantu.tracking.owner import place


class Conductor:
    """Runs one sweep, from its command line to the comparison of its trials.

    Args:
        kind: grid, search or tune. It is part of a sweep's identity.
        points: returns points that together contain every value, to check before the first trial starts.
        engine: makes the object that runs the trials.
    """

    def __init__(
        self,
        *,
        cfg: DictConfig,
        context: HydraContext,
        kind: str,
        points: Callable[[Request, HydraContext], list[Point]],
        engine: MakeEngine,
    ) -> None:
        self.cfg, self.context, self.kind = cfg, context, kind
        self._points, self._make_engine = points, engine

    @interruptible()
    def conduct(self, arguments: list[str]) -> int:
        """Run the sweep that the overrides describe; return the number of failed trials."""
        request = read_request(arguments, self.context)
        points = self._points(request, self.context)
        loader = self.context.config_loader
        composer = Composer(loader, lambda overrides: composed(loader, [*request.fixed, *overrides]))
        folder, is_new = find_or_name(self.cfg, request, kind=self.kind)
        check_points(composer, points, checked=[] if is_new else [trial.point for trial in folder.trials()])
        if folder.owner.is_alive():
            raise UserError(
                f"the sweep `{folder.name}` is running already; `lantu sweeps {folder.name}` shows it. To run the same "
                f"again beside it, name another: `sweep.name=...`."
            )
        now = settings(composer, request, points)
        if not is_new:
            refuse_difference(folder.name, folder.content()["settings"], now)
        try:
            self._keep(folder, request, arguments, now, is_new=is_new)
            folder.owner.claim()
            return self._run(folder, request)
        except UserError:
            if is_new and not folder.trials():
                shutil.rmtree(folder.path)  # no trial was planned, so remove the empty sweep folder
            raise
        except Exception as error:
            if not is_full_disk(error):
                raise
            raise self._full_disk(folder) from error
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns Ctrl-C into SystemExit
            print(f"\nstopped; `lantu train sweep.resume={folder.name}` goes on from here", file=sys.stderr)
            raise KeyboardInterrupt from stop
        finally:
            folder.owner.release()

    def _full_disk(self, folder: SweepFolder) -> Fault:
        """What to do about a disk that is full; a sweep without trials leaves nothing half-written on it."""
        has_trials = bool(folder.trials())
        if not has_trials:
            shutil.rmtree(folder.path, ignore_errors=True)
        again = (
            f"`lantu train sweep.resume={folder.name}` then resumes it"
            if has_trials
            else "then type the same command again"
        )
        return Fault(f"the disk that holds {folder.path.parent} is full, or your share of it. Make room; {again}.")

    def _keep(
        self, folder: SweepFolder, request: Request, arguments: list[str], now: dict[str, Any], *, is_new: bool
    ) -> None:
        """Write sweep.json and the config snapshot that trials are composed from."""
        content: dict[str, Any] = {"id": uuid.uuid4().hex[:8], "created": time.time()} if is_new else folder.content()
        content = content | {
            "kind": self.kind,
            "digest": request.digest(self.kind),
            "command": [redact(str(each)) for each in [*self.cfg.hydra.overrides.hydra, *arguments]],
            "fixed": [redact(str(each)) for each in request.fixed],
            "keys": request.keys,
            "experiment": self._experiment(folder, request),
            "objectives": objectives_of(self.cfg),
            "directions": directions_of(self.cfg),
            "settings": content.get("settings", {}) | now,
        }
        take_snapshot(self.context, folder.conf)
        folder.keep(content)

    def _experiment(self, folder: SweepFolder, request: Request) -> str:
        """Return the MLflow experiment of all trials: that of a single run, or the sweep's name if the data vary."""
        from lantu.config.naming import experiment_name

        if self.cfg.experiment_name:
            return str(self.cfg.experiment_name)
        if {"data", "experiment"} & set(request.keys):
            return folder.name
        chosen = {str(group): name for group, name in self.cfg.hydra.runtime.choices.items()}
        return experiment_name(Composition(self.cfg, chosen, list(request.fixed)))

    def _run(self, folder: SweepFolder, request: Request) -> int:
        from lantu.sweeps.finish import finish
        from lantu.sweeps.parent import ParentRun
        from lantu.sweeps.progress import Progress

        context = from_snapshot(self.context, folder.conf)
        with open_dict(self.cfg):
            self.cfg.sweep.name = folder.name
        work = Work.of(context, self.cfg, RunTrial(str(folder.path.absolute()), place()))
        started = time.time()
        with closing(self._make_engine(request, folder, work)) as engine, ParentRun(folder, self.cfg) as parent:
            with Progress(folder, planned=engine.planned()) as progress:
                for planned in engine.until_all_have_ended():
                    raise_if_asked()
                    progress.planned = planned
            return finish(folder, self.cfg, parent, started=started)


def check_points(composer: Composer, points: list[Point], *, checked: Sequence[Point] = ()) -> None:
    """Check the config of every point, and the columns that it names, before the first trial starts.

    Args:
        checked: points of an earlier start of the sweep, whose values need no further check.

    Raises:
        UserError: names the point whose config is invalid, and why.
    """
    before = [point.overrides for point in checked]
    for point in map(Point, distinct([point.overrides for point in points], composer.chooses, after=before)):
        try:
            composed = composer(point.overrides)
            check(composed)
            check_table(composed.cfg)
        except UserError as error:
            where = f"the trial `{point.name}`: " if point.overrides else ""
            raise UserError(f"{where}{error}") from error
