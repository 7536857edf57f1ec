"""Contiguous batches of a text, for networks that carry their state from batch to batch."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class Streams(Dataset):
    """The text cut into `rows` streams of equal length; each row of a batch continues the same row of the batch before.

    The order is that of batches of `rows` examples, unshuffled. The last batch has shorter rows if `context` does not
    divide the stream length. The fewer than `rows` tokens that are left over at the end of the text are dropped.

    Args:
        tokens: (M,), more than `context`; may be memory-mapped.
        context: T, the length of a row.
        rows: maximum number of streams; fewer if a stream would be shorter than a row.
    """

    def __init__(self, tokens: np.ndarray, context: int, *, rows: int) -> None:
        self.tokens = tokens
        self.context = context
        self.rows = min(rows, (len(tokens) - 1) // context)
        self.length = (len(tokens) - 1) // self.rows
        """Target tokens of each stream."""

    def __len__(self) -> int:
        return self.rows * -(-self.length // self.context)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        stretches, rows = np.divmod(np.asarray(indices), self.rows)
        begins = stretches * self.context
        size = min(self.context, self.length - int(begins.max()))
        places = (rows * self.length + begins)[:, None] + np.arange(size + 1)
        tokens = torch.from_numpy(self.tokens[places].astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]
