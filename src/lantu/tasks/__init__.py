"""Learning problems: one LightningModule each, for any architecture that answers in the right shape."""

from lantu.tasks.base import Task
from lantu.tasks.by_language import TokenTask
from lantu.tasks.classification import Classification
from lantu.tasks.language_modeling import LanguageModeling
from lantu.tasks.masked_language_modeling import MaskedLanguageModeling
from lantu.tasks.question_answering import QuestionAnswering
from lantu.tasks.regression import Regression

__all__ = [
    "Classification",
    "LanguageModeling",
    "MaskedLanguageModeling",
    "QuestionAnswering",
    "Regression",
    "Task",
    "TokenTask",
]
