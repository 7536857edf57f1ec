"""A points scorecard: logistic regression on weight of evidence (Siddiqi 2006)."""

from math import log
from typing import Any

import torch
from torch import Tensor, nn


class Scorecard(nn.Module):
    """Log-odds of the positive class are a weighted sum of each column's weight of evidence.

    Takes x (N, columns), each column's weight of evidence, and answers logits (N, 2). Training begins at weights of 1,
    which is naive Bayes. A high score means low odds of the positive class:
    score = points + pdo / log(2) * (log odds of the negative class - log(odds)).

    Args:
        columns: as the data publish them: name, bins (what each holds), woe, rows and positives of each bin.
        points: the score at `odds`, which are those of the negative class to the positive one.
        odds: see `points`.
        pdo: points that double the odds.
        nonnegative: keep weights at zero or above, so that no column counts against its own evidence.
    """

    has_score = True

    def __init__(
        self,
        *,
        columns: list[dict[str, Any]],
        points: float = 600,
        odds: float = 50,
        pdo: float = 20,
        nonnegative: bool = True,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.nonnegative = nonnegative
        self.factor = pdo / log(2)
        self.offset = points - self.factor * log(odds)
        rows, positives = sum(columns[0]["rows"]), sum(columns[0]["positives"])
        self.weight = nn.Parameter(torch.ones(len(columns)))
        self.bias = nn.Parameter(torch.tensor([log(positives / (rows - positives))]))

    def forward(self, x: Tensor) -> Tensor:
        odds = x @ self._weights() + self.bias
        return torch.stack([torch.zeros_like(odds), odds], dim=-1)

    def score(self, x: Tensor) -> Tensor:
        """The score (N,) of x (N, columns): the sum of the points of `table`, whole numbers."""
        return self._points(x, self._weights()).sum(dim=-1)

    def table(self) -> dict[str, list[Any]]:
        """The points of each bin, with its training rows, the share of positives and the weight of evidence."""
        weights = self._weights().detach().cpu()
        found: dict[str, list[Any]] = {
            name: [] for name in ("column", "bin", "rows", "positives", "woe", "information_value", "points")
        }
        for place, column in enumerate(self.columns):
            woe = torch.tensor(column["woe"], dtype=torch.float32)
            points = self._points(woe[:, None], weights[place : place + 1])[:, 0]
            count = len(column["bins"])
            found["column"] += [column["name"]] * count
            found["bin"] += column["bins"]
            found["rows"] += column["rows"]
            found["positives"] += [
                round(bad / max(1, n), 4) for bad, n in zip(column["positives"], column["rows"], strict=True)
            ]
            found["woe"] += [round(float(each), 4) for each in woe]
            found["information_value"] += [round(float(column["information_value"]), 4)] * count
            found["points"] += [int(each) for each in points]
        return found

    def _weights(self) -> Tensor:
        return self.weight.clamp(min=0) if self.nonnegative else self.weight

    def _points(self, woe: Tensor, weights: Tensor) -> Tensor:
        """Points of each column, rounded; those of the intercept are spread evenly over the columns."""
        start = (self.offset - self.factor * self.bias.to(woe.device)) / len(self.columns)
        return torch.round(start - self.factor * weights * woe)
