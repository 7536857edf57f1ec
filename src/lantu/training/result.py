"""The result of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule

from lantu.config.build import build
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.training.build_task import build_task


@dataclass(frozen=True)
class Result:
    """The result of a run, for use in Python."""

    metrics: dict[str, float]
    run_id: str | None
    """The MLflow run id; None without a logger, or until the run has been uploaded."""
    run_dir: Path
    best_checkpoint: Path | None
    cost: dict[str, float]
    """The cost by the name of the metric, such as `cost/usd`; empty without the cost callback."""
    energy_source: str
    """Whether the energy was measured or estimated."""
    answers: bool
    """Whether the model can be applied to new data; a masked language model must be fine-tuned first."""
    usage: list[tuple[str, str]]
    """Commands for the trained model, as pairs of the command and its purpose."""
    cfg: DictConfig
    trained: Callable[[], tuple[LightningModule, DataModule]]
    """Returns `module` and `data`; reads them from disk if other processes trained."""

    @cached_property
    def _both(self) -> tuple[LightningModule, DataModule]:
        return self.trained()

    @property
    def module(self) -> LightningModule:
        """The trained task, with the weights of the best checkpoint; its network is `module.net`."""
        return self._both[0]

    @property
    def data(self) -> DataModule:
        """The data module that it was trained on."""
        return self._both[1]

    def report(self) -> dict[str, Any]:
        """The result as values for JSON, to be sent to another process; `from_report` reads them."""
        names = ("metrics", "run_id", "run_dir", "best_checkpoint", "cost", "energy_source", "answers", "usage")
        return {name: getattr(self, name) for name in names} | {"cfg": OmegaConf.to_container(self.cfg, resolve=False)}

    @classmethod
    def from_report(cls, report: dict[str, Any]) -> "Result":
        """A result from another process. The checkpoint is read on the first access to `module` or `data`."""
        cfg = OmegaConf.create(report.pop("cfg"))
        best = Path(report["best_checkpoint"]) if report["best_checkpoint"] else None
        found = {"run_dir": Path(report["run_dir"]), "best_checkpoint": best, "cfg": cfg}
        return cls(**{**report, **found}, trained=lambda: _read(cfg, best))


def _read(cfg: DictConfig, best: Path | None) -> tuple[LightningModule, DataModule]:
    """Return the task with the weights of a checkpoint, and its data, of a run that other processes trained."""
    from lantu.checkpoints.load import load

    if best is None or not best.is_file():
        raise UserError("the ranks that trained this model have ended and left no checkpoint file to read it from.")
    data = build(cfg.data)
    data.prepare_data()
    data.setup("fit")
    task = build_task(cfg)
    task.load_state_dict(load(best)["state_dict"])
    return task, data
