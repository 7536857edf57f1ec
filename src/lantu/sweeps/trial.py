"""Run one trial in a launcher's worker. Its state is always written to disk; a failure does not stop the sweep."""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from lantu.interrupts import raise_if_asked
from lantu.lazy_imports import import_permanently
from lantu.redaction import redact
from lantu.sweeps.state.failures import failure_message, record_failure
from lantu.sweeps.state.sweep_folder import PRUNED, State, SweepFolder, TrialFolder
from lantu.tracking.owner import place
from lantu.tracking.store import absolute

if TYPE_CHECKING:
    from lantu.training.result import Result

PARENT = "parent.json"
"""The file in a sweep's folder that holds the parent run's identity, for the loggers of its trials."""


@dataclass(frozen=True)
class RunTrial:
    """Hydra's task function in a sweep. It is pickled and sent to workers, so it holds only names."""

    sweep: str
    """The sweep's folder."""
    place: str
    """The machine that conducts the sweep and uploads the records of its trials."""

    def __call__(self, cfg: DictConfig) -> None:
        """Run the trial named in the config, unless it has already ended."""
        raise_if_asked()
        sweep = SweepFolder(Path(self.sweep))
        trial = sweep.trial(int(cfg.sweep.trial))
        state = trial.state()
        if _is_helper_rank():
            if state.status in ("planned", "running"):
                self._train(cfg, sweep, trial)
            return
        if state.status != "planned":
            return
        trial.owner.claim()
        state.attempts += 1
        state.started = time.time()
        if _is_spent(sweep, cfg):
            state.status, state.ended = "skipped", time.time()
            trial.keep(state)
            return
        state.status, state.reason = "running", ""
        trial.keep(state)
        try:
            self._run(cfg, sweep, trial, state)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                state.status = "planned"  # interrupted: it resumes from its checkpoint
                state.attempts -= 1
                raise
            state.status, state.reason = "failed", failure_message(error)
            record_failure(sweep, trial, state.reason, _tracking(cfg))
        finally:
            state.ended = time.time()
            trial.keep(state)

    def _run(self, cfg: DictConfig, sweep: SweepFolder, trial: TrialFolder, state: State) -> None:
        """Train, with all output written to the trial's output.txt."""
        with _printing_to(trial.path / "output.txt"):
            try:
                result = self._train(cfg, sweep, trial)
            except Exception:
                traceback.print_exc()
                raise
        state.values = {**result.metrics, **result.cost}
        state.run_id = result.run_id
        pruned = trial.path / PRUNED
        state.status = "pruned" if pruned.is_file() else "finished"
        state.reason = pruned.read_text() if pruned.is_file() else ""

    def _train(self, cfg: DictConfig, sweep: SweepFolder, trial: TrialFolder) -> "Result":
        training = import_permanently("lantu.training.run")
        from lantu.training.train_command import composition_of

        composition = composition_of(cfg)
        self._prepare(composition.cfg, sweep, trial)
        result: Result = training.run(composition)
        return result

    def _prepare(self, cfg: DictConfig, sweep: SweepFolder, trial: TrialFolder) -> None:
        """Turn a run's config into a trial's: name, parent run, automatic resume, pruning."""
        content = sweep.content()
        with open_dict(cfg):
            cfg.name = cfg.name or trial.name
            cfg.experiment_name = cfg.experiment_name or content["experiment"]
            cfg.tags = {
                **cfg.tags,
                "lantu.sweep": sweep.name,
                "lantu.sweep_id": content["id"],
                "lantu.trial": str(trial.number),
            }
            cfg.resume = cfg.resume or "auto"
            cfg.trainer.enable_progress_bar = False
            for logger in (cfg.get("logger") or {}).values():
                if "ship" in logger:
                    logger.parent = json.loads((sweep.path / PARENT).read_text())
                    # the sweep's own uploader handles all trials of its machine, in one long-lived process
                    logger.ship = logger.ship and self.place != place()
            pruning = _pruning(sweep, trial)
            if pruning:
                cfg.callbacks = {**(cfg.get("callbacks") or {}), "pruning": pruning}


def _is_helper_rank() -> bool:
    """Return whether SLURM started this process as an additional rank; rank 0 keeps the trial's state."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and os.environ.get("SLURM_PROCID", "0") != "0"


def _tracking(cfg: DictConfig) -> dict[str, Any] | None:
    """Return the tracking URI and parent run of a trial; None without MLflow."""
    node = next((each for each in (cfg.get("logger") or {}).values() if each and "ship" in each), None)
    if node is None:
        return None
    parent = OmegaConf.to_container(node.parent) if node.get("parent") else None
    return {"tracking_uri": redact(absolute(node.tracking_uri)) if node.tracking_uri else None, "parent": parent}


def _pruning(sweep: SweepFolder, trial: TrialFolder) -> dict[str, Any] | None:
    """Return the config of the pruning callback; None for a sweep without a pruner."""
    sweeper = HydraConfig.get().sweeper
    pruner = sweeper.get("pruner")
    if not pruner or pruner["_target_"].endswith("NopPruner"):
        return None
    from lantu.sweeps.search.study import journal_of

    return {
        "_target_": "lantu.sweeps.search.pruning.Pruning",
        "storage": sweeper.storage or journal_of(sweep),
        "study_name": sweeper.study_name or sweep.name,
        "number": trial.number,
        "pruner": pruner,
        "monitor": str(sweep.content()["objectives"][0]).removesuffix("_best"),
        "run_dir": str(trial.path),
    }


def _is_spent(sweep: SweepFolder, cfg: DictConfig) -> bool:
    limits = {name: limit for name, limit in cfg.sweep.budget.items() if limit is not None}
    if not limits:
        return False
    spent = sweep.spent()
    return any(spent[str(name)] >= limit for name, limit in limits.items())


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[Any]:
    """Redirect stdout and stderr to a file, including output of C code. The terminal stays free for the sweep."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a", buffering=1) as file:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield file
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
