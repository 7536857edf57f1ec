"""Load a model that `write_model` wrote, and predict for requests."""

from pathlib import Path
from typing import Any

import pandas as pd

from lantu.inference.rebuild import Rebuilt, rebuild


class Model:
    """Predicts for a table of inputs, an array of images, prompts, or whatever the data module takes."""

    def __init__(self, rebuilt: Rebuilt) -> None:
        self.rebuilt = rebuilt

    def predict(self, inputs: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of predictions for each input.

        Args:
            inputs: a data frame with the training columns; images as bytes (N, height, width, channels); or a data
                frame with a column `prompt`.
            params: for text: tokens, temperature, top_k, top_p.
        """
        return self.rebuilt.task.respond(self.rebuilt.data, inputs, params)


def _load_pyfunc(path: str) -> Model:
    """MLflow's entry point."""
    return Model(rebuild(Path(path)))
