"""Architectures as plain torch modules, one file each, where timm and transformers have no well-kept version."""

import lazy_loader

# their modules have the same names, and would hide them if they were imported later
from lantu.models.gpt2 import gpt2 as gpt2
from lantu.models.lora import lora as lora

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
