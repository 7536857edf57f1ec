"""A module whose values are fitted after training, and so may have another size in a checkpoint than when built."""

from typing import Any

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """Keeps fitted values in checkpoints beside the weights.

    They are no buffers: those are averaged by callbacks such as EMA, and must keep their size.

    Args:
        initial: the values by name, before they are fitted.
    """

    def __init__(self, **initial: Any) -> None:
        super().__init__()
        self.fitted: dict[str, Tensor] = {name: torch.as_tensor(value) for name, value in initial.items()}
        self.examples = 0
        """How many examples it was fitted on; 0 before it is fitted."""

    @property
    def is_fitted(self) -> bool:
        """Whether there is something to apply."""
        return self.examples > 0

    def keep(self, examples: int, **values: Any) -> None:
        """Replace values by arrays, numbers or tensors, which keep their types."""
        for name, value in values.items():
            self.fitted[name] = torch.as_tensor(value, dtype=self.fitted[name].dtype).detach().cpu()
        self.examples = examples

    def value(self, name: str, like: Tensor) -> Tensor:
        """A value on the device of another tensor; of its type, unless it counts something."""
        found = self.fitted[name].to(like.device)
        return found.to(like.dtype) if found.is_floating_point() else found

    def get_extra_state(self) -> dict[str, Any]:
        return {"examples": self.examples, **self.fitted}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        values = dict(state)
        self.examples = int(values.pop("examples"))
        self.fitted |= values
