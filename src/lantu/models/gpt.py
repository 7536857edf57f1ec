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

import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.attention import Attention, rope_table
from lantu.models.cpu_decoder import CpuDecoder
from lantu.models.key_value_cache import KeyValueCache, KeyValueSlots, documents
from lantu.models.layers import check_between

MLPS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(F.gelu, approximate="tanh"),
    "relu2": lambda x: F.relu(x).square(),
}
"""Activations of the MLPs with two matrices."""


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
        if logits and cache and end == start + 1 and (decoder := self._decoder(cache)):
            logits_N1V = decoder(x_NTD, rope_TP2, cache, mask_NTS)
            cache.length = end
            return logits_N1V
        for block in self.blocks:
            x_NTD = block(x_NTD, rope_TP2, cache, mask_NTS)
        if cache:
            cache.length = end
        x_NTD = self.norm(x_NTD)
        return self.head(x_NTD) if logits else x_NTD

    def new_cache(self) -> KeyValueCache:
        """An empty cache, for `forward`."""
        return KeyValueCache(len(self.blocks), self.context, decoder=self._new_decoder())

    def new_slots(self, rows: int) -> KeyValueSlots:
        """An empty cache of up to `rows` sequences of different lengths, for `forward`."""
        return KeyValueSlots(len(self.blocks), self.context, rows, decoder=self._new_decoder())

    def _step(self, tokens_N1: Tensor, slots: KeyValueSlots) -> Tensor:
        """Logits (N, 1, V) after one more token of each sequence."""
        at_N1, position_N1, mask_N1S = slots.begin(tokens_N1, self.boundary_id)
        x_N1D = self.embedding(tokens_N1)
        rope_N1P2 = self.rope_SP2[at_N1] if self.places is None else None
        if self.places is not None:
            x_N1D = x_N1D + self.places.weight[position_N1]
        if decoder := self._decoder(slots):
            logits_N1V = decoder(x_N1D, rope_N1P2, slots, mask_N1S)
            slots.end()
            return logits_N1V
        for block in self.blocks:
            x_N1D = block(x_N1D, rope_N1P2, slots, mask_N1S)
        slots.end()
        return self.head(self.norm(x_N1D))

    def _new_decoder(self) -> CpuDecoder | None:
        modules = [*self.blocks.modules(), *self.norm.modules(), *self.head.modules()]
        return CpuDecoder(self.blocks, self.norm, self.head) if CpuDecoder.can_run(modules, DECODED) else None

    def _decoder(self, cache: KeyValueCache | KeyValueSlots) -> CpuDecoder | None:
        return cache.decoder if not self.training and CpuDecoder.can_run_now() else None

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

    @staticmethod
    def activation(x_NTF: Tensor) -> Tensor:
        gate_NTF, value_NTF = x_NTF.chunk(2, dim=-1)
        return F.silu(gate_NTF) * value_NTF

    def forward(self, x_NTD: Tensor) -> Tensor:
        return self.out(self.activation(self.up(x_NTD)))


DECODED: set[type[nn.Module]] = {
    Block, Attention, MLP, SwiGLU, nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Dropout, nn.ModuleList
}  # fmt: skip
"""Modules that `CpuDecoder` stands in for."""


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
