"""Whether each example's gradient is its own: what the guarantee rests on, measured before training."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lantu.data.data_module import DataModule
from lantu.data.samplers import Chosen
from lantu.errors import UserError
from lantu.tasks import Task

EXAMPLES = 3
TOLERANCE = 1e-3
"""Largest difference of an example's gradient, relative to its length."""
HOW = (
    "`privacy=dp` works with networks of linear, convolutional, embedding, attention and layer- or group-norm layers, "
    "and with losses that are a mean over examples."
)


def check_network(net: nn.Module) -> None:
    """Refuse layers that mix examples or whose per-example gradients Opacus cannot compute.

    Raises:
        UserError: naming them.
    """
    from opacus.validators import ModuleValidator

    normed = [name for name, each in net.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    if normed:
        raise UserError(
            f"`privacy=dp`: batch norm ({_listed(normed)}) mixes the examples of a batch, so no bound on one example's "
            "influence holds. Choose `model.norm=group` (cnn), `model.norm=layer` (mlp), or a network without it."
        )
    recurrent = [name for name, each in net.named_modules() if isinstance(each, nn.RNNBase)]
    if recurrent:
        raise UserError(
            f"`privacy=dp`: Opacus has no per-example gradients of torch's recurrent layers ({_listed(recurrent)}). "
            "Choose a network without them."
        )
    net.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = ModuleValidator.validate(net, strict=False)
    if errors:
        raise UserError(f"`privacy=dp` does not fit this network: {str(errors[0]).splitlines()[0]} {HOW}")


def check_gradients(task: Task, data: DataModule, hooks: Any) -> None:
    """Compare per-example gradients of a small batch with those of each example alone.

    They differ where the loss of an example depends on the others of its batch (weights that are normalised over the
    batch, masked tokens, mixed pictures), where a weight is used in a way that the hooks do not see, or where a layer
    keeps state. Any of these would break the guarantee without a word.

    Raises:
        UserError: they differ, or cannot be computed.
    """
    examples = data.splits["train"]
    count = min(EXAMPLES, len(examples))  # type: ignore[arg-type]
    with _measuring(task.net) as parameters:
        try:
            together = _per_example(task, _batch(data, list(range(count))), hooks, parameters)
        except Exception as error:  # whatever a hook raises of a layer it does not know
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(
                f"`privacy=dp`: the gradient of each example cannot be computed ({reason[:200]}). {HOW}"
            ) from error
        missing = [name for name, each in zip(_names(task.net), together, strict=True) if each is None]
        if missing:
            raise UserError(
                f"`privacy=dp`: `{missing[0]}` has no gradient of each example: it takes no part in the loss, or its "
                f"layer is not used through its `forward`. {HOW}"
            )
        for number in range(count):
            alone = _gradient(task, _batch(data, [number]), parameters)
            here = torch.cat([each[number].flatten() for each in together])
            if (here - alone).norm() > TOLERANCE * alone.norm() + 1e-7:
                raise UserError(
                    f"`privacy=dp`: the gradient of an example depends on the others in its batch (by "
                    f"{float((here - alone).norm() / alone.norm()):.1%} of its length), so no bound on its influence "
                    f"holds. {HOW}"
                )


def _batch(data: DataModule, rows: list[int]) -> Any:
    examples: Any = data.splits["train"]
    chosen = Chosen(rows, seed=0, epoch=0)
    return (
        examples.__getitems__(chosen)
        if hasattr(examples, "__getitems__")
        else data.collate([examples[i] for i in rows])
    )


def _loss(task: Task, batch: Any) -> Tensor:
    device = next(task.parameters()).device
    x, y = apply_to_collection(tuple(batch), Tensor, lambda each: each.to(device))
    _, loss = task.output_and_loss(x, y, stage="train")
    return torch.stack(list(loss.values())).sum() if isinstance(loss, dict) else loss


def _per_example(task: Task, batch: Any, hooks: Any, parameters: list[nn.Parameter]) -> list[Any]:
    hooks.enable_hooks()
    try:
        _loss(task, batch).backward()
        return [each.grad_sample for each in parameters]  # type: ignore[attr-defined]
    finally:
        hooks.disable_hooks()
        for each in parameters:
            each.grad = each.grad_sample = None  # type: ignore[attr-defined]


def _gradient(task: Task, batch: Any, parameters: list[nn.Parameter]) -> Tensor:
    found = torch.autograd.grad(_loss(task, batch), parameters)
    return torch.cat([each.flatten() for each in found])


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _names(net: nn.Module) -> list[str]:
    return [name for name, each in net.named_parameters() if each.requires_grad]


@contextmanager
def _measuring(net: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Switch dropout off, but leave layers with weights in training mode, in which the hooks run.

    Convolutions compute in full float32 meanwhile: with TF32, a GPU's default, the same gradient computed in two ways
    differs by about the tolerance.
    """
    modes = {each: each.training for each in net.modules()}
    random = torch.get_rng_state()
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    for each in net.modules():
        each.training = not list(each.children()) and any(True for _ in each.parameters(recurse=False))
    try:
        yield [each for each in net.parameters() if each.requires_grad]
    finally:
        for each, mode in modes.items():
            each.training = mode
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_rng_state(random)
