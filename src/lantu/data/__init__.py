"""Data modules, one per modality: read, clean, split, standardise and batch, and publish what a model must know."""

from lantu.data.answering import DialogueDataModule
from lantu.data.dialogues import held_out_questions
from lantu.data.identification import IdentificationDataModule
from lantu.data.images import ImageDataModule
from lantu.data.module import DataModule
from lantu.data.multilingual import MultilingualDataModule
from lantu.data.questions import QuestionDataModule
from lantu.data.sources import Raw, hub, image_folder, rdatasets, sklearn, table_file, text_files
from lantu.data.tables import TableDataModule
from lantu.data.texts import TextDataModule
from lantu.data.tokens import TokenDataModule

__all__ = [
    "DataModule",
    "DialogueDataModule",
    "IdentificationDataModule",
    "ImageDataModule",
    "MultilingualDataModule",
    "QuestionDataModule",
    "Raw",
    "TableDataModule",
    "TextDataModule",
    "TokenDataModule",
    "held_out_questions",
    "hub",
    "image_folder",
    "rdatasets",
    "sklearn",
    "table_file",
    "text_files",
]
