"""Data modules, one per modality: read, clean, split, standardise and batch, and publish what a model must know.

Names are imported when they are asked for: a report of a table needs no torch.
"""

from typing import TYPE_CHECKING

from lantu.package_exports import lazy_exports

if TYPE_CHECKING:
    from lantu.data.audio.audio_data_module import AudioDataModule as AudioDataModule
    from lantu.data.audio.audio_folder import audio_folder as audio_folder
    from lantu.data.audio.joined_recordings import joined_recordings as joined_recordings
    from lantu.data.audio.spoken_sentences import spoken_sentences as spoken_sentences
    from lantu.data.audio.synthesis import SynthesisDataModule as SynthesisDataModule
    from lantu.data.audio.transcription import SpeechDataModule as SpeechDataModule
    from lantu.data.data_module import DataModule as DataModule
    from lantu.data.fingerprints import fingerprint_of as fingerprint_of
    from lantu.data.image.augment import Augment as Augment
    from lantu.data.image.box_augmentation import BoxAugmentation as BoxAugmentation
    from lantu.data.image.box_data_module import BoxDataModule as BoxDataModule
    from lantu.data.image.box_sources import Boxes as Boxes
    from lantu.data.image.box_sources import from_objects as from_objects
    from lantu.data.image.box_sources import read_boxes as read_boxes
    from lantu.data.image.gallery import GalleryDataModule as GalleryDataModule
    from lantu.data.image.image_data_module import ImageDataModule as ImageDataModule
    from lantu.data.image.image_folder import image_folder as image_folder
    from lantu.data.image.image_parquet import image_parquet as image_parquet
    from lantu.data.image.image_table import image_table as image_table
    from lantu.data.image.webdataset import webdataset as webdataset
    from lantu.data.multimodal.media_table import media_table as media_table
    from lantu.data.multimodal.multimodal_data_module import MultimodalDataModule as MultimodalDataModule
    from lantu.data.multimodal.pairs import ImageTextDataModule as ImageTextDataModule
    from lantu.data.multimodal.slot_data_module import SlotDataModule as SlotDataModule
    from lantu.data.multimodal.slot_texts import SlotTextDataModule as SlotTextDataModule
    from lantu.data.series.series_data_module import SeriesDataModule as SeriesDataModule
    from lantu.data.series.series_sources import day_range as day_range
    from lantu.data.series.series_sources import equal_weight as equal_weight
    from lantu.data.series.series_sources import mirror_table as mirror_table
    from lantu.data.series.series_sources import statsmodels as statsmodels
    from lantu.data.sources import Raw as Raw
    from lantu.data.sources import hub as hub
    from lantu.data.sources import rdatasets as rdatasets
    from lantu.data.sources import sklearn as sklearn
    from lantu.data.sources import table_file as table_file
    from lantu.data.sources import text_files as text_files
    from lantu.data.table.table_data_module import TableDataModule as TableDataModule
    from lantu.data.text.dialogue_split import held_out_questions as held_out_questions
    from lantu.data.text.dialogues import DialogueDataModule as DialogueDataModule
    from lantu.data.text.extractive_qa import QuestionDataModule as QuestionDataModule
    from lantu.data.text.identification_data_module import IdentificationDataModule as IdentificationDataModule
    from lantu.data.text.multilingual import MultilingualDataModule as MultilingualDataModule
    from lantu.data.text.text_data_module import TextDataModule as TextDataModule
    from lantu.data.text.token_data_module import TokenDataModule as TokenDataModule

__getattr__, __all__ = lazy_exports(__name__, __file__)
