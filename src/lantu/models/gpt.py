"""GPT, top to bottom: a decoder-only transformer from GPT-2's (2019) to today's by override.

Letters at the end of a tensor's name are its dimensions:

    N sequences    T tokens now        S tokens so far, T included    V vocabulary
    D width        H attention heads   K heads of keys and values     C width of a head    F width inside the MLP
    X several heads side by side       P pairs of numbers in a head
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
        hidden: width inside the MLP; None: 4 × width; for swiglu, which has a third matrix, 8/3 × width rounded up
            to 32.
        positions: rope (rotations, Su et al. 2021) or learned (a vector for every place, GPT-2).
        norm: rms (Zhang and Sennrich 2019) or layer.
        mlp: swiglu (Shazeer 2020), gelu (the tanh form, GPT-2) or relu2 (the square of relu, So et al. 2021; fast).
        qk_norm: normalise queries and keys, which keeps attention logits small (Dehghani et al. 2023).
        tied: the embedding is also the last layer's matrix (Press and Wolf 2017).
        bias: in linear layers and layer norms.
        dropout: on embeddings, attention and what every block adds.
        rope_base: slowest rotation; larger for longer contexts.
        norm_eps: added to the variance.
        boundary_id: the token that begins a document, where several lie in a row: no token sees another document, and
            learned positions count from the document's beginning. None: a row is one text.

    Shape: tokens (N, T) int64, T at most `context` -> logits (N, T, V).
    """

    turns_SP2: Tensor
    sharded_as_one = ("Block",)
    """Classes of the parts that are split over devices as one."""
    splits_logits = True
    """Whether `forward(..., logits=False)` leaves the last layer, `head`, to the loss."""
    adapted = ("qkv",)
    """Ends of the names of the layers that `peft=lora` adapts, as peft does GPT-2's `c_attn`."""

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
            self.register_buffer("turns_SP2", turns(context, width // heads, rope_base), persistent=False)
        self._initialise()

    def forward(self, tokens_NT: Tensor, cache: KeyValueCache | None = None, *, logits: bool = True) -> Tensor:
        """Logits (N, T, V). With a cache, tokens_NT continue the tokens that it holds, and it then holds them too.

        Args:
            logits: False returns what `head` makes logits of, (N, T, D), for a loss that never holds all logits.
        """
        start = cache.length if cache else 0
        end = start + tokens_NT.shape[1]
        if end > self.context:
            raise UserError(f"A GPT with `model.context={self.context}` was given {end} tokens at once.")
        places_NT: slice | Tensor = slice(start, end)
        seen_NTS = None
        if self.boundary_id is not None:
            tokens_NS = cache.read(tokens_NT) if cache else tokens_NT
            places_NT, seen_NTS = documents(tokens_NS, self.boundary_id, now=tokens_NT.shape[1])
        x_NTD = self.embedding(tokens_NT)
        turns_TP2 = None
        if self.places is None:
            turns_TP2 = self.turns_SP2[start:end]  # rotations tell distances, which are the same within a document
        else:
            x_NTD = x_NTD + self.places.weight[places_NT]
        x_NTD = self.dropout(x_NTD)
        for block in self.blocks:
            x_NTD = block(x_NTD, turns_TP2, cache, seen_NTS)
        if cache:
            cache.length = end
        x_NTD = self.norm(x_NTD)
        return self.head(x_NTD) if logits else x_NTD

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

    def forward(
        self, x_NTD: Tensor, turns_TP2: Tensor | None, cache: KeyValueCache | None, seen_NTS: Tensor | None
    ) -> Tensor:
        x_NTD = x_NTD + self.dropout(self.attention(self.attention_norm(x_NTD), turns_TP2, cache, seen_NTS))
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
        self.qk_norm = qk_norm
        if qk_norm:
            self.query_norm = nn.RMSNorm(self.head_width, eps=norm_eps)
            self.key_norm = nn.RMSNorm(self.head_width, eps=norm_eps)
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(
        self,
        x_NTD: Tensor,
        turns_TP2: Tensor | None,
        cache: KeyValueCache | None,
        seen_NTS: Tensor | None = None,
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
        if turns_TP2 is not None:
            qk_NTXC = turn(qk_NTXC, turns_TP2)
        q_NHTC, k_NKTC = qk_NTXC.transpose(1, 2).split([self.heads, self.kv_heads], dim=1)
        v_NKTC = v_NTKC.transpose(1, 2)
        k_NKSC, v_NKSC = cache.extend(self.layer, k_NKTC, v_NKTC) if cache else (k_NKTC, v_NKTC)
        y_NHTC = attend(q_NHTC, k_NKSC, v_NKSC, seen_NTS, dropout=self.dropout if self.training else 0.0)
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
    """Keys and values of the tokens read so far, so that generating reads each token once."""

    def __init__(self, layers: int, context: int) -> None:
        self.length = 0
        """Tokens held; the network moves it on when all its layers have read them."""
        self.context = context
        self.kept: list[Tensor | None] = [None] * layers
        self.tokens_NS: Tensor | None = None
        """The tokens themselves, of networks that keep documents apart."""

    def __bool__(self) -> bool:
        return True

    def read(self, tokens_NT: Tensor) -> Tensor:
        """Keep new tokens; returns all of them."""
        self.tokens_NS = tokens_NT if self.tokens_NS is None else torch.cat((self.tokens_NS, tokens_NT), dim=1)
        return self.tokens_NS

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


def attend(q_NHTC: Tensor, k_NKSC: Tensor, v_NKSC: Tensor, seen_NTS: Tensor | None = None, *, dropout: float) -> Tensor:
    """Means (N, H, T, C) of the values, weighted by how well their keys fit; the T queries are the last of S places.

    Args:
        seen_NTS: which places each query sees; None: its own and all before it.
    """
    now, so_far = q_NHTC.shape[2], k_NKSC.shape[2]
    mask = None if seen_NTS is None else seen_NTS[:, None]
    exporting = torch.compiler.is_exporting()  # where T is symbolic, is_causal cannot depend on it
    if seen_NTS is None and (exporting or 1 < now < so_far):
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
    """For the last `now` of S tokens: their places (N, T) in their documents, and which tokens they see (N, T, S)."""
    begins_NS = tokens_NS == boundary_id
    number_NS = begins_NS.cumsum(dim=1)
    place_S = torch.arange(tokens_NS.shape[1], device=tokens_NS.device)
    begin_NS = (begins_NS * place_S).cummax(dim=1).values
    same_NTS = number_NS[:, -now:, None] == number_NS[:, None]
    return (place_S - begin_NS)[:, -now:], same_NTS & (place_S <= place_S[-now:, None])


def turns(context: int, head_width: int, base: float) -> Tensor:
    """Cosine and sine (context, head_width / 2, 2) of the angle by which a place turns each pair of numbers."""
    frequencies = base ** -(torch.arange(0, head_width, 2) / head_width)
    angles = torch.outer(torch.arange(context), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def turn(x_NTXC: Tensor, turns_TP2: Tensor) -> Tensor:
    """Turn each pair of neighbouring numbers, a complex number, by its place's angle; in float32, and so it stays.

    LLaMA's own order; transformers keeps the first numbers of all pairs before the second ones.
    """
    if torch.compiler.is_exporting():  # ONNX has no complex numbers
        cos_T1P, sin_T1P = turns_TP2.float()[:, None].unbind(dim=-1)
        even_NTXP, odd_NTXP = x_NTXC.float().unflatten(-1, (-1, 2)).unbind(dim=-1)
        turned = (even_NTXP * cos_T1P - odd_NTXP * sin_T1P, even_NTXP * sin_T1P + odd_NTXP * cos_T1P)
        return torch.stack(turned, dim=-1).flatten(-2)
    pairs_NTXP = torch.view_as_complex(x_NTXC.float().unflatten(-1, (-1, 2)))
    turned_NTXP = pairs_NTXP * torch.view_as_complex(turns_TP2.float())[:, None]
    return torch.view_as_real(turned_NTXP).flatten(-2)


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
