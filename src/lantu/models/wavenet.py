"""WaveNet: a network that predicts a recording sample by sample (van den Oord et al. 2016, arXiv:1609.03499).

Samples are mu-law codes of 256 classes. Each is predicted from those before it by dilated causal convolutions with
gated units. What is to be said enters every layer: log-mel frames, or characters that a front end has aligned with the
frames (`lantu.models.text_frames`), and the speaker.

Tensors of samples are laid out (T, N, channels), time first: the samples that a dilated convolution of two taps looks
at are then two contiguous slices, and the convolution is two matrix products without a copy. `lantu.models.
wavenet_generation` generates with queues of what each layer has computed.
"""

import math
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between
from lantu.models.text_frames import TextFrames

CLASSES = 256
"""Values of a sample after mu-law companding."""
CHUNK_FRAMES = 100
"""Frames whose samples are scored at a time in evaluation, so that memory does not grow with a recording's length."""


SILENCE = 128
"""The code of 0."""
SMALLEST_LOG_SCALE = -7.0
"""Of a logistic distribution in a mixture: a tenth of a code's width."""


class WaveNet(nn.Module):
    """Log probabilities of recordings given text, log-mel frames, a speaker, or nothing.

    Args:
        hop: samples of a frame.
        bands: mel bands of a frame.
        characters: how many there are; frames are computed from them with `condition="characters"`.
        speakers: how many there are.
        condition: characters, mels or none.
        channels: of the residual connections and of each half of a gated unit.
        skip: channels that the layers' outputs are added up in.
        layers: dilated convolutions.
        dilations: doublings before the dilation begins at 1 again: 9 for 1, 2, ..., 256.
        width: channels of the text front end and of the network that smooths frames.
        dropout: in the text front end.
        output: classes: a probability for each of the 256 codes. logistics: a mixture of logistic distributions over
            the codes' values (Salimans et al. 2017; van den Oord et al. 2018).
        mixtures: logistic distributions of a mixture.
    """

    no_graph = "it draws each sample of a recording from those before it, which is a loop around the network"

    def __init__(
        self,
        hop: int,
        bands: int,
        characters: int,
        speakers: int = 1,
        *,
        condition: str = "characters",
        channels: int = 32,
        skip: int = 64,
        layers: int = 9,
        dilations: int = 9,
        width: int = 96,
        dropout: float = 0.1,
        output: str = "classes",
        mixtures: int = 10,
    ) -> None:
        super().__init__()
        if output not in ("classes", "logistics"):
            raise UserError(f"`model.output={output}`: samples are predicted as classes or by logistics.")
        if mixtures < 1:
            raise UserError(f"`model.mixtures={mixtures}` must be at least 1.")
        if condition not in ("characters", "mels", "none"):
            raise UserError(f"`model.condition={condition}`: WaveNet is conditioned on characters, mels or none.")
        if condition == "characters" and not characters:
            raise UserError("`model.condition=characters` needs transcripts, and the data have none: `mels` or `none`.")
        if min(hop, channels, skip, layers, dilations, width) < 1:
            raise UserError("`model.channels`, `.skip`, `.layers`, `.dilations` and `.width` must be at least 1.")
        check_between("dropout", dropout, 0, 1)
        self.hop, self.condition, self.channels = hop, condition, channels
        self.dilations = list(islice(cycle(2**power for power in range(dilations)), layers))
        self.embed = nn.Embedding(CLASSES, channels)
        self.layers = nn.ModuleList(Layer(channels, dilation=each) for each in self.dilations)
        self.skip = nn.Linear(layers * channels, skip)
        self.hidden = nn.Linear(skip, skip)
        self.mixtures = mixtures if output == "logistics" else 0
        self.head = nn.Linear(skip, 3 * mixtures if self.mixtures else CLASSES)
        self.text = TextFrames(characters, bands, width=width, dropout=dropout) if condition == "characters" else None
        self.smooth = nn.Conv1d(bands, width, 5, padding=2) if condition == "mels" else None
        # what conditions each layer's gated unit, for all layers at once
        self.local = nn.Linear(width, 2 * channels * layers, bias=False) if condition != "none" else None
        self.speaker = nn.Embedding(speakers, 2 * channels * layers) if speakers > 1 else None
        self._begin_smoothly()

    @property
    def field(self) -> int:
        """Samples before the predicted one that it depends on."""
        return 1 + sum(self.dilations)

    @property
    def context_frames(self) -> int:
        """Frames before the first scored one that its samples depend on."""
        return -(-self.field // self.hop)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Score recordings, or stretches of them.

        Args:
            batch: "codes" (N, T), of which T is a multiple of `hop`; "begin" (N,), the frame of the recording that
                they begin at; "scored" (N,), how many of the last samples are scored, and "ends" (N,), where those end;
                "mels" (N, bands, frames) of the whole recording and "lengths" (N,); "tokens" (N, characters) and
                "token_lengths" (N,); "speaker" (N,).

        Returns:
            "nats" (N,): the negative log likelihood of the scored samples; and the parts of the front end's loss.
        """
        frames, parts = self._frames(batch)
        codes, context = batch["codes"], self.context_frames
        count = codes.shape[1] // self.hop
        cond = None if frames is None else cut(frames, batch["begin"], count)
        places = torch.arange(codes.shape[1], device=codes.device)[None]
        inside = (places < batch["ends"][:, None]) & (places >= (batch["ends"] - batch["scored"])[:, None])
        if self.training:
            chunks = [(0, count)]
        else:  # without what training keeps of every layer; each with the context that its first sample depends on
            chunks = [
                (max(0, first - context), min(first + CHUNK_FRAMES, count)) for first in range(0, count, CHUNK_FRAMES)
            ]
        nats, done = codes.new_zeros(len(codes), dtype=torch.float32), 0
        for begin, end in chunks:
            before = (
                codes[:, begin * self.hop - 1 : end * self.hop - 1] if begin else _delayed(codes[:, : end * self.hop])
            )
            skipped = done - begin * self.hop  # context alone: scored in the chunk before
            found = self._outputs(
                before,
                self.conditioning(None if cond is None else cond[:, :, begin:end], batch.get("speaker")),
                skip=skipped,
            )
            here = codes[:, done : end * self.hop]
            if self.mixtures:
                losses = -mixture_log_probs(found, here.T[..., None])[..., 0].T
            else:
                losses = F.cross_entropy(found.flatten(0, 1), here.T.flatten(), reduction="none").view(-1, len(codes)).T
            nats = nats + (losses * inside[:, done : end * self.hop]).sum(1)
            done = end * self.hop
        return {"nats": nats, **parts}

    def conditioning(self, frames: Tensor | None, speaker: Tensor | None) -> Tensor | None:
        """What enters the layers: (F, N, layers, 2 × channels) of frames (N, width, F); F is 1 for a speaker alone."""
        shape = (len(self.dilations), 2 * self.channels)
        cond = None
        if frames is not None and self.local is not None:
            cond = self.local(frames.permute(2, 0, 1)).unflatten(-1, shape)
        if self.speaker is not None and speaker is not None:
            own = self.speaker(speaker)[None].unflatten(-1, shape)
            cond = own if cond is None else cond + own
        return cond

    def logits(self, before: Tensor, cond: Tensor | None, *, skip: int = 0) -> Tensor:
        """Scores (T - skip, N, 256) of the samples that follow each of `before` (N, T), the first `skip` left out."""
        return self.scores(self._outputs(before, cond, skip=skip))

    def scores(self, outputs: Tensor) -> Tensor:
        """Scores (..., 256) of the codes from the last layer's outputs: logits, or a mixture's log probabilities."""
        return mixture_log_probs(outputs) if self.mixtures else outputs

    def _outputs(self, before: Tensor, cond: Tensor | None, *, skip: int = 0) -> Tensor:
        """Of the last layer (T - skip, N, outputs)."""
        x = self.embed(before.T)
        gated = []
        for number, layer in enumerate(self.layers):
            x, z = layer(x, None if cond is None else cond[:, :, number], hop=self.hop)
            gated.append(z[skip:])
        h = torch.relu(self.skip(torch.cat(gated, dim=-1)))
        return self.head(torch.relu(self.hidden(h)))

    def frames_of(self, batch: dict[str, Tensor]) -> Tensor | None:
        """Frames (N, width, F) to generate from: of "tokens", with predicted durations, or of "mels"."""
        if self.text is not None:
            return self.text.from_text(batch["tokens"], batch["token_lengths"])[0]
        return None if self.smooth is None else torch.relu(self.smooth(batch["mels"]))

    def _frames(self, batch: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
        if self.text is not None:
            return self.text(batch)
        return self.frames_of(batch), {}

    def _begin_smoothly(self) -> None:
        """Begin with neighbouring codes embedded alike: random Fourier features of their value."""
        with torch.no_grad():
            value = torch.linspace(-1, 1, CLASSES)[:, None]
            waves = torch.randn(1, self.channels) * 6
            self.embed.weight.copy_(torch.sin(value * waves + torch.rand(1, self.channels) * 2 * math.pi))
            self.head.weight.mul_(0.1)
            if self.mixtures:  # evenly spread over the codes
                weights, scales = torch.zeros(self.mixtures), torch.full((self.mixtures,), -2.0)
                self.head.bias.copy_(torch.cat([weights, torch.linspace(-0.8, 0.8, self.mixtures), scales]))
            if self.speaker is not None:
                self.speaker.weight.mul_(0.1)


class Layer(nn.Module):
    """A dilated causal convolution of two taps, a gated unit and a residual connection.

    Shape: (T, N, channels) -> the next layer's (T, N, channels), the gated unit's (T, N, channels)
    """

    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.dilation, self.channels = dilation, channels
        self.now = nn.Linear(channels, 2 * channels)
        self.past = nn.Linear(channels, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, cond: Tensor | None, *, hop: int) -> tuple[Tensor, Tensor]:
        """`cond` is (F, N, 2 × channels), of which each holds for `hop` samples, or for all where F is 1."""
        past = torch.cat([x.new_zeros(min(self.dilation, len(x)), *x.shape[1:]), x[: -self.dilation]])
        a = self.now(x) + self.past(past)
        if cond is not None:
            a = (a + cond) if len(cond) == 1 else (a.unflatten(0, (-1, hop)) + cond[:, None]).flatten(0, 1)
        z = torch.tanh(a[..., : self.channels]) * torch.sigmoid(a[..., self.channels :])
        return x + self.out(z), z


def mixture_log_probs(outputs: Tensor, codes: Tensor | None = None) -> Tensor:
    """Log probabilities of codes under mixtures of K logistic distributions over their values, -1 to 1.

    A code has what lies nearer to its value than to its neighbours', the first and the last code also what is beyond
    them, so that all 256 sum to 1.

    Args:
        outputs: (..., 3 × K): the logits of the weights, the means, the logarithms of the scales.
        codes: (..., C); None: all 256.
    """
    weights, means, log_scales = outputs.float().unflatten(-1, (3, -1)).unbind(-2)
    if codes is None:
        codes = torch.arange(CLASSES, device=outputs.device).expand(*weights.shape[:-1], -1)
    half = 1 / (CLASSES - 1)
    value = ((2 * codes - (CLASSES - 1)) * half)[..., None].float()  # (..., C, 1)
    steepness = log_scales.clamp(min=SMALLEST_LOG_SCALE).neg().exp()[..., None, :]
    above = (value + half - means[..., None, :]) * steepness
    below = (value - half - means[..., None, :]) * steepness
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), whose logarithm is exact in the tails
    first, last = (codes == 0)[..., None], (codes == CLASSES - 1)[..., None]
    inner = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * half * steepness))
    each = torch.where(first, F.logsigmoid(above), torch.where(last, F.logsigmoid(-below), inner))
    return (each + weights.log_softmax(-1)[..., None, :]).logsumexp(-1)


def cut(frames: Tensor, begin: Tensor, count: int) -> Tensor:
    """`count` frames of each of N, from its own beginning: (N, C, F) to (N, C, count), zero outside."""
    places = begin[:, None] + torch.arange(count, device=frames.device)[None]
    outside = (places < 0) | (places >= frames.shape[2])
    found = frames.gather(2, places.clamp(0, frames.shape[2] - 1)[:, None].expand(-1, frames.shape[1], -1))
    return found.masked_fill(outside[:, None], 0.0)


def _delayed(codes: Tensor) -> Tensor:
    """Each sample's predecessor, silence before the first: (N, T) to (N, T)."""
    return torch.cat([torch.full_like(codes[:, :1], SILENCE), codes[:, :-1]], dim=1)
