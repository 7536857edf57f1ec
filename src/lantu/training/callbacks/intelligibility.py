"""Whether generated speech is understood: a trained recogniser writes it down, beside the real recordings."""

from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.errors import UserError
from lantu.loggers import log_table

NEEDS = "callbacks.intelligibility.recogniser=RUN"


class Intelligibility(Callback):
    """Test texts are spoken by the model under test and written down by another one.

    Logged are `test/intelligibility_cer` and `_wer`, the character and word error rates of what was recognised in
    generated speech, and `test/recording_cer` and `_wer`, those in the real recordings of the same texts: no model
    can be told to be better than its recogniser. `tables/intelligibility.json` has the texts.

    Args:
        recogniser: a run of task=speech_recognition, as `lantu predict run=...` takes it.
        store: folder with local runs.
        texts: of the test split, at even distances.
        temperature: that speech is drawn with.
    """

    def __init__(
        self, *, recogniser: str | None, store: str = "mlruns", texts: int = 20, temperature: float = 0.6
    ) -> None:
        if recogniser is None:
            raise UserError(f"`callbacks=intelligibility` needs a run that recognises speech: `{NEEDS}`.")
        if texts < 1:
            raise UserError(f"`callbacks.intelligibility.texts={texts}`: 1 or more.")
        self.recogniser, self.store, self.texts, self.temperature = recogniser, store, texts, temperature
        self._model: Any = None
        self.table: dict[str, list[str]] = {}
        """What was to be said, and what was recognised."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the recogniser, so that a wrong one is known before training."""
        if self._model is not None:
            return
        import os

        from lantu.inference.rebuild import rebuild
        from lantu.tracking.find import find_checkpoint

        if not getattr(pl_module, "speaks", False) or getattr(pl_module.net, "condition", None) != "characters":
            raise UserError(
                "`callbacks=intelligibility` measures models that speak text: model=wavenet with "
                "`model.condition=characters`."
            )
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._model = rebuild(find_checkpoint(self.recogniser, store=Path(self.store), tracking_uri=uri))
        if not self._model.task.transcribes:
            raise UserError(f"`{NEEDS.removesuffix('RUN')}{self.recogniser}`: this run does not recognise speech.")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        from lantu.tasks.speech_synthesis import decoded

        data: Any = getattr(trainer, "datamodule", None)
        if trainer.fast_dev_run or data is None or "test" not in data.splits:
            return
        recordings = data.splits["test"].recordings
        places = np.unique(np.linspace(0, len(recordings) - 1, min(self.texts, len(recordings))).round().astype(int))
        chosen = [recordings[place] for place in places]
        task: Any = pl_module
        spoken = [
            task.synthesize(
                data, [each.text], speaker=task.speakers[each.speaker], temperature=self.temperature, seed=number
            )[0]
            for number, each in enumerate(chosen)
        ]
        real = [decoded(each.codes) for each in chosen]
        transcripts = [self._written_down(waves, task.sample_rate) for waves in (spoken, real)]
        references = [self._model.data.written(each.text) for each in chosen]
        self.table = {"text": references, "heard_in_generated": transcripts[0], "heard_in_recording": transcripts[1]}
        found: dict[str, float] = {}
        for name, texts in zip(("intelligibility", "recording"), transcripts, strict=True):
            found |= {f"test/{name}_{kind}": value for kind, value in _error_rates(texts, references).items()}
        pl_module.log_dict(found, sync_dist=trainer.world_size > 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.table:
            log_table(trainer, self.table, "tables/intelligibility.json")

    def _written_down(self, waves: list[np.ndarray], rate: int) -> list[str]:
        """What the recogniser makes of waveforms (samples,)."""
        from lantu.tasks.speech_synthesis import as_wav

        files = [as_wav(wave, rate) for wave in waves]
        return [str(text) for text in self._model.task.respond(self._model.data, files)["text"]]


def _error_rates(hypotheses: list[str], references: list[str]) -> dict[str, float]:
    from torchmetrics.functional.text import char_error_rate, word_error_rate

    rates = {"cer": char_error_rate, "wer": word_error_rate}
    return {name: float(rate(hypotheses, references)) for name, rate in rates.items()}
