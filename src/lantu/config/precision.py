"""What `trainer.precision=auto` is on this machine, decided without importing torch."""

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lantu.config.accelerators import FIRST_WITH_BF16, gpus, torch_cuda
from lantu.notices import warn_once
from lantu.processor import cpu_has_bf16


def choose_precision(cfg: DictConfig) -> None:
    """Write what `trainer.precision=auto` is here into the config, and say it: bf16-mixed or 32-true.

    A run that is resumed keeps the precision that it began with. A bf16 that was asked for and that this processor has
    to emulate is said, too.
    """
    asked = str(cfg.trainer.precision)
    if asked != "auto" and not asked.startswith("bf16"):
        return
    has_bf16, why = _bf16(str(cfg.trainer.accelerator))
    if asked == "auto" and (begun_with := _precision_of_run(cfg)):
        cfg.trainer.precision = begun_with
    elif asked == "auto":
        cfg.trainer.precision = "bf16-mixed" if has_bf16 else "32-true"
        warn_once(f"`trainer.precision=auto` is {cfg.trainer.precision}: {why}.")
    elif has_bf16 is False:
        warn_once(
            f"`trainer.precision={asked}`: {why} and emulates it, which can take 20 times as long as float32. "
            "`trainer.precision=auto` takes bf16 only where that is faster."
        )


def _bf16(accelerator: str) -> tuple[bool | None, str]:
    """Whether what will train has bf16 arithmetic, None if that is not known; and that in words."""
    device, has_bf16 = "this device", None
    if accelerator in ("auto", "gpu", "cuda") and torch_cuda() and (found := gpus().generations):
        device, has_bf16 = "this GPU", min(found) >= FIRST_WITH_BF16
    elif accelerator == "cpu" or (accelerator == "auto" and not _may_have_another_gpu()):
        device, has_bf16 = "this processor", cpu_has_bf16()
    if has_bf16 is None:
        return None, f"whether {device} has bf16 arithmetic is not known"
    return has_bf16, f"{device} has {'' if has_bf16 else 'no '}bf16 arithmetic"


def _precision_of_run(cfg: DictConfig) -> str | None:
    """The precision of the run that `resume` continues; None: there is none yet."""
    config = Path(str(cfg.paths.run)) / "config.yaml"
    if not cfg.resume or not config.is_file():
        return None
    return OmegaConf.select(OmegaConf.load(config), "trainer.precision")


def _may_have_another_gpu() -> bool:
    """Apple's and AMD's, which Lightning takes and NVIDIA's driver does not know."""
    return sys.platform == "darwin" or Path("/dev/kfd").exists()
