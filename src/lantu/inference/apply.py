"""Apply a run's model to a file or folder of new inputs."""

from pathlib import Path

import pandas as pd
from pytorch_lightning import Trainer

from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt
from lantu.tasks.outputs import Outputs, join, to_host


def predict(rebuilt: Rebuilt, trainer: Trainer, path: Path) -> pd.DataFrame:
    """The rows of a file or folder, in order, with the model's answers beside them.

    A column of the file that is called as an answer keeps its name; the answer's then ends in `_of_model`.
    """
    return predicted(rebuilt, trainer, path)[0]


def predicted(rebuilt: Rebuilt, trainer: Trainer, path: Path) -> tuple[pd.DataFrame, Outputs]:
    """As `predict`, and what the task predicted before it became columns: boxes, masks, waveforms."""
    loader, rows = rebuilt.data.predict_rows(path)
    batches = trainer.predict(rebuilt.task, dataloaders=loader)
    if not batches:
        raise UserError(f"`input={path}`: there is nothing in it to predict for.")
    outputs = join([to_host(batch) for batch in batches])
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame({"input": rows})
    columns = rebuilt.task.to_frame(outputs, loader.dataset)
    # the rows' index is the number of their example; a row that could not be read has none, and gets no answer
    return frame.join(columns, rsuffix="_of_model").reset_index(drop=True), outputs
