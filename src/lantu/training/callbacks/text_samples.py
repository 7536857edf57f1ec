"""A callback that shows what a model makes while it trains: at every validation, and at the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.errors import UserError
from lantu.intervals import steps_done
from lantu.loggers import log_artifact, log_figure, log_sound, log_table
from lantu.notices import warn_once


class Samples(Callback):
    """Keeps what `task.samples` gives: texts, pictures, tables and numbers.

    Texts of the validations are rows of the table `samples/validation.json`, which MLflow shows; pictures are
    `samples/NAME_STEP.png`, sounds `samples/NAME_STEP.flac`. At the test a text is `samples/NAME.txt`, a picture
    `samples/NAME.png`, a sound `samples/NAME.flac`, a table
    `tables/NAME.json`, and a number a metric such as `test/distinct_1`. Every rank makes them, since a network may be
    spread over all of them; the first one keeps.
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {"step": [], "val/loss": []}
        self._made: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show training examples as they are changed at random, where the data do that."""
        show = getattr(getattr(trainer, "datamodule", None), "augmented_sample", None)
        if show is not None and trainer.is_global_zero and not trainer.fast_dev_run and (sheet := show()) is not None:
            log_figure(trainer, sheet, "augmented_batch", folder="samples")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or trainer.fast_dev_run:
            return
        made = _made(trainer, pl_module, "val")
        texts = {name: value for name, value in made.items() if isinstance(value, str)}
        if not trainer.is_global_zero or not made:
            return
        step = steps_done(trainer)
        if texts:
            loss = float(trainer.callback_metrics.get("val/loss", float("nan")))
            before = len(self._rows["step"])
            for name in texts:
                self._rows.setdefault(name, [""] * before)
            for name, column in self._rows.items():
                column.append({"step": step, "val/loss": loss}.get(name, texts.get(name, "")))
            log_table(trainer, self._rows, "samples/validation.json")
        for name, value in made.items():
            if hasattr(value, "savefig") or hasattr(value, "save"):
                log_figure(trainer, value, f"{name}_{step}", folder="samples")
            elif hasattr(value, "wave"):
                log_sound(trainer, value, f"{name}_{step}")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        self._made = _made(trainer, pl_module, "test")
        numbers = {name: value for name, value in self._made.items() if isinstance(value, int | float)}
        pl_module.log_dict(numbers, sync_dist=trainer.world_size > 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        made, self._made = self._made, {}
        for name, value in made.items() if trainer.is_global_zero else ():
            if isinstance(value, str):
                path = Path(trainer.default_root_dir) / "samples" / f"{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(value, encoding="utf-8")
                log_artifact(trainer, path, "samples")
            elif hasattr(value, "savefig") or hasattr(value, "save"):
                log_figure(trainer, value, name, folder="samples")
            elif hasattr(value, "wave"):
                log_sound(trainer, value, name)
            elif not isinstance(value, int | float):
                table = value if isinstance(value, Mapping) else value.to_dict("list")
                log_table(trainer, table, f"tables/{name}.json")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": {name: list(column) for name, column in self._rows.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # the best checkpoint, loaded for the test, is older: its rows are the first of those held now
        if len(state_dict["rows"]["step"]) > len(self._rows["step"]):
            self._rows = {name: list(column) for name, column in state_dict["rows"].items()}


def _made(trainer: Trainer, task: Any, stage: str) -> dict[str, Any]:
    """What the task shows; {} if it has no such method, no data module, or data that it cannot show anything of."""
    data = getattr(trainer, "datamodule", None)
    if data is None or not hasattr(task, "samples"):
        return {}
    try:
        return dict(task.samples(data, stage=stage))
    except UserError as error:
        warn_once(f"nothing is shown of the {stage} stage: {error}")
        return {}
    except Exception as error:  # a picture must not end a run that trains
        warn_once(
            f"nothing is shown of the {stage} stage: `{type(task).__name__}.samples` failed with "
            f"{type(error).__name__}: {error}"
        )
        return {}
