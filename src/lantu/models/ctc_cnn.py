"""Speech recognition by filters that slide along frequency, for speakers whom training lacks.

The first layers of `SpeechCNN` (Abdel-Hamid et al. 2014), whose pooling along frequency forgives another vocal tract,
without its pooling of the whole recording. Frames beyond the end of a recording are zero in every layer, so that an
utterance has the same output alone and in a padded batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.ctc import inside
from lantu.models.layers import check_between
from lantu.models.speech_cnn import BandFilters


class CTCSpeechCNN(BandFilters):
    """Logits of each symbol at every second, fourth, eighth ... frame.

    Args:
        bands: mel bands.
        outputs: symbols and the blank, which has index 0.
        filters: of the first layer, in each group of bands.
        width: channels of the layers over time.
        layers: number of layers over time.
        halvings: layers that halve the number of frames, after the first layer, which does so too. Two leave every
            eighth frame: enough for whole words, too few for characters.
        band_filter: kernel size of the first layer in mel bands.
        context: its kernel size in frames; odd.
        pool: positions along frequency that are pooled.
        limited_sharing: separate filters for each group of pooled positions.
        dropout: before the last layer.

    Shape: {"features": (N, bands, T), "lengths": (N,)} -> {"logits": (N, T', outputs), "lengths": (N,)} with
    T' = ceil(T / 2 ** (1 + halvings)).
    """

    def __init__(
        self,
        bands: int,
        outputs: int,
        *,
        filters: int = 32,
        width: int = 96,
        layers: int = 4,
        halvings: int = 0,
        band_filter: int = 8,
        context: int = 5,
        pool: int = 3,
        limited_sharing: bool = False,
        dropout: float = 0.2,
    ) -> None:
        check_between("dropout", dropout, 0, 1)
        if min(filters, width, layers, band_filter, context, pool) < 1 or context % 2 == 0:
            raise UserError(
                "the sizes of `model=ctc_cnn` (filters, width, layers, ...) must be at least 1, `model.context` odd."
            )
        if not 0 <= halvings < layers:
            raise UserError(f"`model.halvings={halvings}` must be at least 0 and less than `model.layers={layers}`.")
        super().__init__(
            1, bands, filters=filters, band_filter=band_filter, context=context, pool=pool,
            limited_sharing=limited_sharing,
        )  # fmt: skip
        self.halvings = halvings
        sizes = [filters * self.groups] + [width] * layers
        # the first mixes the filters of a frame, the others look at five frames
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[number], width, 5 if number else 1, padding=2 if number else 0) for number in range(layers)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        features, lengths = batch["features"], batch["lengths"]
        x = self.activations((features * inside(lengths, features.shape[2]))[:, None])
        lengths = (lengths + 1) // 2
        x = x * inside(lengths, x.shape[2])
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = torch.relu(norm(convolution(x))) * inside(lengths, x.shape[2])
            if 1 <= number <= self.halvings:  # zeros behind a recording's end are never the maximum
                x = F.max_pool1d(x, 2, ceil_mode=True)
                lengths = (lengths + 1) // 2
        return {"logits": self.head(self.dropout(x.transpose(1, 2))), "lengths": lengths}
