"""What the mean loss of a piece of a batch counts in that of the whole, where pieces are means over unlike numbers."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Shares:
    """Makes the gradients of a step those of the mean over its whole batch, however that was cut.

    A batch is cut into ranks, whose gradients are averaged, and into micro-batches, whose gradients are added up and
    divided by their number. Where a piece's loss is a mean over its tokens, or over weighted classes, the mean of those
    means is not the mean of the whole: a piece with few tokens counts too much. So each mean is multiplied by its share
    of the weight of all ranks, which they ask each other for, and of the weight of all micro-batches. That is known at
    the last one only: until then it is measured by the first one's, and gradients are corrected once.
    """

    def __init__(self) -> None:
        self.weight: int | Tensor = 0
        """What the last batch's mean is a mean over; a tensor where that is not the number of its examples."""
        self.noted: list[Tensor] = []
        """The weights, over all ranks, of the micro-batches since the last step."""

    def begin(self, micro_batches: int) -> None:
        """The first micro-batch of a step. What an epoch that was cut short has left does not count.

        Raises:
            RuntimeError: all micro-batches of the last step are there, and it was not ended by `correct`.
        """
        if len(self.noted) == micro_batches > 1:
            raise RuntimeError(
                "the gradients of several batches were summed up and not corrected: a task that has its own "
                "`on_before_optimizer_step` must call `super().on_before_optimizer_step(optimizer)`."
            )
        self.noted = []

    def among_ranks(self, ranks: int) -> Tensor:
        """This rank's share of the last micro-batch, 1 on average; notes that micro-batch. All ranks must ask."""
        assert isinstance(self.weight, Tensor)
        own = self.weight.detach().float()
        whole = own.clone()
        if ranks > 1:
            torch.distributed.all_reduce(whole)
        self.noted.append(whole)
        return own * ranks / whole.clamp(min=TINY)

    def among_micro_batches(self) -> Tensor:
        """The share of the last micro-batch, measured by the first one's weight."""
        return self.noted[-1] / self._measure()

    def correct(self, weights: Iterable[nn.Parameter], *, divided_by: int) -> None:
        """End a step: multiply its gradients, in place, by what only its last micro-batch has told.

        Args:
            weights: those of the network.
            divided_by: the number of micro-batches by which each loss was divided.
        """
        if divided_by > 1:
            gradients = [_here(each.grad) for each in weights if each.grad is not None]
            torch._foreach_mul_(gradients, divided_by * self._measure() / torch.stack(self.noted).sum().clamp(min=TINY))
        self.noted = []

    def _measure(self) -> Tensor:
        return self.noted[0].clamp(min=1)  # of a first one in which nothing was asked, too


def _here(gradient: Tensor) -> Tensor:
    """This device's part of a gradient that is split over several, to be changed in place."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


TINY = torch.finfo(torch.float32).tiny
