"""Data modules, one per modality: read, clean, split, standardise and batch, and publish what a model must know."""

from lantu.data.audio.classification import AudioDataModule
from lantu.data.audio.folder import audio_folder
from lantu.data.base import DataModule
from lantu.data.fingerprints import fingerprint_of
from lantu.data.image.augment import Augment
from lantu.data.image.classification import ImageDataModule
from lantu.data.image.folder import image_folder
from lantu.data.sources import Raw, hub, rdatasets, sklearn, table_file, text_files
from lantu.data.table.module import TableDataModule
from lantu.data.text.classification import TextDataModule
from lantu.data.text.dialogue_split import held_out_questions
from lantu.data.text.dialogues import DialogueDataModule
from lantu.data.text.extractive_qa import QuestionDataModule
from lantu.data.text.language_identification import IdentificationDataModule
from lantu.data.text.language_modeling import TokenDataModule
from lantu.data.text.multilingual import MultilingualDataModule

__all__ = [
    "AudioDataModule",
    "Augment",
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
    "audio_folder",
    "fingerprint_of",
    "held_out_questions",
    "hub",
    "image_folder",
    "rdatasets",
    "sklearn",
    "table_file",
    "text_files",
]
