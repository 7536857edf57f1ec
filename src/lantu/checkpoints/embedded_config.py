"""Store the config inside checkpoints, so that a checkpoint can be loaded on its own."""

from typing import Any

from pytorch_lightning import Callback

from lantu.redaction import redact_tree


class Recipe(Callback):
    """Keeps a run's resolved config inside its checkpoints, as plain values that `weights_only` loading accepts.

    Credentials are redacted, since checkpoints are uploaded and shared.
    """

    KEY = "lantu.recipe"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = redact_tree(config)

    @property
    def state_key(self) -> str:
        return self.KEY

    def state_dict(self) -> dict[str, Any]:
        return {"config": self.config}

    @classmethod
    def read(cls, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
        """The config inside a loaded checkpoint; None if Lantu did not write it."""
        state = checkpoint.get("callbacks", {}).get(cls.KEY)
        return state["config"] if state else None
