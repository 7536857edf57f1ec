"""A convolutional network for spoken words (Abdel-Hamid et al. 2014, IEEE/ACM TASLP 22(10)).

Speakers differ mostly by a shift along frequency. Filters therefore slide along frequency, followed by max pooling over
neighbouring positions. With limited weight sharing each group of pooled positions has its own filters, because low and
high bands contain different patterns. The paper classifies frames for a hidden Markov model. Here the later layers
convolve over time and are pooled, which gives one output per recording.
"""

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between


class BandFilters(nn.Module):
    """Filters along frequency, the maximum of each over neighbouring positions, batch normalisation and ReLU.

    Args:
        channels, bands, filters, band_filter, context, pool, limited_sharing: as of `SpeechCNN`.
    """

    def __init__(
        self, channels: int, bands: int, *, filters: int, band_filter: int, context: int, pool: int,
        limited_sharing: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        positions = bands - band_filter + 1
        if positions < pool:
            raise UserError(
                f"`model.band_filter={band_filter} model.pool={pool}`: with {bands} mel bands there are only "
                f"{max(positions, 0)} positions to pool. Type smaller ones, or a larger `data.mels`."
            )
        self.groups = positions // pool
        self.pool, self.band_filter, self.limited_sharing = pool, band_filter, limited_sharing
        span = (band_filter, context)
        if limited_sharing:
            # a grouped convolution: each group covers its own frequency range
            self.first = nn.Conv2d(
                channels * self.groups, filters * self.groups, span, (1, 2), (0, context // 2), groups=self.groups
            )
        else:
            self.first = nn.Conv2d(channels, filters, span, (1, 2), (0, context // 2))
        self.norm = nn.BatchNorm1d(filters * self.groups)

    def activations(self, x: Tensor) -> Tensor:
        """(N, channels, bands, T) to (N, filters * groups, T / 2), at least 0."""
        return torch.relu(self.norm(self.pooled(x)))

    def pooled(self, x: Tensor) -> Tensor:
        """Return the maximum of each filter over each group of positions along frequency."""
        size = self.groups * self.pool
        if self.limited_sharing:
            reach = self.pool + self.band_filter - 1
            stretches = x[:, :, : size + self.band_filter - 1].unfold(2, reach, self.pool)  # (N, C, groups, T, reach)
            grouped = stretches.permute(0, 2, 1, 4, 3).flatten(1, 2)  # (N, groups × C, reach, T)
            return self.first(grouped).amax(2).unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        answers = self.first(x)[:, :, :size]  # (N, filters, positions, T)
        return answers.unflatten(2, (self.groups, self.pool)).amax(3).flatten(1, 2)


class SpeechCNN(BandFilters):
    """Convolution and max pooling along frequency, then convolutions over time, then mean and max over time.

    Args:
        channels: of the spectrogram: 1, or 3 with differences in time.
        bands: mel bands.
        outputs: classes.
        filters: of the first layer, in each group of bands.
        width: channels of the layers over time.
        layers: number of layers over time.
        band_filter: kernel size of the first layer in mel bands.
        context: its kernel size in frames; the stride is two frames.
        pool: positions along frequency that are pooled.
        limited_sharing: separate filters for each group of pooled positions.
        dropout: before the last layer.

    Shape: (N, channels, bands, frames) -> (N, outputs), for any number of frames.
    """

    def __init__(
        self,
        channels: int,
        bands: int,
        outputs: int,
        *,
        filters: int = 32,
        width: int = 96,
        layers: int = 3,
        band_filter: int = 8,
        context: int = 5,
        pool: int = 3,
        limited_sharing: bool = False,
        dropout: float = 0.2,
    ) -> None:
        check_between("dropout", dropout, 0, 1)
        if min(filters, width, layers, band_filter, context, pool) < 1:
            raise UserError("the sizes of `model=speech_cnn` (filters, width, layers, ...) must be at least 1.")
        super().__init__(
            channels, bands, filters=filters, band_filter=band_filter, context=context, pool=pool,
            limited_sharing=limited_sharing,
        )  # fmt: skip
        self.body = nn.Sequential()
        inputs = filters * self.groups
        for number in range(layers):
            self.body.append(nn.Conv1d(inputs, width, 1 if number == 0 else 5, padding=0 if number == 0 else 2))
            self.body.append(nn.BatchNorm1d(width))
            self.body.append(nn.ReLU())
            if number > 0:
                self.body.append(nn.MaxPool1d(2, ceil_mode=True))
            inputs = width
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.body(self.activations(x))
        summary = torch.cat([steps.mean(-1), steps.amax(-1)], dim=1)
        return self.head(self.dropout(summary))
