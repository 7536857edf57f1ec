"""Predict the next token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric.utilities.apply_func import move_data_to_device
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lantu.data.base import DataModule
from lantu.errors import UserError
from lantu.models.chunked_loss import LossAndGradient, chunk_loss_and_gradient, linear_cross_entropy
from lantu.models.generate import NOTHING, generate
from lantu.models.sharding import is_sharded
from lantu.tasks.base import Batch
from lantu.tasks.metrics_by_language import TokenTask
from lantu.tasks.outputs import Outputs
from lantu.tasks.streaming import Writing
from lantu.tasks.text_quality import measures

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

Encode = Callable[[str], ArrayLike]
Decode = Callable[[list[int]], str]
CARRIED = "lantu.carried"
"""Where a checkpoint keeps the state that the next batch reads on from."""


class LanguageModeling(TokenTask):
    """Networks answer logits (N, T, vocabulary) for tokens (N, T); targets are the tokens one place on.

    Perplexity is exp(loss), per token. Bits per byte of UTF-8 compares across tokenizers, as long as they keep the text
    whole: char, byte and bpe do, while word and wordpiece drop case and what they do not know.

    Args:
        bytes_per_token: mean over the validation text.
        context: tokens that the network sees at once.
        end_id: the token that ends a document: nothing is written after it. None: there is none.
        carry: read on from the state that the batch before left, without its gradient: truncated back-propagation.
            For batches whose rows go on where they left off, and networks with a state such as `RNN`.
        sample_tokens: how long the texts are that `sample` writes.
        chunked_loss: take the last layer and the loss together, some tokens at a time, so that all logits are never in
            memory: see `lantu.models.chunked_loss`. For `GPT`. None: on a GPU, where it can be done.
    """

    keeps_outputs = False  # logits over a vocabulary for every token
    prompted = True
    goes_on = True
    """Whether the text written at the test goes on from the test split's; False: it answers, and is measured apart."""

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
        self._read: dict[str, Tensor] = {}

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
            values[f"{stage}/bits_per_byte"] = loss / log(2) / self.bytes_per_token
        return values

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

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if batch_idx == 0:
            self._read["val"] = batch[0][:1].clone()
        return super().validation_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if batch_idx == 0:
            self._read["test"] = batch[0][:1].clone()
        return super().test_step(batch, batch_idx)

    def respond(self, data: DataModule, inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """What follows each prompt, as the column `text`.

        Args:
            inputs: a data frame with a column `prompt`.
            params: tokens, temperature, top_k, top_p, stop.
        """
        import pandas as pd

        prompts = [data.prompt(each) for each in inputs["prompt"]]
        options = {"stop": data.stops, **(params or {})}
        return pd.DataFrame({"text": self.write_all(data.encode, data.decode, prompts=prompts, **options)})

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("string", "text")])

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        return [('lantu predict run=last prompt="..."', "let it write")]

    def samples(self, data: DataModule, *, stage: str = "val") -> dict[str, Any]:
        """A text that goes on from the beginning of the split; of the test's also what is measured of it.

        The measures are those of `lantu.tasks.text_quality`, named as they are logged: `test/distinct_1` and so on.
        """
        prompt, text = self.sample(data.decode, stage=stage)
        if stage == "val":
            return {"text": text}
        found = measures(text[len(prompt) :], data.training_text())
        return {"sample": text, **{f"test/{name}": float(np.float32(value)) for name, value in found.items()}}

    def write_one(self, encode: Encode, decode: Decode, *, prompt: str, tokens: int = 200, **sampling: Any) -> str:
        """The prompt and what follows it; see `stream`."""
        return prompt + "".join(self.stream(encode, decode, prompt=prompt, tokens=tokens, **sampling))

    def stream(
        self,
        encode: Encode,
        decode: Decode,
        *,
        prompt: str,
        tokens: int = 200,
        stop: Sequence[str] = (),
        **sampling: Any,
    ) -> Iterator[str]:
        """What follows a prompt, in pieces as they are written.

        Args:
            encode: from text to token numbers.
            decode: from token numbers to text.
            prompt: at least one token long.
            tokens: the most that are written.
            stop: texts; the first of them to be written ends the text and is left out.
            sampling: temperature, top_k, top_p, repetition_penalty, generator: see `lantu.models.generate.generate`.

        Raises:
            UserError: the prompt holds no token, or an option is out of its range.
        """
        known, writing = self.begin(encode, decode, prompt=prompt, stop=stop)
        with evaluating(self.net):
            for drawn in generate(self.net, known[None], new_tokens=tokens, context=self.context, **sampling):
                if piece := writing.add(int(drawn)):
                    yield piece
                if writing.ended:
                    return
        if piece := writing.rest():
            yield piece

    def write_all(
        self,
        encode: Encode,
        decode: Decode,
        *,
        prompts: Sequence[str],
        tokens: int = 200,
        stop: Sequence[str] = (),
        batch_size: int = 16,
        **sampling: Any,
    ) -> list[str]:
        """Each prompt and what follows it, several at a time; see `stream`.

        At temperature 0 a text is what `write_one` makes of its prompt alone; otherwise it depends on its neighbours.

        Args:
            batch_size: prompts at a time. Those of similar length go together; one longer than the context goes alone.
        """
        known = [self._known(encode, prompt) for prompt in prompts]
        limit = getattr(self.net, "context", self.context)
        order = sorted(range(len(known)), key=lambda number: len(known[number]))
        short = [number for number in order if limit is None or len(known[number]) <= limit]
        groups = [short[at : at + batch_size] for at in range(0, len(short), batch_size)]
        texts = list(prompts)
        for group in [*groups, *([number] for number in order[len(short) :])]:
            rows = [known[number] for number in group]
            writings = [Writing(decode, row.tolist(), stop=stop, end_id=self.end_id) for row in rows]
            ended = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
            options = {"new_tokens": tokens, "context": self.context, "ended": ended, **sampling}
            with evaluating(self.net):
                for drawn in generate(
                    self.net, pad_sequence(rows, batch_first=True), lengths=_lengths(rows), **options
                ):
                    for row, token in enumerate(drawn.tolist()):
                        if token != NOTHING:
                            texts[group[row]] += writings[row].add(token)
                            ended[row] |= writings[row].ended
            for number, writing in zip(group, writings, strict=True):
                texts[number] += writing.rest()
        return texts

    def begin(self, encode: Encode, decode: Decode, *, prompt: str, stop: Sequence[str]) -> tuple[Tensor, Writing]:
        """The tokens (T,) of a prompt, and what turns those that follow into text; see `stream`."""
        known = self._known(encode, prompt)
        return known, Writing(decode, known.tolist(), stop=stop, end_id=self.end_id)

    def most_tokens(self, tokens: int) -> int:
        """How many tokens of those that are asked for a text may have."""
        return tokens

    def _known(self, encode: Encode, prompt: str) -> Tensor:
        known = torch.as_tensor(encode(prompt), dtype=torch.long, device=self.device).flatten()
        if not len(known):
            raise UserError(f"`prompt={prompt!r}` holds no token to go on from: give it at least one character.")
        return known

    def sample(self, decode: Decode, *, stage: str = "test") -> tuple[str, str]:
        """The beginning of a stage's text, and the same with `sample_tokens` more; always drawn alike."""
        if stage in self._read:
            known = self._read[stage][:, : max(self.context // 2, 1)].to(self.device)
        else:
            known = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        generator = torch.Generator(device=self.device).manual_seed(0)  # apart from the run's own random numbers,
        devices = [self.device] if self.device.type == "cuda" else []  # which dropout may use that stays on
        with evaluating(self.net), torch.random.fork_rng(devices):
            torch.manual_seed(0)
            drawn = list(
                generate(self.net, known, new_tokens=self.sample_tokens, context=self.context, generator=generator)
            )
        before = known[0].tolist()
        return decode(before), decode([*before, *(int(token) for token in drawn)])


def _plain_loss(logits: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), label_smoothing=label_smoothing)


def _check_carries(net: nn.Module) -> None:
    new_cache = getattr(net, "new_cache", None)
    if new_cache is None or not hasattr(new_cache(), "detach_"):
        raise UserError(
            f"`data.contiguous=true` is for networks that carry a state from batch to batch, and {type(net).__name__} "
            "has none: choose `model=rnn`, `model=lstm` or `model=gru`, or `data.contiguous=false`."
        )


def _lengths(rows: list[Tensor]) -> Tensor:
    return torch.tensor([len(row) for row in rows], device=rows[0].device)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """In eval mode for a while, then as it was, part by part."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
