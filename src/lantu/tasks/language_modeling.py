"""Predict the next token."""

from math import log
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric.utilities.apply_func import move_data_to_device
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.chunked_loss import LossAndGradient, chunk_loss_and_gradient, linear_cross_entropy
from lantu.models.sharding import is_sharded
from lantu.tasks.text_generation import TextGeneration

CARRIED = "lantu.carried"
"""The key of a checkpoint under which the state that the next batch continues from is kept."""


class LanguageModeling(TextGeneration):
    """Networks answer logits (N, T, vocabulary) for tokens (N, T); targets are the tokens one position later.

    Perplexity is exp(loss), per token. Bits per byte of UTF-8 compares across tokenizers, as long as they keep the text
    whole: char, byte and bpe do, while word and wordpiece drop case and what they do not know.

    Args:
        bytes_per_token: mean over the validation text, for data that do not tell it of each split.
        context: tokens that the network sees at once.
        end_id: the token that ends a document: nothing is generated after it. None: there is none.
        carry: start from the state that the previous batch left, without its gradient: truncated back-propagation.
            For batches whose rows continue those of the previous one, and networks with a state such as `RNN`.
        sample_tokens: tokens that `sample` generates.
        chunked_loss: compute the last layer and the loss together, some tokens at a time, so that all logits are never
            in memory: see `lantu.models.chunked_loss`. For `GPT`. None: on a GPU, where it is possible.
    """

    keeps_outputs = False  # logits over a vocabulary for every token

    def __init__(
        self,
        net: nn.Module,
        *,
        bytes_per_token: float,
        context: int,
        end_id: int | None = None,
        label_smoothing: float = 0.0,
        carry: bool = False,
        sample_tokens: int = 200,
        chunked_loss: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"`task.label_smoothing={label_smoothing}` must lie in [0, 1).")
        if carry:
            _check_carries(net)
        self.carry = carry
        self.bytes_per_token = bytes_per_token
        self.context = context
        self.end_id = end_id
        self.label_smoothing = label_smoothing
        self.sample_tokens = sample_tokens
        if chunked_loss and not getattr(net, "splits_logits", False):
            raise UserError(
                f"`task.chunked_loss=true` is for networks that leave their last layer to the loss, and "
                f"{type(net).__name__} does not: choose `model=gpt`, or leave the option out."
            )
        self.chunked_loss = chunked_loss
        self._chunk_loss: LossAndGradient = chunk_loss_and_gradient
        self._plain_loss = _plain_loss
        self._chunks: dict[str, bool] = {}
        self._states: dict[str, Any] = {}

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        smoothing = self.label_smoothing if stage == "train" else 0.0
        if self._is_chunked(stage):
            head: Any = self.net.head
            return linear_cross_entropy(
                output.flatten(0, 1), head.weight, y.flatten(), label_smoothing=smoothing,
                loss_and_gradient=self._chunk_loss,
            )  # fmt: skip
        return self._plain_loss(output, y, smoothing)

    def compile_loss(self) -> None:
        self._chunk_loss = torch.compile(chunk_loss_and_gradient, dynamic=False)
        self._plain_loss = torch.compile(_plain_loss)

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        if stage == "train":
            return {}
        values = {f"{stage}/perplexity": torch.exp(loss)}
        if f"{stage}_" not in self.by_language:  # which counts the bytes, where languages differ
            values[f"{stage}/bits_per_byte"] = loss / log(2) / self._bytes_per_token_of(stage)
        return values

    def _bytes_per_token_of(self, stage: str) -> float:
        """Of the split itself, where the data know it."""
        of_split = getattr(self._trainer and self._trainer.datamodule, "bytes_per_token", None)
        return (of_split and of_split(stage)) or self.bytes_per_token

    def answer(self, x: Tensor, *, stage: str) -> Tensor:
        if self._is_chunked(stage):
            return self.net(x, logits=False)
        if not self.carry:
            return self.net(x)
        if stage not in self._states:
            self._states[stage] = self.net.new_cache()  # type: ignore[operator]
        output = self.net(x, self._states[stage])
        self._states[stage].detach_()
        return output

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._chunks = {}

    def _is_chunked(self, stage: str) -> bool:
        """Whether `answer` leaves the last layer to `loss`."""
        if stage not in self._chunks:
            self._chunks[stage] = self._can_chunk(stage)
        return self._chunks[stage]

    def _can_chunk(self, stage: str) -> bool:
        wanted = self.device.type == "cuda" if self.chunked_loss is None else self.chunked_loss
        scaled = self._trainer is not None and str(self.trainer.precision) == "16-mixed"
        return (
            wanted
            and getattr(self.net, "splits_logits", False)
            and not (self.carry or scaled or is_sharded(self.net))
            and f"{stage}_" not in self.by_language  # which are measured on all logits
            and f"{stage}_" not in self.metrics
            and f"{stage}_" not in self.extra_metrics
        )

    def on_train_start(self) -> None:
        if self.carry and self.trainer.world_size > 1:
            raise UserError(
                "`data.contiguous=true` carries a state along the text on one device: add `trainer.devices=1`, or "
                "train on many with `data.contiguous=false`."
            )
        if "train" in self._states:  # of a checkpoint, which is read before the network is on its device
            self._states["train"].states = move_data_to_device(self._states["train"].states, self.device)

    def on_train_epoch_start(self) -> None:
        self._states.pop("train", None)

    def on_validation_epoch_start(self) -> None:
        self._states.pop("val", None)

    def on_test_epoch_start(self) -> None:
        self._states.pop("test", None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "train" in self._states:
            checkpoint[CARRIED] = self._states["train"].states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.carry and CARRIED in checkpoint:  # inside an epoch, which goes on; the next one begins without
            self._states["train"] = self.net.new_cache()  # type: ignore[operator]
            self._states["train"].states = checkpoint[CARRIED]


def _plain_loss(logits: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), label_smoothing=label_smoothing)


def _check_carries(net: nn.Module) -> None:
    new_cache = getattr(net, "new_cache", None)
    if new_cache is None or not hasattr(new_cache(), "detach_"):
        raise UserError(
            f"`data.contiguous=true` is for networks that carry a state from batch to batch, and {type(net).__name__} "
            "has none: choose `model=rnn`, `model=lstm` or `model=gru`, or `data.contiguous=false`."
        )
