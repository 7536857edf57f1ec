"""Networks of windows of series: one, or one for each fold of a walk through time."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn


class WindowNetwork(nn.Module):
    """A network that is shown the window of a batch of series alone.

    Shape: {"window": (N, ...), ...} -> (N, outputs).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.net(x["window"])


class FoldNetworks(nn.Module):
    """Copies of a network that begin alike; an example is answered by that of its fold, and trains no other.

    A walk forward fits a model again as time goes on. All fits are made at once here: a checkpoint holds them all, and
    a test part that spans many years is answered in each year by the network that knows only the years before.

    In training mode the networks answer as they are; in evaluation mode with the weights that `keep` has chosen, each
    by the loss of its own fold, so that no fold profits from a validation that lies in its future.

    Args:
        net: is copied.
        folds: how many.

    Shape: {"window": (N, ...), "fold": (N,), ...} -> (N, outputs).
    """

    best: Tensor
    no_graph = "it answers each fold of a walk with another network, chosen by the time of the example"

    def __init__(self, net: nn.Module, folds: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(deepcopy(net) for _ in range(folds))
        self.kept = nn.ModuleList(deepcopy(net) for _ in range(folds)).requires_grad_(requires_grad=False)
        self.register_buffer("best", torch.full((folds,), torch.inf))

    def forward(self, x: Mapping[str, Tensor], *, current: bool = False) -> Tensor:
        """Answer with the chosen weights, or with those of now: in training, and if `current`."""
        nets = self.nets if self.training or current else self.kept
        chosen = not (self.training or current)
        window, fold = x["window"], x["fold"]
        numbers = fold.unique().tolist()
        if len(numbers) == 1:
            return self._net(nets, numbers[0], chosen=chosen)(window)
        answer: Tensor | None = None
        for number in numbers:
            rows = (fold == number).nonzero().squeeze(1)
            part = self._net(nets, number, chosen=chosen)(window[rows])
            answer = part.new_zeros(len(window), *part.shape[1:]) if answer is None else answer
            answer = answer.index_copy(0, rows, part)
        assert answer is not None
        return answer

    @torch.no_grad()
    def keep(self, losses: Tensor) -> None:
        """Keep the weights of each fold whose validation loss is smaller than all before.

        Args:
            losses: of the networks as they are (folds,).
        """
        for number, loss in enumerate(losses.tolist()):
            if loss < float(self.best[number]):
                self.best[number] = loss
                now = self.nets[number].state_dict()
                for name, value in self.kept[number].state_dict().items():
                    value.copy_(now[name])

    def _net(self, nets: nn.ModuleList, number: int, *, chosen: bool) -> nn.Module:
        # a fold that was never validated answers with its last weights
        unknown = chosen and bool(self.best[number].isinf())
        return self.nets[number] if unknown else nets[number]
