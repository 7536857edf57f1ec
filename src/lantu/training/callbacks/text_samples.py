"""A callback that lets a language model write: at every validation, and at the end, where the text is measured."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.data import TokenDataModule
from lantu.tasks import Answering, LanguageModeling
from lantu.tasks.text_sampling import written
from lantu.tracking.logger import RunLogger


class Samples(Callback):
    """Texts that go on from the beginning of a split, always drawn alike, without touching the run's random numbers.

    Those of the validations are rows of the table `samples/validation.json`, which MLflow shows. The test's is
    `samples/sample.txt`, and what is measured of it is logged as `test/distinct_1` and so on (see
    `lantu.tasks.text_quality`); a task that answers questions leaves its answers in `tables/answers_test.json` instead.
    Every rank writes, since a network may be spread over all of them; the first one keeps.
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {"step": [], "val/loss": [], "text": []}
        self._text = ""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = _texts(trainer)
        if data is None or not isinstance(pl_module, LanguageModeling) or trainer.sanity_checking:
            return
        if trainer.state.fn != "fit" or trainer.fast_dev_run:
            return
        _, text = pl_module.sample(data.decode, stage="val")
        if trainer.is_global_zero:
            row = (trainer.global_step, float(trainer.callback_metrics["val/loss"]), text)
            for column, value in zip(self._rows.values(), row, strict=True):
                column.append(value)
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):  # others have a method of the same name and another meaning
                    logger.log_table(self._rows, "samples/validation.json")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = _texts(trainer)
        if data is None or not isinstance(pl_module, LanguageModeling) or trainer.fast_dev_run:
            return
        if not pl_module.goes_on:
            return
        self._text, found = written(pl_module, data)
        pl_module.log_dict(found, sync_dist=trainer.world_size > 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, Answering) and pl_module.answered is not None and trainer.is_global_zero:
            table = pl_module.answered.to_dict("list")
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.log_table(table, "tables/answers_test.json")
        if not self._text or not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "samples" / "sample.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._text, encoding="utf-8")
        for logger in trainer.loggers:
            if hasattr(logger, "log_artifact"):
                logger.log_artifact(path, "samples")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": {name: list(column) for name, column in self._rows.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # the best checkpoint, loaded for the test, is an earlier one: its rows are the first of those at hand
        if len(state_dict["rows"]["step"]) > len(self._rows["step"]):
            self._rows = {name: list(column) for name, column in state_dict["rows"].items()}


def _texts(trainer: Trainer) -> TokenDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, TokenDataModule) else None
