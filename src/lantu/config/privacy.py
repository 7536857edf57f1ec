"""Options that would break the guarantee of `privacy=dp`, refused before anything is imported."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lantu.errors import UserError
from lantu.extras import require

LOSES = "the influence of one example would no longer be bounded"


def check_privacy(cfg: DictConfig) -> None:
    """Raise a `UserError` naming the first option that does not go with private training, and what to type instead."""
    if not OmegaConf.is_dict(cfg.get("privacy")) or not cfg.privacy.get("_target_"):
        return
    require("opacus", "privacy=dp", "privacy")
    require("cryptography", "privacy=dp", "privacy")
    for name, fits, why in RULES:
        value = _value(cfg, name)
        if not fits(value):
            raise UserError(f"`{name}={_shown(value)}` does not go with `privacy=dp`: {why}.")


def _off(value: Any) -> bool:
    return value in (None, 0, False)


RULES: tuple[tuple[str, Any, str], ...] = (
    (
        "task.class_weights", _off,
        f"the loss is divided by the weights of the whole batch, so {LOSES}. Leave it out (`task.class_weights=null`)",
    ),
    (
        "task.l1", _off,
        "it is no function of an example, so its gradient would be dropped without a word. Use "
        "`optimizer.weight_decay`",
    ),
    (
        "trainer.gradient_clip_val", _off,
        "it clips the noisy mean. Each example's gradient is clipped with `privacy.clip`",
    ),
    (
        "trainer.accumulate_grad_batches", lambda value: value in (None, 1),
        "a step is one Poisson sample. Take a larger `data.batch_size`, which is the mean size of a batch",
    ),
    (
        "data.balanced", _off,
        "every example must be drawn with the same probability. Leave it out",
    ),
    (
        "trainer.overfit_batches", _off,
        "batches must be drawn at random. Leave it out",
    ),
    (
        "model.norm", lambda value: value != "batch",
        f"batch norm mixes the examples of a batch, so {LOSES}. Use `model.norm=group` (cnn) or "
        "`model.norm=layer` (mlp)",
    ),
    (
        "augment.mixup", _off,
        f"it mixes two examples, so {LOSES}. Leave it out",
    ),
    (
        "augment.cutmix", _off,
        f"it mixes two examples, so {LOSES}. Leave it out",
    ),
    (
        "model.linear_base", lambda value: value is not True,
        "it is fitted on the training rows without noise. Leave it out",
    ),
    (
        "trainer.precision", lambda value: not str(value).startswith("16"),
        "the loss scaler would look at gradients without noise. Use `trainer.precision=32` or `bf16-mixed`",
    ),
    (
        "trainer.devices", lambda value: value in (None, 1, "1", "auto", -1) or value == [0],
        "it trains on one device. Use `trainer.devices=1`",
    ),
    (
        "compile", _off,
        "Opacus listens to each layer, and a compiled network has none. Leave it out",
    ),
)  # fmt: skip
"""An option, whether a value fits, and why another does not."""


def _value(cfg: DictConfig, path: str) -> Any:
    try:
        found = OmegaConf.select(cfg, path)
    except OmegaConfBaseException:
        return None
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
