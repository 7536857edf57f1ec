"""A callback that draws a run's figures, on disk and in the trackers."""

from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_figure, log_table
from lantu.notices import warn_once
from lantu.tasks.outputs import Collector


class Figures(Callback):
    """Draw the learning curve after fitting, and the figures of `task.figures` for the last validation and the test.

    A run that recorded each loss once has no learning curve: a single point shows nothing that the metrics do not.
    Figures are written to `figures/` in the run's folder and passed to every logger that keeps artifacts, tables as
    `tables/NAME.json`. A figure that cannot be drawn is left out with a warning.
    """

    def __init__(self) -> None:
        self._train: list[tuple[int, Tensor]] = []
        self._val: list[tuple[int, float]] = []
        self._outputs = {"val": Collector(), "test": Collector()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if steps_done(trainer) % log_interval(trainer) == 0 and "train/loss" in trainer.callback_metrics:
            # kept as a tensor: reading its value now would make the host wait for the device
            self._train.append((steps_done(trainer), trainer.callback_metrics["train/loss"].detach()))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._outputs["val"].clear()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._collect(pl_module, "val", outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and "val/loss" in trainer.callback_metrics:
            self._val.append((steps_done(trainer), float(trainer.callback_metrics["val/loss"])))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        has_line = max(len(self._train), len(self._val)) > 1
        if self._train and has_line and trainer.is_global_zero and not trainer.fast_dev_run:
            from lantu.tasks.plots import learning_curve

            points = [(step, float(loss)) for step, loss in self._train]
            log_figure(trainer, learning_curve({"train/loss": points, "val/loss": self._val}), "learning_curve")
        if self._train:
            self._draw(trainer, pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._outputs["test"].clear()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._collect(pl_module, "test", outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def _collect(self, task: LightningModule, stage: str, outputs: Any) -> None:
        if outputs is not None and stage in getattr(task, "figure_stages", ()):
            self._outputs[stage].add(outputs)

    def _draw(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        """Draw and log a stage's figures; all ranks must call it, since each has a part of the outputs."""
        if stage not in getattr(task, "figure_stages", ()):
            return
        collected = self._outputs[stage]
        outputs, left_out = collected.joined(), collected.left_out
        collected.clear()
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        if left_out:
            warn_once(
                f"the figures of the {stage} stage leave out {left_out:,} examples: outputs beyond "
                f"{collected.limit / 2**30:.0f} GiB are not kept."
            )
        for name, figure in _drawable(task, stage, outputs):
            if hasattr(figure, "savefig") or hasattr(figure, "save"):
                log_figure(trainer, figure, name if stage == "test" or stage in name else f"{name}_{stage}")
            else:
                table = figure if isinstance(figure, Mapping) else figure.to_dict("list")
                log_table(trainer, table, f"tables/{name}.json")


def _drawable(task: Any, stage: str, outputs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the task's figures up to the first one that cannot be drawn, which must not end a trained run."""
    try:
        yield from task.figures(stage, outputs)
    except Exception as error:
        warn_once(
            f"a figure of the {stage} stage was left out: `{type(task).__name__}.figures` failed with "
            f"{type(error).__name__}: {error}"
        )
