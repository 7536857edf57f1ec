"""A model's answers as columns of a table."""

import pandas as pd
import torch

from lantu.tasks import Classification, Regression, Task


def as_columns(task: Task, answers: list[dict[str, torch.Tensor]]) -> pd.DataFrame:
    """Batches of `predict_step` answers as one table.

    Classification gives `prediction` (the class's name) and `probability` (of that class); regression `prediction`, or
    `prediction_NAME` for each of several targets, in the target's own units.
    """
    joined = {key: torch.cat([answer[key] for answer in answers]).cpu() for key in answers[0]}
    if isinstance(task, Classification):
        names = [task.class_names[number] for number in joined["class"].tolist()]
        return pd.DataFrame({"prediction": names, "probability": joined["probability"].amax(dim=-1).double().numpy()})
    assert isinstance(task, Regression)
    several = len(task.target_names) > 1
    labels = [f"prediction_{name}" if several else "prediction" for name in task.target_names]
    return pd.DataFrame(joined["prediction"].double().numpy(), columns=labels)
