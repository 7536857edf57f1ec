"""Windows of texts in many languages: temperature sampling for training, every token once for evaluation."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.samplers import Chosen
from lantu.ignore_index import NOT_ASKED

Batch = tuple[Tensor, Tensor, Tensor]


class Stretches(Dataset):
    """Windows in which every token of every language is a target once; no window contains two languages.

    Batches are x int64 (N, context), y, the same shifted by one token, and about int64 (N, 2): the language's index and
    the UTF-8 bytes of the row's targets. Rows are padded at the end of a text, with token 0 in x and -100 in y.

    Args:
        tokens: token ids (T,) of each language; may be empty.
        context: tokens of a row.
        sizes: UTF-8 bytes of each token of the vocabulary.
        tags: the language token (L,) that begins every row of a language. None: a row begins with the token before its
            first target, so that the first token of each language is not a target.
    """

    def __init__(
        self, tokens: list[np.ndarray], context: int, *, sizes: np.ndarray, tags: np.ndarray | None = None
    ) -> None:
        self.tokens = np.concatenate(tokens)
        self.context = context
        self.sizes = sizes
        self.tags = tags
        self.lead = int(tags is None)
        """Tokens of a row before its first target."""
        counts = np.array([len(each) for each in tokens])
        self.ends = counts.cumsum()
        self.begins = self.ends - counts
        rows = -(-np.maximum(counts - self.lead, 0) // context)
        self.languages = np.repeat(np.arange(len(tokens)), rows)
        self.starts = self.begins[self.languages] + context * _counting(rows)

    def __len__(self) -> int:
        return len(self.languages)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.rows(self.languages[indices], self.starts[indices])

    def __getitem__(self, index: int) -> Batch:
        x, y, about = self.__getitems__([index])
        return x[0], y[0], about[0]

    def rows(self, languages: np.ndarray, starts: np.ndarray) -> Batch:
        """Return the rows of languages (N,) that begin at positions (N,) of the concatenated tokens."""
        places = starts[:, None] + np.arange(self.context + self.lead)
        inside = places < self.ends[languages][:, None]
        stretch = np.where(inside, self.tokens[np.minimum(places, len(self.tokens) - 1)].astype(np.int64), 0)
        if self.tags is not None:
            stretch = np.concatenate((self.tags[languages][:, None], stretch), axis=1)
            inside = np.concatenate((inside[:, :1], inside), axis=1)
        x, y, scored = stretch[:, :-1], stretch[:, 1:], inside[:, 1:]
        about = np.stack([languages, np.where(scored, self.sizes[y], 0).sum(axis=1)], axis=1)
        return torch.from_numpy(x), torch.from_numpy(np.where(scored, y, NOT_ASKED)), torch.from_numpy(about)


class Mixture(Stretches):
    """Temperature sampling: each row's language is drawn with p ∝ size^alpha, its position uniformly.

    An epoch has as many rows as `Stretches`. A row depends only on the seed, its index and, in training, the epoch: not
    on global random state, the data worker or the rows fetched before.

    Args:
        alpha: 1 samples languages in proportion to size, 0 uniformly; XLM-R (Conneau et al. 2020) uses 0.3.
        seed: of the draws.
        options: of `Stretches`.
    """

    def __init__(self, tokens: list[np.ndarray], context: int, *, alpha: float, seed: int, **options: Any) -> None:
        super().__init__(tokens, context, **options)
        self.seed = seed
        sizes = [self.sizes[each].sum() if len(each) > self.lead else 0 for each in tokens]
        self.shares = shares_of(np.array(sizes), alpha)
        self._drawn = lru_cache(maxsize=2)(self._draw)

    def __getitems__(self, indices: list[int]) -> Batch:
        languages, starts = self._drawn(indices.epoch if isinstance(indices, Chosen) else 0)
        return self.rows(languages[indices], starts[indices])

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_drawn"}  # a cache cannot be pickled

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._drawn = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng((self.seed, epoch))
        languages = random.choice(len(self.shares), size=len(self), p=self.shares)
        room = np.maximum(self.ends - self.begins - self.context - self.lead + 1, 1)[languages]
        return languages, self.begins[languages] + (random.random(len(self)) * room).astype(np.int64)


def shares_of(sizes: np.ndarray, alpha: float) -> np.ndarray:
    """Return the probability of each language (L,): p ∝ size^alpha, and 0 for an empty text."""
    weights = np.where(sizes > 0, np.power(np.maximum(sizes, 1).astype(float), alpha), 0.0)
    return weights / weights.sum()


def _counting(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, ..., count - 1 for each count, concatenated."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
