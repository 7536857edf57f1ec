"""The last layer of face recognition: cosines to a centre of each class, with a margin for the right one."""

from math import cos, pi, sin

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError

KINDS = ("arcface", "cosface", "softmax")


class MarginHead(nn.Module):
    """Logits of a softmax over classes, from embeddings.

    arcface (Deng et al. 2019) is scale · cos(θ + margin) for the right class and scale · cos θ for the others, θ the
    angle between an embedding and the class's centre. Where θ + margin would pass π, the margin is taken off the
    cosine instead, as in the authors' code, so that the logit keeps falling. cosface (Wang et al. 2018) is
    scale · (cos θ - margin). softmax is scale · cos θ without a margin.

    Args:
        width: of embeddings; classes: how many.
        kind: arcface, cosface or softmax.
        margin: radians for arcface, a difference of cosines for cosface.
        scale: of the logits.

    Shape: (N, width), classes (N,) or None -> (N, classes).
    """

    def __init__(self, width: int, classes: int, *, kind: str, margin: float, scale: float) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"`task.head={kind}`: the heads are {', '.join(KINDS)}.")
        if not 0 <= margin < pi / 2 or scale <= 0:
            raise UserError("`task.margin` lies from 0 to below 1.57, and `task.scale` above 0.")
        self.kind, self.margin, self.scale = kind, margin, scale
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        cosine = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=1).T
        if y is None or self.kind == "softmax":
            return self.scale * cosine
        right = cosine.gather(1, y[:, None])
        moved = right - self.margin if self.kind == "cosface" else self._turned(right)
        return self.scale * cosine.scatter(1, y[:, None], moved)

    def _turned(self, cosine: Tensor) -> Tensor:
        """cos(θ + margin) of cos θ."""
        sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()
        turned = cosine * cos(self.margin) - sine * sin(self.margin)
        return torch.where(cosine > cos(pi - self.margin), turned, cosine - self.margin * sin(self.margin))
