"""Load a model that `write_model` wrote, and answer requests with it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lantu.data.batches import loader
from lantu.inference.predictions import as_columns
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.tasks import LanguageModeling


class Model:
    """Answers a table of inputs, an array of images, or prompts."""

    def __init__(self, rebuilt: Rebuilt) -> None:
        self.rebuilt = rebuilt

    def predict(self, inputs: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of answers for each input.

        Args:
            inputs: a data frame with the training columns; images as bytes (N, height, width, channels); or a data
                frame with a column `prompt`.
            params: for text: tokens, temperature, top_k, top_p.
        """
        data, task = self.rebuilt.data, self.rebuilt.task
        if isinstance(task, LanguageModeling):
            options = {"stop": data.stops, **(params or {})}
            prompts = [data.prompt(each) for each in inputs["prompt"]]
            texts = task.write_all(data.encode, data.decode, prompts=prompts, **options)
            return pd.DataFrame({"text": texts})
        batches = loader(data.examples_of(inputs), batch_size=data.batch_size, workers=0)
        with torch.inference_mode():
            answers = [task.predict_step(batch, number) for number, batch in enumerate(batches)]
            return as_columns(task, answers, batches.dataset)


def _load_pyfunc(path: str) -> Model:
    """MLflow's entry point."""
    return Model(rebuild(Path(path)))
