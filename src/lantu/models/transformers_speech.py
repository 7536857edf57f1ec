"""Speech models of transformers that score characters: wav2vec 2.0, Parakeet (a Conformer), Whisper's encoder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.transformer import form_of
from lantu.notices import warn_once

WAVEFORM = ("wav2vec2", "wav2vec2-conformer", "wav2vec2-bert", "hubert", "wavlm", "unispeech-sat")
"""Models that read samples instead of log-mels."""


class TransformersSpeech(nn.Module):
    """Any `AutoModelForCTC` of transformers, or Whisper's encoder with a linear layer.

    Args:
        bands: mel bands, or 1 where recordings are waveforms (`data.features=waveform`).
        outputs: characters and the blank, which has index 0.
        front_end: what the data give, as `data.features` says. Behind the end of a recording of `whisper_mels` Whisper
            is given silence, as it was trained; otherwise zeros.
        pretrained: a folder or a name on the Hugging Face hub; its output layer is replaced. None: new weights.
        config: of new weights: transformers' config options, with `model_type`.

    Shape: {"features": (N, bands, T), "lengths": (N,)} -> {"logits": (N, T', outputs), "lengths": (N,)}

    Raises:
        UserError: transformers has no such model, cannot read the weights, or the data are of the other kind.
    """

    net: Any

    def __init__(
        self,
        bands: int,
        outputs: int,
        *,
        front_end: str = "mels",
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.front_end = front_end
        options = {**(config or {})}
        kind = str(options.pop("model_type", ""))
        try:
            self.net = self._built(kind, options, outputs, pretrained)
        except (ValueError, OSError, TypeError) as error:
            option = f"pretrained={pretrained}" if pretrained else f"config.model_type={kind}"
            raise UserError(f"`model.{option}` makes no speech model: {str(error).splitlines()[0]}") from error
        self.kind = self.net.config.model_type
        self.head = nn.Linear(self.net.config.d_model, outputs) if self.kind == "whisper" else None
        self._check_bands(bands)
        if self.kind == "whisper" and pretrained and front_end != "whisper_mels":
            warn_once(
                "these log-mels are not those that Whisper was trained on: `data.features=whisper_mels "
                "data.sample_rate=16000 data.augment={}` makes those."
            )
        _warn_of_padding(self.net.config)

    @property
    def form(self) -> dict[str, Any]:
        """The `config` that rebuilds this architecture without the pretrained weights."""
        return form_of(self.net)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x, lengths = batch["features"], batch["lengths"]
        if self.head is not None:
            return self._whisper(x, lengths)
        inside = torch.arange(x.shape[2], device=x.device)[None] < lengths[:, None]
        x = x * inside[:, None]
        if self.kind in WAVEFORM:
            with self._without_masks_longer_than_the_batch(x.shape[2]):
                logits = self.net(input_values=x[:, 0], attention_mask=inside.long()).logits
            lengths = self.net._get_feat_extract_output_lengths(lengths)
        else:
            logits = self.net(input_features=x.transpose(1, 2), attention_mask=inside.long()).logits
            lengths = self.net._get_subsampling_output_length(lengths)
        return {"logits": logits, "lengths": lengths.long().clamp(min=1, max=logits.shape[1])}

    @contextmanager
    def _without_masks_longer_than_the_batch(self, samples: int) -> Iterator[None]:
        """Hide no frames (`mask_time_prob`) where a mask is longer than the batch: transformers fails there."""
        config = self.net.config
        before = config.apply_spec_augment
        config.apply_spec_augment = (
            before and int(self.net._get_feat_extract_output_lengths(samples)) >= config.mask_time_length
        )
        try:
            yield
        finally:
            config.apply_spec_augment = before

    def _whisper(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Every recording is filled up to the same length, as Whisper is trained (Radford et al. 2023)."""
        frames = 2 * self.net.config.max_source_positions
        if x.shape[2] > frames and int(lengths.max()) > frames:
            raise UserError(
                f"`model=whisper` takes recordings of up to {frames} frames, and there is one of {int(lengths.max())}: "
                "raise `model.config.max_source_positions` (two frames each), or leave it out."
            )
        inside = torch.arange(x.shape[2], device=x.device)[None] < lengths[:, None]
        behind = ~nn.functional.pad(inside, (0, max(0, frames - x.shape[2])))[:, None, :frames]
        x = nn.functional.pad(x, (0, max(0, frames - x.shape[2])))[:, :, :frames]
        silence = x.new_zeros(1)
        if self.front_end == "whisper_mels":
            silence = silence_of(x.masked_fill(behind, -torch.inf))
        found = self.net.encoder(torch.where(behind, silence, x)).last_hidden_state
        assert self.head is not None
        return {"logits": self.head(found), "lengths": (lengths + 1) // 2}

    def _built(self, kind: str, options: dict[str, Any], outputs: int, pretrained: str | None) -> Any:
        from transformers import AutoConfig, AutoModelForCTC, WhisperModel

        if pretrained is not None:
            config = AutoConfig.from_pretrained(pretrained)
            if config.model_type == "whisper":
                return _encoder_alone(WhisperModel.from_pretrained(pretrained))
            own = {"vocab_size": outputs, "pad_token_id": 0, "ignore_mismatched_sizes": True}
            net = AutoModelForCTC.from_pretrained(pretrained, **own)
            _renew_output_layer(net)
            return net
        if kind == "whisper":
            return _encoder_alone(WhisperModel(AutoConfig.for_model(kind, **options)))
        return AutoModelForCTC.from_config(
            AutoConfig.for_model(kind, **{**options, "vocab_size": outputs, "pad_token_id": 0})
        )

    def _check_bands(self, bands: int) -> None:
        if self.kind in WAVEFORM:
            if bands != 1:
                raise UserError(f"a {self.kind} model reads waveforms, not mel bands: add `data.features=waveform`.")
            return
        config = self.net.config
        wanted = getattr(config, "num_mel_bins", None) or getattr(config.encoder_config, "num_mel_bins", bands)
        if bands != wanted:
            hint = f"add `data.mels={wanted}`" if bands > 1 else "add `data.features=mels`"
            raise UserError(f"this {self.kind} model reads {wanted} mel bands, and the data have {bands}: {hint}.")


def silence_of(x: Tensor) -> Tensor:
    """What silence behind recordings (N, mels, frames) has as Whisper's log-mels (N, 1, 1).

    Those are (log10(power) + 4) / 4, at most 8 powers of ten below a recording's maximum, and at least of 1e-10.
    """
    return (x.amax((1, 2), keepdim=True) - 8 / 4).clamp(min=(-10 + 4) / 4)


def _renew_output_layer(net: Any) -> None:
    """Initialise the output layer anew, which transformers keeps where the folder has as many symbols by chance."""
    for name in ("lm_head", "ctc_head"):
        if (layer := getattr(net, name, None)) is not None:
            layer.reset_parameters()


def _warn_of_padding(config: Any) -> None:
    """Say that the first layer of a network normalises over a recording's padding too, as wav2vec2-base does."""
    if getattr(config, "feat_extract_norm", "layer") == "group":
        warn_once(
            "this network normalises each recording over its whole batch's length (`feat_extract_norm: group`): its "
            "output for a recording depends on how long the others of its batch are. Measure and predict with "
            "`data.batch_size=1`, or take a folder with `feat_extract_norm: layer`."
        )


def _encoder_alone(net: Any) -> Any:
    """Whisper without its decoder, whose weights would not be trained."""
    net.decoder = None
    return net
