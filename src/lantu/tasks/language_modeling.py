"""Predict the next token."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.generate import generate
from lantu.tasks.base import Batch
from lantu.tasks.by_language import TokenTask

Encode = Callable[[str], ArrayLike]
Decode = Callable[[list[int]], str]
PARTIAL = "\N{REPLACEMENT CHARACTER}"
"""What a decoder answers for a character of which some bytes are still to come."""


TAIL = 16
"""Tokens of the prompt that new ones are decoded with: how words are joined depends on the one before."""


class LanguageModeling(TokenTask):
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
        if not 0 <= label_smoothing < 1:
            raise UserError(f"`task.label_smoothing={label_smoothing}` must lie in [0, 1).")
        self.bytes_per_token = bytes_per_token
        self.context = context
        self.label_smoothing = label_smoothing
        self.sample_tokens = sample_tokens
        self._read: Tensor | None = None

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        smoothing = self.label_smoothing if stage == "train" else 0.0
        return F.cross_entropy(output.flatten(0, 1).float(), y.flatten(), label_smoothing=smoothing)

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        if stage == "train":
            return {}
        bits = loss / log(2) / self.bytes_per_token
        return {f"{stage}/perplexity": torch.exp(loss), f"{stage}/bits_per_character": bits}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor] | None:
        if batch_idx == 0:
            self._read = batch[0][:1]
        return super().test_step(batch, batch_idx)

    def write(self, encode: Encode, decode: Decode, *, prompt: str, tokens: int = 200, **sampling: Any) -> str:
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
        known = torch.as_tensor(encode(prompt), dtype=torch.long, device=self.device).view(1, -1)
        if known.shape[1] == 0:
            raise UserError(f"`prompt={prompt!r}` holds no token to go on from: give it at least one character.")
        before = known[0, -TAIL:].tolist()
        length = len(decode(before))
        written: list[int] = []
        shown = 0
        # what could become a stop text is held back until it is known not to be one
        held = max((len(text) for text in stop), default=1) - 1
        text = ""
        with _evaluating(self.net):
            for drawn in generate(self.net, known, new_tokens=tokens, context=self.context, **sampling):
                written.append(int(drawn))
                text = decode([*before, *written])[length:]
                if found := [place for each in stop if (place := text.find(each)) >= 0]:
                    yield text[shown : min(found)]
                    return
                ready = len(text.rstrip(PARTIAL)) - held
                if ready > shown:
                    yield text[shown:ready]
                    shown = ready
        if text[shown:]:
            yield text[shown:]

    def sample(self, decode: Decode) -> str:
        """A text of `sample_tokens` that goes on from the beginning of the test split; always drawn alike."""
        if self._read is None:
            known = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        else:
            known = self._read[:, : max(self.context // 2, 1)].to(self.device)
        generator = torch.Generator(device=self.device).manual_seed(0)  # apart from the run's own random numbers
        with _evaluating(self.net):
            drawn = list(
                generate(self.net, known, new_tokens=self.sample_tokens, context=self.context, generator=generator)
            )
        return decode([*known[0].tolist(), *(int(token) for token in drawn)])


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """In eval mode for a while, then as it was, part by part."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
