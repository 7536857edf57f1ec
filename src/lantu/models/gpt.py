"""GPT, top to bottom: a decoder-only transformer from GPT-2's (2019) to today's by override.

Letters at the end of a tensor's name are its dimensions:

    N sequences    T tokens now        S tokens so far, T included    V vocabulary
    D width        H attention heads   K heads of keys and values     C width of a head    F width inside the MLP
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between

Rotation = tuple[Tensor, Tensor]


class GPT(nn.Module):
    """Predicts the next token at every place.

    The defaults are today's (as LLaMA); GPT-2 is `positions=learned norm=layer mlp=gelu bias=true`.

    Args:
        vocab_size: how many different tokens there are.
        context: the most tokens that it sees at once.
        width: of the residual stream; divisible by `heads`.
        layers: blocks of attention and MLP.
        heads: of attention.
        kv_heads: heads of keys and values, each shared by heads / kv_heads heads (grouped-query attention,
            Ainslie et al. 2023); None: as many as `heads`.
        hidden: width inside the MLP; None: 4 × width for gelu; for swiglu, which has a third matrix, 8/3 × width
            rounded up to 32.
        positions: rope (rotations, Su et al. 2021) or learned (a vector for every place, GPT-2).
        norm: rms (Zhang and Sennrich 2019) or layer.
        mlp: swiglu (Shazeer 2020) or gelu (the tanh form, GPT-2).
        qk_norm: normalise queries and keys, which keeps attention logits small (Dehghani et al. 2023).
        tied: the embedding is also the last layer's matrix (Press and Wolf 2017).
        bias: in linear layers and layer norms.
        dropout: on embeddings, attention and what every block adds.
        rope_base: slowest rotation; larger for longer contexts.
        norm_eps: added to the variance.

    Shape: tokens (N, T) int64, T at most `context` -> logits (N, T, V).
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int | None = None,
        hidden: int | None = None,
        positions: Literal["rope", "learned"] = "rope",
        norm: Literal["rms", "layer"] = "rms",
        mlp: Literal["swiglu", "gelu"] = "swiglu",
        qk_norm: bool = False,
        tied: bool = True,
        bias: bool = False,
        dropout: float = 0.0,
        rope_base: float = 10_000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        _check(width, heads, kv_heads, positions=positions, norm=norm, mlp=mlp)
        check_between("dropout", dropout, 0, 1)
        if norm == "rms":
            a_norm: Callable[[], nn.Module] = partial(nn.RMSNorm, width, eps=norm_eps)
        else:
            a_norm = partial(nn.LayerNorm, width, eps=norm_eps, bias=bias)
        if mlp == "swiglu":
            an_mlp: Callable[[], nn.Module] = partial(SwiGLU, width, hidden or _round_up(8 * width // 3), bias=bias)
        else:
            an_mlp = partial(GELU, width, hidden or 4 * width, bias=bias)

        self.context = context
        self.embedding = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(context, width) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        for layer in range(layers):
            attention = Attention(
                width, heads, kv_heads, layer, qk_norm=qk_norm, norm_eps=norm_eps, bias=bias, dropout=dropout
            )
            self.blocks.append(Block(a_norm(), attention, a_norm(), an_mlp(), dropout=dropout))
        self.norm = a_norm()
        self.head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        cos_SC, sin_SC = rotations(context, width // heads, rope_base)
        self.register_buffer("cos_SC", cos_SC, persistent=False)
        self.register_buffer("sin_SC", sin_SC, persistent=False)
        self._initialise()

    def forward(self, tokens_NT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits (N, T, V). With a cache, tokens_NT continue the tokens that it holds, and it then holds them too."""
        start = cache.length if cache else 0
        end = start + tokens_NT.shape[1]
        if end > self.context:
            raise UserError(f"A GPT with `model.context={self.context}` was given {end} tokens at once.")
        x_NTD = self.embedding(tokens_NT)
        if self.places is not None:
            x_NTD = x_NTD + self.places.weight[start:end]
            rotation = None
        else:
            rotation = (self.cos_SC[start:end], self.sin_SC[start:end])
        x_NTD = self.dropout(x_NTD)
        for block in self.blocks:
            x_NTD = block(x_NTD, rotation, cache)
        if cache:
            cache.length = end
        return self.head(self.norm(x_NTD))

    def new_cache(self) -> KeyValueCache:
        """An empty cache, for `forward`."""
        return KeyValueCache(len(self.blocks), self.context)

    def _initialise(self) -> None:
        """As GPT-2: deviation 0.02, less for what adds to the residual stream, by the number of additions."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim >= 2:
                adds = name.endswith("out.weight")
                nn.init.normal_(parameter, std=0.02 / sqrt(2 * len(self.blocks)) if adds else 0.02)


class Block(nn.Module):
    """Attention, then an MLP; each reads the normed residual stream and adds to it."""

    def __init__(
        self, attention_norm: nn.Module, attention: nn.Module, mlp_norm: nn.Module, mlp: nn.Module, *, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.mlp_norm = mlp_norm
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_NTD: Tensor, rotation: Rotation | None, cache: KeyValueCache | None) -> Tensor:
        x_NTD = x_NTD + self.dropout(self.attention(self.attention_norm(x_NTD), rotation, cache))
        return x_NTD + self.dropout(self.mlp(self.mlp_norm(x_NTD)))


class Attention(nn.Module):
    """Every token looks at itself and at those before it."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        layer: int,
        *,
        qk_norm: bool,
        norm_eps: float,
        bias: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.kv_heads = kv_heads
        self.head_width = width // heads
        self.layer = layer
        self.dropout = dropout
        self.query_norm = nn.RMSNorm(self.head_width, eps=norm_eps) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(self.head_width, eps=norm_eps) if qk_norm else nn.Identity()
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x_NTD: Tensor, rotation: Rotation | None, cache: KeyValueCache | None) -> Tensor:
        heads_NXTC = self.qkv(x_NTD).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        q_NHTC, k_NKTC, v_NKTC = heads_NXTC.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        q_NHTC, k_NKTC = self.query_norm(q_NHTC), self.key_norm(k_NKTC)
        if rotation is not None:
            q_NHTC, k_NKTC = rotate(q_NHTC, *rotation), rotate(k_NKTC, *rotation)
        k_NKSC, v_NKSC = cache.extend(self.layer, k_NKTC, v_NKTC) if cache else (k_NKTC, v_NKTC)
        now, so_far = q_NHTC.shape[2], k_NKSC.shape[2]
        mask_TS = None
        if 1 < now < so_far:  # is_causal would align the new tokens with the first ones, not with the last
            mask_TS = torch.ones(now, so_far, dtype=torch.bool, device=x_NTD.device).tril(so_far - now)
        y_NHTC = F.scaled_dot_product_attention(
            q_NHTC,
            k_NKSC,
            v_NKSC,
            attn_mask=mask_TS,
            is_causal=now == so_far,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.kv_heads < self.heads,
        )
        return self.out(y_NHTC.transpose(1, 2).flatten(2))


class GELU(nn.Module):
    """GPT-2's MLP."""

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, x_NTD: Tensor) -> Tensor:
        return self.out(F.gelu(self.up(x_NTD), approximate="tanh"))


class SwiGLU(nn.Module):
    """LLaMA's MLP: one half of the hidden layer gates the other."""

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=bias)
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, x_NTD: Tensor) -> Tensor:
        gate_NTF, value_NTF = self.up(x_NTD).chunk(2, dim=-1)
        return self.out(F.silu(gate_NTF) * value_NTF)


class KeyValueCache:
    """Keys and values of the tokens read so far, so that generating reads each token once."""

    def __init__(self, layers: int, context: int) -> None:
        self.length = 0
        """Tokens held; the network moves it on when all its layers have read them."""
        self.context = context
        self.kept: list[Tensor | None] = [None] * layers

    def __bool__(self) -> bool:
        return True

    def extend(self, layer: int, k_NKTC: Tensor, v_NKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's new keys and values; returns all of them, (N, K, S, C) each."""
        kept_2NKSC = self.kept[layer]
        if kept_2NKSC is None:
            sequences, heads, _, head_width = k_NKTC.shape
            kept_2NKSC = self.kept[layer] = k_NKTC.new_empty(2, sequences, heads, self.context, head_width)
        end = self.length + k_NKTC.shape[2]
        kept_2NKSC[0, :, :, self.length : end] = k_NKTC
        kept_2NKSC[1, :, :, self.length : end] = v_NKTC
        return kept_2NKSC[0, :, :, :end], kept_2NKSC[1, :, :, :end]


def rotations(context: int, head_width: int, base: float) -> Rotation:
    """Cosines and sines (context, head_width / 2) of the angles by which each place turns each pair of numbers."""
    frequencies = base ** -(torch.arange(0, head_width, 2) / head_width)
    angles = torch.outer(torch.arange(context), frequencies)
    return angles.cos(), angles.sin()


def rotate(x_NHTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    """Turn each pair of a head's numbers by its place's angle; in float32, whatever the precision around it."""
    first, second = x_NHTC.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos_TC - second * sin_TC, second * cos_TC + first * sin_TC), dim=-1)
    return turned.type_as(x_NHTC)


def _round_up(number: int, multiple: int = 32) -> int:
    return -(-number // multiple) * multiple


def _check(width: int, heads: int, kv_heads: int, **choices: str) -> None:
    known = {"positions": ("rope", "learned"), "norm": ("rms", "layer"), "mlp": ("swiglu", "gelu")}
    for option, choice in choices.items():
        if choice not in known[option]:
            raise UserError(f"`model.{option}={choice}`: a GPT's {option} is {' or '.join(known[option])}.")
    if width % heads:
        raise UserError(f"`model.width={width}` does not divide by `model.heads={heads}`.")
    if heads % kv_heads:
        raise UserError(f"`model.kv_heads={kv_heads}` does not divide `model.heads={heads}`.")
    if choices["positions"] == "rope" and width // heads % 2:
        raise UserError(f"`model.positions=rope` turns pairs, but each of {heads} heads is {width // heads} wide: odd.")
