"""GPT: a decoder-only transformer whose options range from GPT-2 (2019) to LLaMA.

Letters at the end of a tensor's name are its dimensions:

    N sequences    T new tokens        S all tokens, cached and new   V vocabulary
    D width        H attention heads   K heads of keys and values     C width of a head    F width inside the MLP
    X heads of queries and keys        P pairs of numbers in a head
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
from lantu.models.slots import KeyValueSlots

MLPS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(F.gelu, approximate="tanh"),
    "relu2": lambda x: F.relu(x).square(),
}
"""Activations of the MLPs with two matrices."""
FLOAT32_ATTENTION = True
"""Whether attention on a CPU is computed in float32: its backward pass is five times slower there in bf16.

`lantu.planning` turns it off to count what a GPU holds.
"""


class GPT(nn.Module):
    """Predict the next token at every position.

    The defaults are LLaMA's; GPT-2 is `positions=learned norm=layer mlp=gelu bias=true`.

    Args:
        vocab_size: number of tokens in the vocabulary.
        context: maximum number of tokens in a sequence.
        width: of the residual stream; divisible by `heads`.
        layers: blocks of attention and MLP.
        heads: number of attention heads.
        kv_heads: heads of keys and values, each shared by heads / kv_heads heads (grouped-query attention,
            Ainslie et al. 2023); None: as many as `heads`.
        hidden: width inside the MLP; None: 4 × width; for swiglu, which has a third matrix, 8/3 × width rounded up
            to 32.
        positions: rope (rotations, Su et al. 2021) or learned (an embedding of every position, GPT-2).
        norm: rms (Zhang and Sennrich 2019) or layer.
        mlp: swiglu (Shazeer 2020), gelu (the tanh form, GPT-2) or relu2 (the square of relu, So et al. 2021; fast).
        qk_norm: normalise queries and keys, which keeps attention logits small (Dehghani et al. 2023).
        tied: the embedding is also the last layer's matrix (Press and Wolf 2017).
        bias: in linear layers and layer norms.
        dropout: on embeddings, attention weights and the output of every block.
        rope_base: base of the rotation frequencies; larger for longer contexts.
        norm_eps: added to the variance.
        boundary_id: the token that begins a document, where a row holds several: no token attends to another document,
            and learned positions count from the start of the document. None: a row is one text.

    Shape: tokens (N, T) int64, T at most `context` -> logits (N, T, V).
    """

    rope_SP2: Tensor
    sharded_as_one = ("Block",)
    """Classes of the modules that are sharded as a unit."""
    splits_logits = True
    """Whether `forward(..., logits=False)` leaves the last layer, `head`, to the loss."""
    adapted = ("qkv",)
    """Suffixes of the names of the layers that `peft=lora` adapts, as peft does GPT-2's `c_attn`."""

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
        mlp: Literal["swiglu", "gelu", "relu2"] = "swiglu",
        qk_norm: bool = False,
        tied: bool = True,
        bias: bool = False,
        dropout: float = 0.0,
        rope_base: float = 10_000.0,
        norm_eps: float = 1e-5,
        boundary_id: int | None = None,
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
            an_mlp = partial(MLP, width, hidden or 4 * width, MLPS[mlp], bias=bias)

        self.context = context
        self.boundary_id = boundary_id
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
        if positions == "rope":
            self.register_buffer("rope_SP2", rope_table(context, width // heads, rope_base), persistent=False)
        self._initialise()

    def forward(
        self, tokens_NT: Tensor, cache: KeyValueCache | KeyValueSlots | None = None, *, logits: bool = True
    ) -> Tensor:
        """Return logits (N, T, V). With a cache, tokens_NT continue the cached tokens and are added to the cache.

        Args:
            cache: of sequences of one length; or slots of different lengths, which take one token of each (T = 1).
            logits: False returns the input of `head`, (N, T, D), for a loss that computes the logits in chunks.
        """
        if isinstance(cache, KeyValueSlots):
            return self._step(tokens_NT, cache)
        start = cache.length if cache else 0
        end = start + tokens_NT.shape[1]
        if end > self.context:
            raise UserError(f"A GPT with `model.context={self.context}` was given {end} tokens at once.")
        positions_NT: slice | Tensor = slice(start, end)
        mask_NTS = None
        if self.boundary_id is not None:
            tokens_NS = cache.read(tokens_NT) if cache else tokens_NT
            positions_NT, mask_NTS = documents(tokens_NS, self.boundary_id, now=tokens_NT.shape[1])
        x_NTD = self.embedding(tokens_NT)
        rope_TP2 = None
        if self.places is None:
            rope_TP2 = self.rope_SP2[start:end]  # relative distances, so documents need no offsets
        else:
            x_NTD = x_NTD + self.places.weight[positions_NT]
        x_NTD = self.dropout(x_NTD)
        for block in self.blocks:
            x_NTD = block(x_NTD, rope_TP2, cache, mask_NTS)
        if cache:
            cache.length = end
        x_NTD = self.norm(x_NTD)
        return self.head(x_NTD) if logits else x_NTD

    def new_cache(self) -> KeyValueCache:
        """An empty cache, for `forward`."""
        return KeyValueCache(len(self.blocks), self.context)

    def new_slots(self, rows: int) -> KeyValueSlots:
        """An empty cache of up to `rows` sequences of different lengths, for `forward`."""
        return KeyValueSlots(len(self.blocks), self.context, rows)

    def _step(self, tokens_N1: Tensor, slots: KeyValueSlots) -> Tensor:
        """Logits (N, 1, V) after one more token of each sequence."""
        at_N1, position_N1, mask_N1S = slots.begin(tokens_N1, self.boundary_id)
        x_N1D = self.embedding(tokens_N1)
        rope_N1P2 = self.rope_SP2[at_N1] if self.places is None else None
        if self.places is not None:
            x_N1D = x_N1D + self.places.weight[position_N1]
        for block in self.blocks:
            x_N1D = block(x_N1D, rope_N1P2, slots, mask_N1S)
        slots.end()
        return self.head(self.norm(x_N1D))

    def _initialise(self) -> None:
        """As GPT-2: standard deviation 0.02, times 1/√(2 × layers) where a layer adds to the residual stream."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim >= 2:
                adds = name.endswith("out.weight")
                nn.init.normal_(parameter, std=0.02 / sqrt(2 * len(self.blocks)) if adds else 0.02)


class Block(nn.Module):
    """Attention, then an MLP; each normalises its input and adds its output to the residual stream."""

    def __init__(
        self, attention_norm: nn.Module, attention: nn.Module, mlp_norm: nn.Module, mlp: nn.Module, *, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.mlp_norm = mlp_norm
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_NTD: Tensor,
        rope_TP2: Tensor | None,
        cache: KeyValueCache | KeyValueSlots | None,
        mask_NTS: Tensor | None,
    ) -> Tensor:
        x_NTD = x_NTD + self.dropout(self.attention(self.attention_norm(x_NTD), rope_TP2, cache, mask_NTS))
        return x_NTD + self.dropout(self.mlp(self.mlp_norm(x_NTD)))


class Attention(nn.Module):
    """Causal self-attention with grouped queries."""

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
        self.qk_norm = qk_norm
        if qk_norm:
            self.query_norm = nn.RMSNorm(self.head_width, eps=norm_eps)
            self.key_norm = nn.RMSNorm(self.head_width, eps=norm_eps)
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(
        self,
        x_NTD: Tensor,
        rope_TP2: Tensor | None,
        cache: KeyValueCache | KeyValueSlots | None,
        mask_NTS: Tensor | None = None,
    ) -> Tensor:
        qkv_NTXC = self.qkv(x_NTD).unflatten(-1, (-1, self.head_width))
        qk_NTXC, v_NTKC = qkv_NTXC.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        if self.qk_norm:
            gains_XC = torch.cat(
                (
                    self.query_norm.weight.expand(self.heads, -1),
                    self.key_norm.weight.expand(self.kv_heads, -1),
                )
            )
            qk_NTXC = F.rms_norm(qk_NTXC.float(), (self.head_width,), eps=self.query_norm.eps) * gains_XC
        if rope_TP2 is not None:
            qk_NTXC = apply_rope(qk_NTXC, rope_TP2)
        q_NHTC, k_NKTC = qk_NTXC.transpose(1, 2).split([self.heads, self.kv_heads], dim=1)
        v_NKTC = v_NTKC.transpose(1, 2)
        k_NKSC, v_NKSC = cache.extend(self.layer, k_NKTC, v_NKTC) if cache else (k_NKTC, v_NKTC)
        y_NHTC = attend(q_NHTC, k_NKSC, v_NKSC, mask_NTS, dropout=self.dropout if self.training else 0.0)
        return self.out(y_NHTC.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two matrices and an activation between them."""

    def __init__(self, width: int, hidden: int, activation: Callable[[Tensor], Tensor], *, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.activation = activation
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, x_NTD: Tensor) -> Tensor:
        return self.out(self.activation(self.up(x_NTD)))


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
    """Cached keys and values of earlier tokens, so that generation processes each token once."""

    def __init__(self, layers: int, context: int) -> None:
        self.length = 0
        """Number of cached tokens; `GPT.forward` updates it after the last layer."""
        self.context = context
        self.kept: list[Tensor | None] = [None] * layers
        self.tokens_NS: Tensor | None = None
        """The cached tokens, for networks with a `boundary_id`."""

    def __bool__(self) -> bool:
        return True

    def read(self, tokens_NT: Tensor) -> Tensor:
        """Append new tokens, and return all tokens (N, S)."""
        self.tokens_NS = tokens_NT if self.tokens_NS is None else torch.cat((self.tokens_NS, tokens_NT), dim=1)
        return self.tokens_NS

    def extend(self, layer: int, k_NKTC: Tensor, v_NKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values, and return all of them, (N, K, S, C) each."""
        kept_2NKSC = self.kept[layer]
        if kept_2NKSC is None:
            sequences, heads, _, head_width = k_NKTC.shape
            kept_2NKSC = self.kept[layer] = k_NKTC.new_empty(2, sequences, heads, self.context, head_width)
        end = self.length + k_NKTC.shape[2]
        kept_2NKSC[0, :, :, self.length : end] = k_NKTC
        kept_2NKSC[1, :, :, self.length : end] = v_NKTC
        return kept_2NKSC[0, :, :, :end], kept_2NKSC[1, :, :, :end]


def attend(q_NHTC: Tensor, k_NKSC: Tensor, v_NKSC: Tensor, mask_NTS: Tensor | None = None, *, dropout: float) -> Tensor:
    """Scaled dot-product attention (N, H, T, C); the T queries are the last of S positions.

    Args:
        mask_NTS: True where a query attends to a key; None: causal.
    """
    now, so_far = q_NHTC.shape[2], k_NKSC.shape[2]
    mask = None if mask_NTS is None else mask_NTS[:, None]
    exporting = torch.compiler.is_exporting()  # where T is symbolic, is_causal cannot depend on it
    if mask_NTS is None and (exporting or 1 < now < so_far):
        # is_causal would align the new tokens with the first, not with the last
        mask = torch.ones(now, so_far, dtype=torch.bool, device=q_NHTC.device).tril(so_far - now)
    attention = partial(
        F.scaled_dot_product_attention,
        attn_mask=mask,
        is_causal=mask is None and 1 < now == so_far,
        dropout_p=dropout,
        enable_gqa=q_NHTC.shape[1] > k_NKSC.shape[1],
    )
    if q_NHTC.device.type != "cpu" or not FLOAT32_ATTENTION:
        return attention(q_NHTC.type_as(v_NKSC), k_NKSC.type_as(v_NKSC), v_NKSC)
    with torch.autocast("cpu", enabled=False):
        return attention(q_NHTC.float(), k_NKSC.float(), v_NKSC.float()).type_as(v_NKSC)


def documents(tokens_NS: Tensor, boundary_id: int, *, now: int) -> tuple[Tensor, Tensor]:
    """For the last `now` of S tokens: their positions (N, T) in their documents, and the attention mask (N, T, S)."""
    is_start_NS = tokens_NS == boundary_id
    document_NS = is_start_NS.cumsum(dim=1)
    position_S = torch.arange(tokens_NS.shape[1], device=tokens_NS.device)
    start_NS = (is_start_NS * position_S).cummax(dim=1).values
    same_NTS = document_NS[:, -now:, None] == document_NS[:, None]
    return (position_S - start_NS)[:, -now:], same_NTS & (position_S <= position_S[-now:, None])


def rope_table(context: int, head_width: int, base: float) -> Tensor:
    """Cosine and sine (context, head_width / 2, 2) of the rotation of each pair of numbers at each position."""
    frequencies = base ** -(torch.arange(0, head_width, 2) / head_width)
    angles = torch.outer(torch.arange(context), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def apply_rope(x_NTXC: Tensor, rope_TP2: Tensor) -> Tensor:
    """Rotate each pair of neighbouring numbers by the angle of its position; the result is float32.

    `rope_TP2` may have a dimension N before: then each sequence has positions of its own. Pairs are interleaved as in
    LLaMA's own code; `transformers` splits a head into halves instead.
    """
    if torch.compiler.is_exporting():  # ONNX has no complex numbers
        cos_T1P, sin_T1P = rope_TP2.float().unsqueeze(-3).unbind(dim=-1)
        even_NTXP, odd_NTXP = x_NTXC.float().unflatten(-1, (-1, 2)).unbind(dim=-1)
        rotated = (even_NTXP * cos_T1P - odd_NTXP * sin_T1P, even_NTXP * sin_T1P + odd_NTXP * cos_T1P)
        return torch.stack(rotated, dim=-1).flatten(-2)
    pairs_NTXP = torch.view_as_complex(x_NTXC.float().unflatten(-1, (-1, 2)))
    rotated_NTXP = pairs_NTXP * torch.view_as_complex(rope_TP2.float()).unsqueeze(-2)
    return torch.view_as_real(rotated_NTXP).flatten(-2)


def _round_up(number: int, multiple: int = 32) -> int:
    return -(-number // multiple) * multiple


def _check(width: int, heads: int, kv_heads: int, **choices: str) -> None:
    known = {"positions": ("rope", "learned"), "norm": ("rms", "layer"), "mlp": ("swiglu", *MLPS)}
    for option, choice in choices.items():
        if choice not in known[option]:
            raise UserError(f"`model.{option}={choice}`: a GPT's {option} is {' or '.join(known[option])}.")
    if width % heads:
        raise UserError(f"`model.width={width}` does not divide by `model.heads={heads}`.")
    if heads % kv_heads:
        raise UserError(f"`model.kv_heads={kv_heads}` does not divide `model.heads={heads}`.")
    if choices["positions"] == "rope" and width // heads % 2:
        raise UserError(f"`model.positions=rope` turns pairs, but each of {heads} heads is {width // heads} wide: odd.")
