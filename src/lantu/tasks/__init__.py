"""Learning problems: one LightningModule each, for any architecture that answers in the right shape."""

from lantu.tasks.adversarial import Adversarial
from lantu.tasks.classification import Classification
from lantu.tasks.clinical_metrics import AUROCInterval, SensitivityAtSpecificity
from lantu.tasks.contrastive import Contrastive
from lantu.tasks.detection import Detection
from lantu.tasks.dialogue import Answering
from lantu.tasks.forecasting import Forecasting
from lantu.tasks.language_identification import Identification
from lantu.tasks.language_modeling import LanguageModeling
from lantu.tasks.market_risk import MarketRisk
from lantu.tasks.masked_language_modeling import MaskedLanguageModeling
from lantu.tasks.metrics_by_language import TaskByLanguage, TokenTask
from lantu.tasks.multilabel import MultiLabel
from lantu.tasks.question_answering import QuestionAnswering
from lantu.tasks.regression import Regression
from lantu.tasks.slot_filling import SlotFilling
from lantu.tasks.speech_recognition import SpeechRecognition
from lantu.tasks.speech_synthesis import SpeechSynthesis
from lantu.tasks.task import Task
from lantu.tasks.verification import Verification

__all__ = [
    "AUROCInterval",
    "Adversarial",
    "Answering",
    "Classification",
    "Contrastive",
    "Detection",
    "Forecasting",
    "Identification",
    "LanguageModeling",
    "MarketRisk",
    "MaskedLanguageModeling",
    "MultiLabel",
    "QuestionAnswering",
    "Regression",
    "SensitivityAtSpecificity",
    "SlotFilling",
    "SpeechRecognition",
    "SpeechSynthesis",
    "Task",
    "TaskByLanguage",
    "TokenTask",
    "Verification",
]
