"""Predict tokens that were hidden, from all those around them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lantu.errors import UserError
from lantu.ignore_index import NOT_ASKED
from lantu.tasks.metrics_by_language import TokenTask
from lantu.tasks.task import Batch


class MaskedLanguageModeling(TokenTask):
    """Masked language modelling (Devlin et al. 2019): networks answer logits (N, T, vocabulary) for tokens (N, T).

    Takes the batches of causal language modelling, or of texts, and takes no notice of their targets: a share of the
    tokens is chosen on the device, anew at every step, to be predicted; most of them are shown as the mask, some as
    another token, some as they are. Loss and accuracy are means over the chosen tokens alone, and perplexity is
    exp(loss); it does not compare with that of a causal model. In validation and test the choice hangs on the row's own
    tokens only, so that every epoch, model, batch size and number of devices is asked the same.

    Args:
        vocab_size: of the data.
        mask_id: the token that hides another.
        special_ids: tokens that are no text: never chosen, and never shown in another's place.
        word_starts: whether each token begins a word, as hexadecimal bits (`lantu.data.text.masking`); for whole words.
        masked: share of the tokens that are chosen.
        whole_words: choose words rather than tokens, so that no piece gives away the others.
        replaced, kept: shares of the chosen that are shown as a random token, and as they are.

    Raises:
        UserError: the data have no mask, or a share is out of its range.
    """

    keeps_outputs = False  # logits over a vocabulary for every token
    counts_bytes = False
    answers = False
    special: Tensor
    ordinary: Tensor
    begins: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        vocab_size: int,
        mask_id: int | None,
        special_ids: list[int],
        word_starts: str | None = None,
        masked: float = 0.15,
        whole_words: bool = False,
        replaced: float = 0.1,
        kept: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if mask_id is None:
            raise UserError(
                "`task=masked_language_modeling` needs a token that hides others, which these data do not have. "
                "Type `data.level=wordpiece` (bpe and word have one as well), or a `data.tokenizer` with `[MASK]`."
            )
        if not 0 < masked < 1:
            raise UserError(f"`task.masked={masked}` is the share of tokens to predict, and must lie between 0 and 1.")
        if replaced < 0 or kept < 0 or replaced + kept > 1:
            raise UserError(f"`task.replaced={replaced}` and `task.kept={kept}` are shares, together at most 1.")
        if whole_words and word_starts is None:
            raise UserError("`task.whole_words=true` needs to know where words begin, which these data do not tell.")
        self.mask_id = mask_id
        self.masked, self.replaced, self.kept = masked, replaced, kept
        self.whole_words = whole_words
        special = torch.zeros(vocab_size, dtype=torch.bool)
        special[special_ids] = True
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("ordinary", (~special).nonzero()[:, 0], persistent=False)
        self.register_buffer("begins", _bits(word_starts, vocab_size) | special, persistent=False)
        self.use_metrics(lambda: MetricCollection({"accuracy": MulticlassAccuracy(vocab_size, average="micro")}))

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        """How to fine-tune it; it predicts nothing by itself."""
        folder = run_dir / "transformers"
        if not folder.is_dir():
            return [("callbacks=[default,transformers]", "leave a folder to fine-tune from")]
        return [(f"lantu train model=bert model.pretrained={folder} data.tokenizer={folder} data=trec", "fine-tune it")]

    def hide(self, tokens: Tensor, *, stage: str) -> tuple[Tensor, Tensor]:
        """What is shown, and what is to be predicted: two of (N, T); the latter is -100 where nothing is asked."""
        choice, manner, other = _by_chance(tokens) if stage == "train" else _by_content(tokens, ~self.special[tokens])
        if self.whole_words:
            choice = choice.gather(1, self._first_of_word(tokens))
        chosen = (choice < self.masked) & ~self.special[tokens]
        random = self.ordinary[(other * len(self.ordinary)).long().clamp(max=len(self.ordinary) - 1)]
        hidden = torch.where(manner < self.replaced, random, self.mask_id)
        hidden = torch.where(manner >= 1 - self.kept, tokens, hidden)
        return torch.where(chosen, hidden, tokens), tokens.where(chosen, NOT_ASKED)

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        total = F.cross_entropy(output.flatten(0, 1).float(), y.flatten(), ignore_index=NOT_ASKED, reduction="sum")
        return total / self.weight(y).clamp(min=1)  # a few short texts may have no token chosen

    def observe(self, metrics: Metric | MetricCollection, output: Tensor, y: Tensor) -> None:
        is_scored = y != NOT_ASKED
        if is_scored.any():  # of a few short texts none may be
            metrics.update(output[is_scored].argmax(dim=-1), y[is_scored])

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        return {} if stage == "train" else {f"{stage}/perplexity": torch.exp(loss)}

    def _output_and_loss(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        return super()._output_and_loss((*self.hide(batch[0], stage=stage), *batch[2:]), stage)

    def _first_of_word(self, tokens: Tensor) -> Tensor:
        """For each token the place (N, T) where its word begins; a row's first token always begins one."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return torch.where(self.begins[tokens], places, 0).cummax(dim=1).values


def _by_chance(tokens: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.rand(3, *tokens.shape, device=tokens.device))


def _by_content(tokens: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    """Three of (N, T) evenly in [0, 1), from a row's tokens that count and from the place alone."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    row = _mixed(tokens * 1_000_003 + places).where(counts, 0).sum(dim=1, keepdim=True)
    return tuple(_mixed(row + (3 * places + number) * 0x9E3779B9).float() / 2**24 for number in range(3))


def _mixed(numbers: Tensor) -> Tensor:
    """A hash of whole numbers, in [0, 2²⁴): two rounds of multiplying and folding, as in murmur3's finaliser."""
    for factor in (0x2545F4914F6CDD1D, 0x5851F42D4C957F2D):
        numbers = (numbers ^ (numbers >> 29)) * factor  # wraps around at 64 bits
    return (numbers >> 40) & (2**24 - 1)


def _bits(digits: str | None, count: int) -> Tensor:
    if digits is None:
        return torch.ones(count, dtype=torch.bool)
    packed = np.frombuffer(bytes.fromhex(digits), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(packed, count=count).astype(bool))
