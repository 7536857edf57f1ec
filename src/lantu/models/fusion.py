"""A classifier of several inputs, each read by an encoder of its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between

MODALITIES = ("image", "text", "audio")


class Fusion(nn.Module):
    """Early or late fusion (Baltrušaitis et al. 2019, section 7) of pictures, texts and recordings.

    Early: the encoders' vectors are joined and classified together; a learned vector stands for a missing input. Late:
    each vector is classified by itself, and the logits of those present are averaged with learned weights. An encoder
    reads only the rows that have its input, so missing ones change neither the answer nor a batch's statistics.

    Args:
        outputs: classes.
        modalities: the inputs that the data have.
        features: numbers that each encoder gives.
        fusion: early or late.
        hidden: width of the layer over joined vectors.
        dropout: before each linear layer.
        image, text, audio: encoders, (N, ...) to (N, features) each; None: this input is not looked at.

    Shape: {"image": (N, C, H, W), "image_present": (N,) bool, ...} -> (N, outputs).

    Raises:
        UserError: no encoder, one for an input that the data lack, or one that gives another number of features.
    """

    def __init__(
        self,
        outputs: int,
        *,
        modalities: Sequence[str],
        features: int = 64,
        fusion: str = "early",
        hidden: int = 128,
        dropout: float = 0.2,
        image: nn.Module | None = None,
        text: nn.Module | None = None,
        audio: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if fusion not in ("early", "late"):
            raise UserError(f"`model.fusion={fusion}`: encoders are joined by early or late fusion.")
        given = zip(MODALITIES, (image, text, audio), strict=True)
        self.encoders = nn.ModuleDict({name: encoder for name, encoder in given if encoder is not None})
        if not self.encoders:
            raise UserError("`model=fusion` needs an encoder at least: `model.image`, `model.text` or `model.audio`.")
        for name in self.encoders:
            if name not in modalities:
                raise UserError(
                    f"`model.{name}` is an encoder for an input that these data lack; they have "
                    f"{' and '.join(modalities)}. Type `model.{name}=null`, or name a column with `data.{name}`."
                )
        self.features, self.fusion = features, fusion
        self.dropout = nn.Dropout(dropout)
        if fusion == "early":
            self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(features)) for name in self.encoders})
            self.joint = nn.Sequential(nn.Linear(features * len(self.encoders), hidden), nn.ReLU(), nn.Dropout(dropout))
            self.head = nn.Linear(hidden, outputs)
        else:
            self.heads = nn.ModuleDict({name: nn.Linear(features, outputs) for name in self.encoders})
            self.weights = nn.Parameter(torch.zeros(len(self.encoders)))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        read = {name: self._encoded(name, x) for name in self.encoders}
        if self.fusion == "early":
            vectors = [
                torch.where(present[:, None], vector, self.missing[name]) for name, (vector, present) in read.items()
            ]
            return self.head(self.joint(self.dropout(torch.cat(vectors, dim=1))))
        logits = torch.stack([self.heads[name](self.dropout(vector)) for name, (vector, _) in read.items()], dim=1)
        present = torch.stack([there for _, there in read.values()], dim=1)
        # a row without any input that is looked at gets equal logits
        shares = self.weights.masked_fill(~present, -torch.inf).softmax(dim=1).nan_to_num()
        return (logits * shares[..., None]).sum(dim=1)

    def _encoded(self, name: str, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The vectors (N, features) of an input, zeros where it is missing; and where it is present (N,)."""
        values, present = x[name], x[f"{name}_present"]
        if torch.compiler.is_exporting():  # a graph cannot choose rows: it encodes the zeros of missing inputs too
            found = torch.relu(self.encoders[name](values))
            return torch.where(present[:, None], found, torch.zeros_like(found)), present
        everything = bool(present.all())
        chosen = values if everything else values[present]
        found = torch.relu(self.encoders[name](chosen)) if len(chosen) else values.new_zeros(0, self.features).float()
        if found.shape[1:] != (self.features,):
            raise UserError(
                f"`model.{name}` gives {tuple(found.shape[1:])} numbers for each row, and `model.features` is "
                f"{self.features}: set the encoder's outputs to ${{model.features}}."
            )
        if everything:
            return found, present
        vectors = found.new_zeros(len(values), self.features)
        return vectors.index_put((present.nonzero()[:, 0],), found), present
