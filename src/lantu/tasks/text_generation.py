"""Generate text with a network that predicts the next token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.models.generate import NOTHING, generate
from lantu.tasks.metrics_by_language import TokenTask
from lantu.tasks.outputs import Outputs
from lantu.tasks.streaming import IncrementalDetokenizer
from lantu.tasks.task import Batch
from lantu.tasks.text_quality import measures

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

Encode = Callable[[str], ArrayLike]
Decode = Callable[[list[int]], str]


class TextGeneration(TokenTask):
    """A task whose network answers logits (N, T, vocabulary) for tokens (N, T), and so can continue a text."""

    prompted = True
    context: int
    """Tokens that the network sees at once."""
    end_id: int | None
    """The token that ends a document: nothing is generated after it. None: there is none."""
    sample_tokens: int
    """Tokens that `sample` generates."""

    def __init__(self, net: nn.Module, **options: Any) -> None:
        super().__init__(net, **options)
        self._first_inputs: dict[str, Tensor] = {}
        """By stage the first example (1, T) that it read, which `sample` continues."""

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if batch_idx == 0:
            self._first_inputs["val"] = batch[0][:1].clone()
        return super().validation_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if batch_idx == 0:
            self._first_inputs["test"] = batch[0][:1].clone()
        return super().test_step(batch, batch_idx)

    def respond(self, data: DataModule, inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """Return each prompt with its continuation, as the column `text`.

        Args:
            inputs: a data frame with a column `prompt`.
            params: tokens, temperature, top_k, top_p, stop.
        """
        import pandas as pd

        prompts = [data.prompt(each) for each in inputs["prompt"]]
        options = {"stop": data.stops, **(params or {})}
        return pd.DataFrame({"text": self.generate_texts(data.encode, data.decode, prompts=prompts, **options)})

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("string", "text")])

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        return [('lantu predict run=last prompt="..."', "let it write")]

    def samples(self, data: DataModule, *, stage: str = "val") -> dict[str, Any]:
        """Return a text that continues the beginning of the split; of the test split with its quality measures.

        The measures are those of `lantu.tasks.text_quality`, named as they are logged: `test/distinct_1` and so on.
        """
        prompt, text = self.sample(data.decode, stage=stage)
        if stage == "val":
            return {"text": text}
        quality = measures(text[len(prompt) :], data.training_text())
        return {"sample": text, **{f"test/{name}": float(np.float32(value)) for name, value in quality.items()}}

    def generate_text(self, encode: Encode, decode: Decode, *, prompt: str, tokens: int = 200, **sampling: Any) -> str:
        """Return a prompt with its continuation; the options are those of `stream`."""
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
        """Yield the continuation of a prompt in pieces, as they are generated.

        Args:
            encode: from text to token ids.
            decode: from token ids to text.
            prompt: at least one token long.
            tokens: the most that are generated.
            stop: texts; the first of them to be generated ends the continuation and is left out.
            sampling: temperature, top_k, top_p, repetition_penalty, generator: see `lantu.models.generate.generate`.

        Raises:
            UserError: the prompt holds no token, or an option is out of its range.
        """
        ids, detokenizer = self.begin(encode, decode, prompt=prompt, stop=stop)
        with evaluating(self.net):
            for token in generate(self.net, ids[None], new_tokens=tokens, context=self.context, **sampling):
                if piece := detokenizer.add(int(token)):
                    yield piece
                if detokenizer.ended:
                    return
        if piece := detokenizer.rest():
            yield piece

    def generate_texts(
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
        """Return each prompt with its continuation, several prompts at a time; the other options are those of `stream`.

        At temperature 0 a text is what `generate_text` makes of its prompt alone; otherwise it depends on the other
        prompts of its batch.

        Args:
            batch_size: prompts at a time. Those of similar length go together; one longer than the context goes alone.
        """
        ids = [self._prompt_ids(encode, prompt) for prompt in prompts]
        texts = list(prompts)
        for batch in self._batches([len(each) for each in ids], batch_size):
            continuations = self._continue_batch([ids[each] for each in batch], decode, tokens, stop, sampling)
            for number, continuation in zip(batch, continuations, strict=True):
                texts[number] += continuation
        return texts

    def _batches(self, lengths: Sequence[int], batch_size: int) -> list[list[int]]:
        """The numbers of the prompts of each batch, by the prompts' lengths."""
        limit = getattr(self.net, "context", self.context)
        order = sorted(range(len(lengths)), key=lambda number: lengths[number])
        short = [number for number in order if limit is None or lengths[number] <= limit]
        batches = [short[at : at + batch_size] for at in range(0, len(short), batch_size)]
        return [*batches, *([number] for number in order[len(short) :])]

    def _continue_batch(
        self, ids: list[Tensor], decode: Decode, tokens: int, stop: Sequence[str], sampling: Mapping[str, Any]
    ) -> list[str]:
        """The continuation of each prompt, whose token ids (T,) are given."""
        detokenizers = [IncrementalDetokenizer(decode, row.tolist(), stop=stop, end_id=self.end_id) for row in ids]
        ended = torch.zeros(len(ids), dtype=torch.bool, device=self.device)
        lengths = torch.tensor([len(row) for row in ids], device=ids[0].device)
        pieces: list[list[str]] = [[] for _ in ids]
        with evaluating(self.net):
            for step in generate(
                self.net, pad_sequence(ids, batch_first=True), lengths=lengths, new_tokens=tokens,
                context=self.context, ended=ended, **sampling,
            ):  # fmt: skip
                for row, token in enumerate(step.tolist()):
                    if token != NOTHING:
                        pieces[row].append(detokenizers[row].add(token))
                        ended[row] |= detokenizers[row].ended
        return ["".join([*parts, each.rest()]) for parts, each in zip(pieces, detokenizers, strict=True)]

    def begin(
        self, encode: Encode, decode: Decode, *, prompt: str, stop: Sequence[str]
    ) -> tuple[Tensor, IncrementalDetokenizer]:
        """Return the token ids (T,) of a prompt, and the detokenizer of its continuation.

        Raises:
            UserError: the prompt holds no token.
        """
        ids = self._prompt_ids(encode, prompt)
        return ids, IncrementalDetokenizer(decode, ids.tolist(), stop=stop, end_id=self.end_id)

    def most_tokens(self, tokens: int) -> int:
        """Return how many tokens a continuation may have, when so many are asked for."""
        return tokens

    def _prompt_ids(self, encode: Encode, prompt: str) -> Tensor:
        ids = torch.as_tensor(encode(prompt), dtype=torch.long, device=self.device).flatten()
        if not len(ids):
            raise UserError(f"`prompt={prompt!r}` holds no token to go on from: give it at least one character.")
        return ids

    def sample(self, decode: Decode, *, stage: str = "test") -> tuple[str, str]:
        """Return the beginning of a stage's text, and the same with `sample_tokens` more; the seed is fixed."""
        if stage in self._first_inputs:
            prompt = self._first_inputs[stage][:, : max(self.context // 2, 1)].to(self.device)
        else:
            prompt = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        # the run's own random numbers stay as they are: sampling has a generator of its own, and dropout that is on in
        # evaluation too draws from a fork
        generator = torch.Generator(device=self.device).manual_seed(0)
        devices = [self.device] if self.device.type == "cuda" else []
        with evaluating(self.net), torch.random.fork_rng(devices):
            torch.manual_seed(0)
            tokens = list(
                generate(self.net, prompt, new_tokens=self.sample_tokens, context=self.context, generator=generator)
            )
        before = prompt[0].tolist()
        return decode(before), decode([*before, *map(int, tokens)])


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network into eval mode; afterwards each of its parts is in its own mode again."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
