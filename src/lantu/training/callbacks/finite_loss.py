"""A callback that stops a run when its loss is NaN or infinite, and finds the first layer with such an output."""

import math
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lantu.errors import Fault
from lantu.intervals import log_interval
from lantu.models.sharding import is_sharded
from lantu.training.callbacks.exact_resume import resume_points


class FiniteLoss(Callback):
    """Check the loss at every step on a CPU, and at logged steps on a GPU, where reading it synchronises.

    Args:
        every: steps between two checks; None: as above. 1 finds the exact step on a GPU as well.
    """

    def __init__(self, *, every: int | None = None) -> None:
        self.every = every
        self._batch: Any = None
        self._number = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch, self._number = batch, batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss before the weights change.

        Raises:
            Fault: names the step, the batch, the layer, and the last checkpoint.
        """
        on_cpu = loss.is_cpu
        if on_cpu and math.isfinite(loss.item()):  # nearly always so, and the quickest question
            return
        if torch.is_anomaly_enabled():  # anomaly detection names the operation
            return
        every = self.every or (1 if on_cpu else log_interval(trainer))
        if self._number % every or str(trainer.precision).startswith("16"):  # the loss scaler handles overflow
            return
        value = float(loss.detach())
        if math.isfinite(value):
            return
        where = _origin(pl_module, self._batch, trainer)
        points = resume_points(trainer)
        path = points.path if points and points.path.is_file() else ""
        kept = f"The last checkpoint from before is {path}. " if path else "No checkpoint was kept before. "
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        raise Fault(
            f"the loss became {value} at step {trainer.global_step} (epoch {trainer.current_epoch}, batch "
            f"{self._number}): {where}. {kept}What helps: `optimizer.lr={rate / 10:.2g}`, "
            f"`trainer.gradient_clip_val=1.0`; `debug=anomaly` names the operation."
        )


def _origin(module: LightningModule, batch: Any, trainer: Trainer) -> str:
    x = batch[0] if isinstance(batch, tuple | list) else batch
    if not _is_finite(x):
        return "the batch's own inputs are not all finite, so look at the data"
    net = getattr(module, "net", module)
    if is_sharded(net):  # a forward pass needs all ranks, and other ranks may have finite losses
        return "the layers are on several devices and were not searched"
    for name, weight in net.named_parameters():
        if not torch.isfinite(weight).all():
            return f"the weights of `{name}` are no longer finite, so the update before was too large"
    try:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            name = first_not_finite(net, x)
    except Exception:  # a network need not accept the batch's first element alone, such as one of several networks
        return "the layers were not searched, since the network does not take the batch's first part by itself"
    return f"`{name}` is the first layer whose output is not finite" if name else "every layer's output is finite"


def _is_finite(x: Any) -> bool:
    """Return whether all tensors in a collection are finite. Integer tensors always are."""
    found: list[bool] = []
    apply_to_collection(x, Tensor, lambda each: found.append(bool(torch.isfinite(each).all())))
    return all(found)


def first_not_finite(net: nn.Module, x: Any) -> str | None:
    """Run a batch (N, ...) again; return the name of the first module whose output is not finite, or None."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(f"{name or 'net'} ({type(module).__name__})")

        return hook

    hooks = [each.register_forward_hook(watch(name)) for name, each in net.named_modules()]
    try:
        net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
