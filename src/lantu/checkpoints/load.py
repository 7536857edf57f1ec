"""Read a checkpoint file without unpickling any code."""

from pathlib import Path
from typing import Any

import torch

from lantu.checkpoints.files import refuse_damaged
from lantu.errors import UserError


def load(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's content, read without unpickling any code."""
    refuse_damaged(checkpoint)
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is cut, foreign or hostile
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{checkpoint} cannot be read as a checkpoint of weights and plain values: {reason}") from error
