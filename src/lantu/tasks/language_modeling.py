"""Predict the next token."""

from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.tasks.base import Task


class LanguageModeling(Task):
    """Networks answer logits (N, T, vocabulary) for tokens (N, T); targets are the tokens one place on.

    Perplexity is exp(loss). Bits per character counts UTF-8 bytes (for ASCII text the same as characters), which makes
    it comparable across tokenizers.

    Args:
        bytes_per_token: mean over the validation text.
        context: tokens that the network sees at once.
        sample_tokens: how long the text is that is written at the end of a run.
    """

    keeps_outputs = False  # logits over a vocabulary for every token

    def __init__(
        self,
        net: nn.Module,
        *,
        bytes_per_token: float,
        context: int,
        label_smoothing: float = 0.0,
        sample_tokens: int = 200,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        self.bytes_per_token = bytes_per_token
        self.context = context
        self.label_smoothing = label_smoothing
        self.sample_tokens = sample_tokens

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        smoothing = self.label_smoothing if stage == "train" else 0.0
        return F.cross_entropy(output.flatten(0, 1), y.flatten(), label_smoothing=smoothing)

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        if stage == "train":
            return {}
        bits = loss / log(2) / self.bytes_per_token
        return {f"{stage}/perplexity": torch.exp(loss), f"{stage}/bits_per_character": bits}
