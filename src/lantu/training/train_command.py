"""The `train` command's work: from Hydra's config to a run, and its result on the terminal."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lantu.config.composing import Composition
from lantu.errors import UserError
from lantu.training.faults import failure_message
from lantu.training.run import run
from lantu.training.summary import show


def job(cfg: DictConfig) -> float | None:
    """Train as Hydra composed it; returns the best validation loss, which a search minimises."""
    try:
        result = run(composition_of(cfg))
    except UserError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        print(f"lantu train: {error}", file=sys.stderr)
        sys.exit(error.status)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes a SystemExit of Ctrl-C
            raise _stopped(Path(cfg.paths.run)) from stop
        raise
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"lantu train: {failure_message(error, Path(cfg.paths.run))}", file=sys.stderr)
        sys.exit(1)
    finally:
        _remove_unused(Path(HydraConfig.get().runtime.output_dir), cfg)
    show(result)
    return result.metrics.get("val/loss_best", result.metrics.get("val/loss"))


def _remove_unused(folder: Path, cfg: DictConfig) -> None:
    """Remove Hydra's folder if it is empty: the run was refused, or resumes in another one."""
    log = folder / f"{HydraConfig.get().job.name}.log"
    of_a_trial = HydraConfig.get().mode == RunMode.MULTIRUN and folder.resolve() == Path(cfg.paths.run).resolve()
    if of_a_trial or not log.is_file() or list(folder.iterdir()) != [log] or log.stat().st_size:
        return
    log.unlink()
    folder.rmdir()
    store = Path(cfg.paths.store).resolve()
    if folder.parent.parent.resolve() == store / "runs":
        with suppress(OSError):  # it holds other runs
            for empty in (folder.parent, store / "runs", *[store] * (store.name == "mlruns")):
                empty.rmdir()


def _stopped(run_dir: Path) -> KeyboardInterrupt:
    """Print how to continue."""
    checkpoints = list((run_dir / "checkpoints").glob("*.ckpt"))
    how = (
        f"the same command with `resume={run_dir}` goes on from its newest checkpoint"
        if checkpoints
        else "there is no checkpoint yet to go on from"
    )
    print(f"\nstopped; {how}", file=sys.stderr)
    return KeyboardInterrupt()


def composition_of(cfg: DictConfig) -> Composition:
    """A config that Hydra composed, with the choices and overrides that Hydra keeps apart from it."""
    hydra = HydraConfig.get()
    choices = OmegaConf.to_container(hydra.runtime.choices)
    assert isinstance(choices, dict)
    with open_dict(cfg):
        cfg.paths.run = hydra.runtime.output_dir
    return Composition(
        cfg=cfg,
        choices={str(group): file for group, file in choices.items() if not str(group).startswith("hydra/")},
        overrides=list(hydra.overrides.task),
    )
