"""A callback that draws a run's pictures, on disk and in the trackers."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lantu.intervals import log_interval
from lantu.tasks import Task


class Figures(Callback):
    """Learning curves after fitting, and after the test what fits the task.

    Pictures are written to `figures/` in the run's folder and handed to every logger that keeps artifacts.
    """

    def __init__(self) -> None:
        self._train: list[tuple[int, Tensor]] = []
        self._val: list[tuple[int, float]] = []
        self._output: list[Tensor] = []
        self._y: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % log_interval(trainer) == 0 and "train/loss" in trainer.callback_metrics:
            # kept as a tensor: reading its value now would make the host wait for the device
            self._train.append((trainer.global_step, trainer.callback_metrics["train/loss"].detach()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and "val/loss" in trainer.callback_metrics:
            self._val.append((trainer.global_step, float(trainer.callback_metrics["val/loss"])))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._train or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        from lantu.training.callbacks.plots import learning_curve

        points = [(step, float(loss)) for step, loss in self._train]
        self._keep(trainer, {"learning_curve": learning_curve({"train/loss": points, "val/loss": self._val})})
        self._show_languages(trainer, pl_module, "val")

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if outputs is not None:
            self._output.append(outputs["output"].cpu())
            self._y.append(outputs["y"].cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        output, y = _of_all_ranks(self._output), _of_all_ranks(self._y)
        if trainer.is_global_zero and isinstance(pl_module, Task) and not trainer.fast_dev_run and output:
            from lantu.training.callbacks.plots import outcome

            self._keep(trainer, outcome(pl_module, torch.cat(output), torch.cat(y)))
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self._show_languages(trainer, pl_module, "test")
        self._output, self._y = [], []

    def _keep(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        folder = _folder(trainer)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
            _hand_over(trainer, folder / f"{name}.png")

    def _show_languages(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        table = getattr(task, "tables", {}).get(stage)
        if not table:
            return
        from lantu.training.callbacks.plots import by_language

        self._keep(trainer, {f"languages_{stage}": by_language(table)})
        for logger in trainer.loggers:
            if hasattr(logger, "log_table"):
                logger.log_table(table, f"tables/languages_{stage}.json")


def _of_all_ranks(batches: list[Tensor]) -> list[Tensor]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    gathered: list[list[Tensor]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for rank in gathered for batch in rank]


def _folder(trainer: Trainer) -> Path:
    folder = Path(trainer.default_root_dir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hand_over(trainer: Trainer, path: Path) -> None:
    for logger in trainer.loggers:
        if hasattr(logger, "log_artifact"):
            logger.log_artifact(path, "figures")
