"""One more token of each sequence through the blocks of a GPT on a CPU, with fewer operations.

A step of a small network takes longer in modules, views and copies than in arithmetic, and that of a larger one as long
as its weights take to read. So this step calls the operations directly, and keeps matrices that are read faster so
transposed.

Letters at the end of a tensor's name are those of `lantu.models.gpt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.models.attention import Attention, apply_rope

if TYPE_CHECKING:
    from lantu.models.key_value_cache import KeyValueCache, KeyValueSlots

TRANSPOSE_AFTER = 16
"""Steps after which copies of matrices pay: making them takes about as long as they save in thirty."""
MOST_ROWS = 4
"""Sequences up to which a transposed matrix is read faster."""
MOST_INPUTS = 1024
"""Width up to which a transposed matrix is read faster. It also bounds the memory of the copies."""

OUTPUTS_AT_ONCE = 1024
"""Outputs of the head in one product, for more rows: BLAS is slower with a matrix that is larger than the caches."""

Norm = Callable[[Tensor], Tensor]


class Product(NamedTuple):
    """A linear layer."""

    matrix: Tensor
    """(inputs, outputs)"""
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.mm(x, self.matrix) if self.bias is None else torch.addmm(self.bias, x, self.matrix)

    def transposed(self) -> Product:
        """The same with a copy of the matrix by rows of outputs, if it has many more outputs than inputs.

        BLAS multiplies a vector with it 1.1 to 2 times as fast, since it adds up rows instead of taking a sum for each
        output.
        """
        inputs, outputs = self.matrix.shape
        is_faster = inputs <= MOST_INPUTS and outputs >= 2 * inputs
        return Product(self.matrix.contiguous(), self.bias) if is_faster else self

    def split(self, outputs: int) -> list[Product]:
        """Products of so many outputs each."""
        matrices = self.matrix.split(outputs, dim=1)
        biases = [None] * len(matrices) if self.bias is None else self.bias.split(outputs)
        return [Product(*each) for each in zip(matrices, biases, strict=True)]


class Layer(NamedTuple):
    """A block of a GPT."""

    attention_norm: Norm
    attention: Attention
    gains_XC: Tensor | None
    """Of the norm of queries and keys."""
    qkv: Product
    attention_out: Product
    mlp_norm: Norm
    up: Product
    activation: Callable[[Tensor], Tensor]
    mlp_out: Product


class CpuDecoder:
    """The blocks, last norm and head of a GPT, for one token of each sequence.

    Logits differ from the network's by rounding at most. Weights that change later are not seen by the copies.

    Args:
        blocks, norm, head: of the network.
    """

    def __init__(self, blocks: Iterable[Any], norm: nn.Module, head: nn.Linear) -> None:
        self._layers = [
            Layer(
                _norm(block.attention_norm),
                block.attention,
                block.attention.gains_XC() if block.attention.qk_norm else None,
                _product(block.attention.qkv),
                _product(block.attention.out),
                _norm(block.mlp_norm),
                _product(block.mlp.up),
                block.mlp.activation,
                _product(block.mlp.out),
            )
            for block in blocks
        ]
        self._norm = _norm(norm)
        self._head = _product(head)
        self._head_parts = self._head.split(OUTPUTS_AT_ONCE)
        self._steps = 0

    @staticmethod
    def can_run(modules: Iterable[nn.Module], known: set[type[nn.Module]]) -> bool:
        """Whether modules compute in float32 on a CPU what their classes say: without hooks, adapters or subclasses."""
        return all(
            type(module) in known
            and not module._forward_hooks
            and not module._forward_pre_hooks
            and all(
                type(each) is nn.Parameter and each.dtype == torch.float32 and each.device.type == "cpu"
                for each in module._parameters.values()
                if each is not None
            )
            for module in modules
        )

    @staticmethod
    def can_run_now() -> bool:
        """Whether nothing asks for gradients or another precision."""
        return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")

    def __call__(
        self,
        x_N1D: Tensor,
        rope_N1P2: Tensor | None,
        cache: KeyValueCache | KeyValueSlots,
        mask_N1S: Tensor | None,
    ) -> Tensor:
        """Logits (N, 1, V) after one more token of each sequence, whose keys and values are added to the cache.

        Args:
            rope_N1P2: or (1, P, 2), of all sequences.
            mask_N1S: True where a sequence attends to a position; None: to all.
        """
        x_ND = x_N1D.squeeze(1)
        mask_N11S = None if mask_N1S is None else mask_N1S[:, None]
        is_narrow = x_ND.shape[0] <= MOST_ROWS
        if is_narrow:
            self._steps += 1
            if self._steps == TRANSPOSE_AFTER:
                self._transpose()
        for layer in self._layers:
            y_ND = _attend(layer, layer.attention_norm(x_ND), rope_N1P2, cache, mask_N11S)
            x_ND = x_ND + layer.attention_out(y_ND)
            x_ND += layer.mlp_out(layer.activation(layer.up(layer.mlp_norm(x_ND))))
        x_ND = self._norm(x_ND)
        if is_narrow or len(self._head_parts) == 1:
            return self._head(x_ND).unsqueeze(1)
        return torch.cat([part(x_ND) for part in self._head_parts], dim=1).unsqueeze(1)

    def _transpose(self) -> None:
        self._head = self._head.transposed()
        self._layers = [each._replace(qkv=each.qkv.transposed(), up=each.up.transposed()) for each in self._layers]


def _attend(
    layer: Layer,
    x_ND: Tensor,
    rope_N1P2: Tensor | None,
    cache: KeyValueCache | KeyValueSlots,
    mask_N11S: Tensor | None,
) -> Tensor:
    attention = layer.attention
    rows, heads, kv_heads, head_width = x_ND.shape[0], attention.heads, attention.kv_heads, attention.head_width
    qkv_NXC = layer.qkv(x_ND).view(rows, -1, head_width)
    qk_NXC = qkv_NXC
    if layer.gains_XC is not None:
        qk_NXC = qk_NXC.narrow(1, 0, heads + kv_heads)
        qk_NXC = F.rms_norm(qk_NXC, (head_width,), eps=attention.query_norm.eps) * layer.gains_XC
    if rope_N1P2 is not None:
        qk_NXC = apply_rope(qk_NXC.narrow(1, 0, heads + kv_heads).unsqueeze(1), rope_N1P2).squeeze(1)
    q_NHC = qk_NXC.narrow(1, 0, heads)
    k_NK1C = qk_NXC.narrow(1, heads, kv_heads).unsqueeze(2)
    v_NK1C = qkv_NXC.narrow(1, heads + kv_heads, kv_heads).unsqueeze(2)
    k_NKSC, v_NKSC = cache.extend(attention.layer, k_NK1C, v_NK1C)
    # the queries that share a key stand side by side, so keys need not be repeated for them
    q_NKGC = q_NHC.view(rows, kv_heads, -1, head_width)
    y_NKGC = F.scaled_dot_product_attention(q_NKGC, k_NKSC, v_NKSC, attn_mask=mask_N11S)
    return y_NKGC.reshape(rows, -1)


def _product(linear: nn.Linear) -> Product:
    return Product(linear.weight.detach().t(), None if linear.bias is None else linear.bias.detach())


def _norm(module: nn.Module) -> Norm:
    if isinstance(module, nn.RMSNorm):
        return _rms_norm(module)
    assert isinstance(module, nn.LayerNorm)
    return _layer_norm(module)


def _rms_norm(module: nn.RMSNorm) -> Norm:
    shape, weight, eps = list(module.normalized_shape), module.weight, module.eps
    return lambda x_ND: torch.rms_norm(x_ND, shape, weight, eps)


def _layer_norm(module: nn.LayerNorm) -> Norm:
    shape, weight, bias, eps = list(module.normalized_shape), module.weight, module.bias, module.eps
    return lambda x_ND: torch.layer_norm(x_ND, shape, weight, bias, eps)
