"""A model's answers as columns of a table."""

from typing import Any

import pandas as pd
import torch

from lantu.tasks import Classification, QuestionAnswering, Regression, Task
from lantu.tasks.question_answering import answers_of


def as_columns(task: Task, answers: list[dict[str, torch.Tensor]], examples: Any) -> pd.DataFrame:
    """Batches of `predict_step` answers as one table.

    Classification gives `prediction` (the class's name) and `probability` (of that class); regression `prediction`, or
    `prediction_NAME` for each of several targets, in the target's own units; question answering
    the answer's text as `prediction`, and its `probability`.

    Args:
        examples: the data set that the batches are of.
    """
    joined = {key: torch.cat([answer[key] for answer in answers]).cpu() for key in answers[0]}
    if isinstance(task, Classification):
        names = [task.class_names[number] for number in joined["class"].tolist()]
        return pd.DataFrame({"prediction": names, "probability": joined["probability"].amax(dim=-1).double().numpy()})
    if isinstance(task, QuestionAnswering):
        found = [(text, probability) for _, text, probability in answers_of(examples, joined)]
        return pd.DataFrame(found, columns=["prediction", "probability"])
    assert isinstance(task, Regression)
    several = len(task.target_names) > 1
    labels = [f"prediction_{name}" if several else "prediction" for name in task.target_names]
    return pd.DataFrame(joined["prediction"].double().numpy(), columns=labels)
