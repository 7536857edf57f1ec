"""A callback that explains a few test examples and measures the explanations."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lantu.errors import UserError
from lantu.intervals import steps_done
from lantu.loggers import log_artifact, log_metrics
from lantu.notices import warn_once
from lantu.responsible.explain.interpretable_inputs import explained, require_libraries
from lantu.tasks import Task

FOLDER = "explanations"


class Explanations(Callback):
    """Explain test examples of the best checkpoint: `explanations/index.html` in the run's folder and its artifacts.

    Args:
        examples: how many, the first of the test split.
        methods: by name; None: all that fit.
        sanity: whether attributions are compared with those of random weights.
    """

    def __init__(self, *, examples: int = 16, methods: list[str] | None = None, sanity: bool = True) -> None:
        if examples < 2:
            raise UserError(f"`callbacks.explanations.examples={examples}`: at least 2, to tell how sure a mean is.")
        require_libraries("callbacks=[default,explanations]")
        self.examples, self.methods, self.sanity = examples, methods, sanity
        self._kept: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        missing = self.examples - sum(map(len, self._kept))
        if missing > 0 and trainer.is_global_zero and isinstance(batch[0], Tensor):
            self._kept.append(batch[0][:missing].detach().cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._kept or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        try:
            self._explain(trainer, pl_module)
        except Exception as error:  # a picture must not end a run that has trained
            warn_once(f"the explanations were left out: {type(error).__name__}: {error}")

    def _explain(self, trainer: Trainer, task: LightningModule) -> None:
        from torch.nn.functional import pad

        from lantu.responsible.explain import explanation_report

        assert isinstance(task, Task)
        device = task.device
        longest = max(each.shape[-1] for each in self._kept)
        data: Any = trainer.datamodule
        if self._kept[0].ndim == 2:  # texts, whose batches are padded to different lengths
            blank = data.spec.get("pad_id", 0)
            self._kept = [pad(each, (0, longest - each.shape[1]), value=blank) for each in self._kept]
        try:
            with torch.inference_mode(False), torch.enable_grad():
                examples = explained(task.cpu().eval(), data, torch.cat(self._kept).clone())
                found = explanation_report.explain(examples, self.methods, sanity=self.sanity)
        finally:
            task.to(device)
        folder = Path(trainer.default_root_dir) / FOLDER
        explanation_report.write(folder, examples, found, title="Why the model answers so")
        log_artifact(trainer, folder)
        log_metrics(trainer, explanation_report.metrics(found), step=steps_done(trainer))
        for each in found:
            for sentence in each.faithful.warnings:
                warn_once(f"explanations: {each.method} {sentence}.")
