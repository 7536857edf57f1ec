"""A module whose buffers are fitted after training, and so may have another size in a checkpoint than when built."""

from typing import Any

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """Loads buffers of any size. `examples` says how many examples it was fitted on: 0 before it is fitted."""

    examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("examples", torch.zeros((), dtype=torch.long))

    @property
    def is_fitted(self) -> bool:
        """Whether there is something to apply."""
        return bool(self.examples > 0)

    def put(self, **buffers: Any) -> None:
        """Replace buffers by arrays, numbers or tensors, on the device where they are."""
        for name, value in buffers.items():
            old = getattr(self, name)
            setattr(self, name, torch.as_tensor(value).to(device=old.device, dtype=old.dtype))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor) and stored.shape != buffer.shape:
                setattr(self, name, torch.empty_like(stored, device=buffer.device, dtype=buffer.dtype))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
