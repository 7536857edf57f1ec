"""Read a checkpoint file without unpickling any code."""

from pathlib import Path
from typing import Any

import torch

from lantu.checkpoints.checkpoint_file import refuse_damaged
from lantu.errors import UserError


def load(checkpoint: Path) -> dict[str, Any]:
    """Return a checkpoint's content; only weights and plain values are unpickled.

    Raises:
        UserError: the file is damaged, or holds anything else.
    """
    refuse_damaged(checkpoint)
    if not checkpoint.stat().st_size:
        raise UserError(f"{checkpoint} is empty: it cannot be read as a checkpoint.")
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file that is truncated, foreign or malicious
        reason = str(error).splitlines()[0] if " " in str(error) else "it is of another kind"
        raise UserError(f"{checkpoint} cannot be read as a checkpoint of weights and plain values: {reason}") from error
