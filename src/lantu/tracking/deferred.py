"""Copy metrics from an accelerator asynchronously, so that the training does not wait for them."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from torch import Tensor


@dataclass
class Pending:
    """Metrics of one call that are being copied from a device to pinned memory."""

    t: int
    step: int
    ready: dict[str, float]
    copies: dict[str, "Tensor"]
    arrived: Any  # torch.cuda.Event, or None for devices that copy at once

    def has_arrived(self) -> bool:
        return self.arrived is None or self.arrived.query()

    def values(self) -> dict[str, float]:
        """All values; waits for unfinished copies."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return {**self.ready, **{name: float(copy) for name, copy in self.copies.items()}}


class Arrivals:
    """Pending metrics in the order of their calls."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def start(self, t: int, step: int, ready: dict[str, float], tensors: dict[str, "Tensor"]) -> None:
        """Start copying and return: the copies are queued behind the computation of the values."""
        import torch

        copies = {name: _begin_copy(tensor.detach()) for name, tensor in tensors.items()}
        arrived = None
        if any(tensor.is_cuda for tensor in tensors.values()):
            arrived = torch.cuda.Event()
            arrived.record()
        self._queue.append(Pending(t, step, ready, copies, arrived))

    def take(self, *, wait: bool = False) -> list[Pending]:
        """The metrics whose copies are complete; with `wait`, all."""
        taken = []
        while self._queue and (wait or self._queue[0].has_arrived()):
            taken.append(self._queue.popleft())
        return taken


def hand_over_tensors(trainer: "Trainer") -> None:
    """Make a trainer pass metrics to `RunLogger` as tensors, on their device.

    Lightning reads every value (`Tensor.item`, which waits for the device) before any logger sees it. Its
    connector has no switch for that, so its method is replaced for this trainer; other loggers still get
    numbers.
    """
    from lightning_fabric.utilities.apply_func import convert_tensors_to_scalars

    connector = trainer._logger_connector
    if getattr(connector.log_metrics, "hands_over_tensors", False):
        return

    def log_metrics(metrics: dict[str, Any], step: int | None = None) -> None:
        if not trainer.loggers or not metrics:
            return
        connector._logged_metrics.update(metrics)
        metrics = dict(metrics)
        if step is None:
            own = metrics.pop("step", None)
            if own is not None:
                step = int(own)
            else:
                metrics.setdefault("epoch", trainer.current_epoch)
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
        numbers: dict[str, Any] | None = None
        for logger in trainer.loggers:
            if getattr(logger, "takes_tensors", False):
                logger.log_metrics(metrics, step)
            else:
                numbers = numbers or convert_tensors_to_scalars(metrics)
                logger.log_metrics(dict(numbers), step)
            logger.save()

    log_metrics.hands_over_tensors = True  # type: ignore[attr-defined]
    connector.log_metrics = log_metrics


def _begin_copy(tensor: "Tensor") -> "Tensor":
    if tensor.numel() != 1:
        raise ValueError(f"a metric is one number, and this tensor has the shape {tuple(tensor.shape)}.")
    if not tensor.is_cuda:
        return tensor.cpu()
    import torch

    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
