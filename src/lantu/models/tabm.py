"""TabM: an ensemble of MLPs that share most of their weights, for tables (Gorishniy et al. 2025, arXiv 2410.24210)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.extras import require
from lantu.models.layers import check_between
from lantu.models.linear_base import LinearBase


class TabM(nn.Module):
    """Yandex's `tabm.TabM`, with periodic embeddings of numeric features (Gorishniy et al. 2022).

    In training each member has its own output, and the loss is the mean of theirs. In evaluation the output is the mean
    of the members' predictions, or for classes the logarithm of their mean probabilities.

    Args:
        features: numbers per example.
        outputs: classes or targets.
        task: classification or regression, which determines how the members' outputs are averaged.
        numeric_features: indices of the numeric features; the others are used unchanged.
        members: MLPs in the ensemble.
        width: of a hidden layer.
        layers: number of hidden layers.
        dropout: probability, on hidden activations.
        embedding: width of a number's embedding.
        frequencies: number of sines and cosines in it.
        frequency_scale: standard deviation of the initial frequencies.
        linear_base: add the output of a linear model to that of each member, as in `MLP`.

    Shape: (N, features) -> (N, members, outputs) in training, (N, outputs) otherwise.
    """

    places: Tensor
    others: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        task: Literal["classification", "regression"] = "classification",
        numeric_features: Sequence[int] = (),
        members: int = 16,
        width: int = 192,
        layers: int = 2,
        dropout: float = 0.1,
        embedding: int = 12,
        frequencies: int = 24,
        frequency_scale: float = 0.1,
        linear_base: bool | Literal["auto"] = False,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        for name, value in (("members", members), ("width", width), ("layers", layers), ("embedding", embedding)):
            if value < 1:
                raise UserError(f"`model.{name}={value}` must be at least 1.")
        for package in ("tabm", "rtdl_num_embeddings"):
            require(package, asked="model=tabm", extra="tables")
        from rtdl_num_embeddings import PeriodicEmbeddings
        from tabm import TabM as Library

        numeric = sorted(set(numeric_features))
        plain = sorted(set(range(features)) - set(numeric))
        self.task = task
        self.members = members
        self.register_buffer("places", torch.tensor(numeric, dtype=torch.long), persistent=False)
        self.register_buffer("others", torch.tensor(plain, dtype=torch.long), persistent=False)
        self.embeddings = (
            PeriodicEmbeddings(
                len(numeric), embedding, n_frequencies=frequencies, frequency_init_scale=frequency_scale, lite=True
            )
            if numeric
            else None
        )
        self.body = Library.make(
            n_num_features=embedding * len(numeric) + features,
            d_out=outputs, k=members, n_blocks=layers, d_block=width, dropout=dropout,
        )  # fmt: skip
        self.linear_base = LinearBase(features, outputs) if linear_base is True else None

    @property
    def output_layer(self) -> nn.Module:
        return self.body.output

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        parts = [x]
        if self.embeddings is not None:
            parts.append(self.embeddings(x[:, self.places]).flatten(1))
        # what `self.body` does with numbers; its check by len(x) would fix the batch of a trace for export
        members = self.body.ensemble_view(torch.cat(parts, dim=1))
        answers = self.body.output(self.body.backbone(members))
        if self.linear_base is not None:
            answers = answers + self.linear_base(x)[:, None]
        if self.training:
            return answers
        if self.task == "regression":
            return answers.mean(dim=1)
        return answers.float().log_softmax(dim=-1).logsumexp(dim=1)
