"""Learning-rate schedules, called as `schedule(optimizer, total_steps=N)`; all but `plateau` step after every batch.

`warmup` is the length of the linear warm-up: a fraction of all steps if below 1, else a number of steps.
"""

from collections.abc import Callable
from math import cos, pi, sqrt
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lantu.errors import UserError


def constant(optimizer: Optimizer, *, total_steps: int, warmup: float = 0) -> LRScheduler | None:
    """Constant learning rate after an optional warm-up. Returns None without warm-up: nothing to schedule."""
    return None if warmup == 0 else _scaled(optimizer, total_steps, warmup, lambda progress: 1.0, name="constant")


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0, min_lr_ratio: float = 0.0) -> LRScheduler:
    """Cosine annealing from the learning rate down to `min_lr_ratio` of it (Loshchilov and Hutter 2017)."""
    _check_share("min_lr_ratio", min_lr_ratio)
    return _scaled(
        optimizer,
        total_steps,
        warmup,
        lambda progress: min_lr_ratio + (1 - min_lr_ratio) * (1 + cos(pi * progress)) / 2,
        name="cosine",
    )


def wsd(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup: float = 0,
    decay: float = 0.2,
    shape: Literal["linear", "sqrt"] = "sqrt",
    min_lr_ratio: float = 0.0,
) -> LRScheduler:
    """Warmup-stable-decay: decay over the last `decay` fraction of the steps (Hägele et al. 2024).

    Args:
        shape: of the decay: linear, or sqrt for 1 - sqrt(progress), which the paper found better.
    """
    _check_share("min_lr_ratio", min_lr_ratio)
    _check_share("decay", decay)
    if shape not in ("linear", "sqrt"):
        raise UserError(f"`scheduler.shape={shape}`: the decay is linear or sqrt.")
    _check_total(total_steps, "wsd")
    # `_scaled` counts progress from the end of the warm-up; `decay` is a fraction of all steps
    stays = 1 - min(1.0, decay * total_steps / max(1, total_steps - _warmup_steps(warmup, total_steps)))

    def scale(progress: float) -> float:
        if progress <= stays:
            return 1.0
        into = (progress - stays) / (1 - stays)
        return 1 - (1 - min_lr_ratio) * (sqrt(into) if shape == "sqrt" else into)

    return _scaled(optimizer, total_steps, warmup, scale, name="wsd")


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup: float = 0.3,
    start_lr_ratio: float = 0.04,
    min_lr_ratio: float = 4e-6,
    cycle_momentum: bool = False,
) -> LRScheduler:
    """Rise from `start_lr_ratio` of the learning rate, then fall to `min_lr_ratio` of it (Smith and Topin 2018).

    Args:
        cycle_momentum: cycle momentum (or beta1) between 0.95 and 0.85, opposite to the learning rate.
    """
    _check_total(total_steps, "one_cycle")
    if not start_lr_ratio > 0 or not min_lr_ratio > 0:
        raise UserError("`scheduler.start_lr_ratio` and `scheduler.min_lr_ratio` of one_cycle must be above 0.")
    total = max(total_steps, 3)  # torch divides by the length of each phase minus one step
    peak = min(max(_warmup_steps(warmup, total), 2), total - 1)
    try:
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total,
            pct_start=peak / total,
            div_factor=1 / start_lr_ratio,
            final_div_factor=start_lr_ratio / min_lr_ratio,
            cycle_momentum=cycle_momentum,
        )
    except ValueError as error:  # the optimizer has no momentum to cycle
        raise UserError(f"`scheduler=one_cycle` does not fit the optimizer: {error}.") from error


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    factor: float = 0.1,
    patience: int = 3,
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
) -> ReduceLROnPlateau:
    """Multiply the learning rate by `factor` when the validation loss has not improved for `patience` validations.

    Args:
        total_steps: part of the schedules' common signature; unused.
        threshold: relative improvement that counts.
    """
    if not 0 < factor < 1:
        raise UserError(f"`scheduler.factor={factor}`: it multiplies the learning rate, so it lies between 0 and 1.")
    return ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, min_lr=min_lr
    )


def _scaled(
    optimizer: Optimizer, total_steps: int, warmup: float, scale: Callable[[float], float], *, name: str
) -> LRScheduler:
    """Warm up linearly, then scale the learning rate by scale(progress), where progress goes from 0 to 1."""
    _check_total(total_steps, name)
    rising = _warmup_steps(warmup, total_steps)

    def multiplier(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)  # as in nanoGPT, so that the first step has a learning rate above 0
        return scale(min(1.0, (step - rising) / max(1, total_steps - rising)))

    return LambdaLR(optimizer, multiplier)


def _warmup_steps(warmup: float, total_steps: int) -> int:
    """Return the number of warm-up steps, at most `total_steps`, so that a run of one batch works as well."""
    if warmup < 0:
        raise UserError(f"`scheduler.warmup={warmup}`: a share of all steps below 1, or a number of steps.")
    return min(total_steps, round(warmup * total_steps if warmup < 1 else warmup))


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"`scheduler.{name}={value}`: `{name}` is a share and lies between 0 and 1.")


def _check_total(total_steps: int, name: str) -> None:
    if total_steps < 1:
        raise UserError(
            f"`scheduler={name}` must know how long the training is: set `trainer.max_epochs` or `trainer.max_steps`."
        )
