"""fastText: a linear classifier on the mean of a text's n-gram vectors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between


class FastText(nn.Module):
    """A linear classifier over a bag of n-grams (Joulin et al. 2017), small and fast.

    With characters (`data.level=char`) n-grams are pieces of words in any script; with words they keep some word order.
    Every single token has its own vector; longer n-grams are hashed into `buckets` shared vectors. A text is padded by
    one position on each side, so that n-grams also mark its beginning and end.

    Args:
        vocab_size: number of distinct tokens.
        outputs: classes.
        ngrams: maximum n-gram length; all lengths from 1 are used.
        buckets: vectors for n-grams of two or more tokens.
        width: of a vector.
        dropout: on the mean.
        ngram_dropout: probability that a training step drops an n-gram.
        pad_id: the token that pads texts on the right.

    Shape: (N, L) int64 -> (N, outputs).

    Raises:
        UserError: an option is out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        outputs: int,
        *,
        ngrams: int = 4,
        buckets: int = 2**17,
        width: int = 64,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
        pad_id: int = 0,
    ) -> None:
        super().__init__()
        for name, number in (("ngrams", ngrams), ("buckets", buckets), ("width", width)):
            if number < 1:
                raise UserError(f"`model.{name}={number}` must be at least 1.")
        check_between("dropout", dropout, 0, 1)
        check_between("ngram_dropout", ngram_dropout, 0, 1)
        self.ngrams = ngrams
        self.buckets = buckets
        self.vocab_size = vocab_size
        self.pad_id = pad_id
        self.ngram_dropout = ngram_dropout
        # padding_idx is excluded from the mean
        self.vectors = nn.EmbeddingBag(vocab_size + buckets, width, mode="mean", padding_idx=pad_id)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)
        nn.init.uniform_(self.vectors.weight, -1 / width, 1 / width)
        nn.init.zeros_(self.vectors.weight.data[pad_id])

    def forward(self, tokens: Tensor) -> Tensor:
        numbers = self.numbers(tokens)
        if self.training and self.ngram_dropout:
            unseen = torch.rand(numbers.shape, device=tokens.device) < self.ngram_dropout
            numbers = numbers.masked_fill(unseen, self.pad_id)
        vectors = self._mean(numbers) if torch.compiler.is_exporting() else self.vectors(numbers)
        return self.head(self.dropout(vectors))

    def _mean(self, numbers: Tensor) -> Tensor:
        """The same as `vectors`, whose operator fixes more than one text in a graph."""
        there = (numbers != self.pad_id)[..., None]
        total = (F.embedding(numbers, self.vectors.weight) * there).sum(dim=1)
        return total / there.sum(dim=1).clamp(min=1)

    def numbers(self, tokens: Tensor) -> Tensor:
        """Return the indices (N, M) of a text's n-gram vectors, padded with `pad_id`."""
        found = [tokens]
        edged = F.pad(tokens, (1, 1), value=self.pad_id)  # one position of padding on each side
        there = edged != self.pad_id
        for n in range(2, min(self.ngrams, edged.shape[1]) + 1):
            grams = edged.unfold(1, n, 1)
            key = torch.full_like(grams[..., 0], n)
            for place in range(n):
                key = _mixed(key + grams[..., place])
            window = there.unfold(1, n, 1)  # the ends of an n-gram may be padding, its middle may not
            inside = window[..., 1:-1].all(dim=-1) if n > 2 else window.any(dim=-1)
            found.append((self.vocab_size + key % self.buckets).where(inside, self.pad_id))
        return torch.cat(found, dim=1)


def _mixed(number: Tensor) -> Tensor:
    """Hash integers to non-negative ones: multiply with 64-bit overflow, then mix the high bits into the low ones."""
    number = number * 0x5851F42D4C957F2D
    return (number ^ (number >> 32)) & 0x7FFFFFFFFFFFFFFF
