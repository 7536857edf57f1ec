"""Causal self-attention with grouped queries, rotary positions and a cache.

Letters at the end of a tensor's name are those of `lantu.models.gpt`.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.models.key_value_cache import KeyValueCache, KeyValueSlots

FLOAT32_ATTENTION = True
"""Whether attention on a CPU is computed in float32: its backward pass is five times slower there in bf16.

`lantu.planning` turns it off to count what a GPU holds.
"""


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
            qk_NTXC = F.rms_norm(qk_NTXC.float(), (self.head_width,), eps=self.query_norm.eps) * self.gains_XC()
        if rope_TP2 is not None:
            qk_NTXC = apply_rope(qk_NTXC, rope_TP2)
        q_NHTC, k_NKTC = qk_NTXC.transpose(1, 2).split([self.heads, self.kv_heads], dim=1)
        v_NKTC = v_NTKC.transpose(1, 2)
        k_NKSC, v_NKSC = cache.extend(self.layer, k_NKTC, v_NKTC) if cache else (k_NKTC, v_NKTC)
        y_NHTC = attend(q_NHTC, k_NKSC, v_NKSC, mask_NTS, dropout=self.dropout if self.training else 0.0)
        return self.out(y_NHTC.transpose(1, 2).flatten(2))

    def gains_XC(self) -> Tensor:
        """What the norm multiplies queries and keys by."""
        query_C, key_C = self.query_norm.weight, self.key_norm.weight
        return torch.cat((query_C.expand(self.heads, -1), key_C.expand(self.kv_heads, -1)))


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
