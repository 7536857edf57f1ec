"""Per-example gradients by Opacus, also of images whose channels lie side by side."""

from typing import Any

from opacus.grad_sample import GradSampleHooks
from opacus.grad_sample.conv import compute_conv_grad_sample
from opacus.grad_sample.utils import register_grad_sampler
from torch import Tensor, nn


def per_example_gradients(net: nn.Module) -> GradSampleHooks:
    """Hooks that give each parameter of a network a `grad_sample` (N, ...) in the backward pass of a mean loss."""
    return GradSampleHooks(net, loss_reduction="mean", strict=True)


@register_grad_sampler([nn.Conv1d, nn.Conv2d, nn.Conv3d])
def _convolution(layer: Any, activations: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Opacus's gradient of a convolution, for inputs of any memory format.

    Opacus 1.6 computes the strides of image patches as if the input were contiguous, so its gradients of a
    channels-last input are wrong. Images of one channel that were read as height x width x channels are such inputs.
    """
    return compute_conv_grad_sample(layer, [each.contiguous() for each in activations], backprops)
