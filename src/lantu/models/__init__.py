"""Architectures as plain torch modules, one file each, where timm and transformers have no well-kept version."""

from lantu.models.cnn import CNN
from lantu.models.ctc import CTCNetwork
from lantu.models.ctc_cnn import CTCSpeechCNN
from lantu.models.fasttext import FastText
from lantu.models.fold_networks import FoldNetworks
from lantu.models.fusion import Fusion
from lantu.models.gan import DCGAN, GAN, R3GAN
from lantu.models.gpt import GPT
from lantu.models.gpt2 import gpt2
from lantu.models.image_text import ImageTextModel
from lantu.models.linear import Linear
from lantu.models.lora import lora
from lantu.models.mlp import MLP
from lantu.models.pretrained_detectors import Detections, TorchvisionDetector, TransformersDetector
from lantu.models.rnn import RNN
from lantu.models.scorecard import Scorecard
from lantu.models.series_transformer import SeriesTransformer
from lantu.models.slot_network import SlotNetwork
from lantu.models.speech_cnn import SpeechCNN
from lantu.models.tabm import TabM
from lantu.models.tcn import TCN
from lantu.models.transformer import MaskedTransformer, ReadingTransformer, Transformer
from lantu.models.transformers_speech import TransformersSpeech
from lantu.models.upscale import Upscale
from lantu.models.wavenet import WaveNet
from lantu.models.yolo import YOLO

__all__ = [
    "CNN",
    "DCGAN",
    "GAN",
    "GPT",
    "MLP",
    "R3GAN",
    "RNN",
    "TCN",
    "YOLO",
    "CTCNetwork",
    "CTCSpeechCNN",
    "Detections",
    "FastText",
    "FoldNetworks",
    "Fusion",
    "ImageTextModel",
    "Linear",
    "MaskedTransformer",
    "ReadingTransformer",
    "Scorecard",
    "SeriesTransformer",
    "SlotNetwork",
    "SpeechCNN",
    "TabM",
    "TorchvisionDetector",
    "Transformer",
    "TransformersDetector",
    "TransformersSpeech",
    "Upscale",
    "WaveNet",
    "gpt2",
    "lora",
]
