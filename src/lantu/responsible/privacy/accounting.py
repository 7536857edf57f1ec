"""How much of the privacy budget steps spend, which noise keeps within it, and how many steps it affords."""

import warnings
from collections.abc import Callable, Iterable
from math import exp, log
from typing import Any

from lantu.errors import UserError

History = list[tuple[float, float, int]]
"""Steps of the subsampled Gaussian mechanism: noise multiplier, sampling rate, how many with these."""

LEAST_NOISE, MOST_NOISE = 0.2, 1000.0
"""Noise multipliers that are looked at. Near zero, the PRV accountant's grid would not fit in memory."""
ROUNDING = 2e-3
"""Relative precision of a noise multiplier that is searched for."""


def epsilon_of(history: Iterable[tuple[float, float, int]], *, delta: float, accountant: str = "prv") -> float:
    """An upper bound of epsilon at a delta, of all steps together.

    Args:
        history: noise multiplier, sampling rate and number of steps.
        accountant: prv (Gopi, Lee and Wutschitz 2021) or rdp (Mironov 2017).
    """
    from opacus.accountants import create_accountant

    steps = [tuple(each) for each in history if each[2]]
    if not steps:
        return 0.0
    counting: Any = create_accountant(mechanism=accountant)
    counting.history = steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdp: that the optimal order is the largest or smallest one
        return float(counting.get_epsilon(delta=delta))


def noise_for(
    epsilon: float, *, delta: float, rate: float, steps: int, accountant: str = "prv", spent: History | None = None
) -> float:
    """The smallest noise multiplier with which further steps stay within a budget.

    Raises:
        UserError: no noise does.
    """
    before = spent or []

    def spends(noise: float, by: str = accountant) -> float:
        return epsilon_of([*before, (noise, rate, steps)], delta=delta, accountant=by)

    # rdp is fast and never far above prv, so it says where to look
    low, high = LEAST_NOISE, 1.0
    while spends(high, "rdp") > epsilon:
        low, high = high, high * 2
        if high > MOST_NOISE:
            raise UserError(
                f"`privacy.epsilon={epsilon:g}` is too small for {steps:,} steps at `privacy.delta={delta:g}`: train "
                "for fewer epochs, or allow a larger epsilon."
            )
    while high / low > 1 + ROUNDING:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if spends(middle, "rdp") <= epsilon else (middle, high)
    return high if accountant == "rdp" else _by_secants(spends, epsilon, near=high)


def _by_secants(spends: Callable[[float], float], epsilon: float, *, near: float) -> float:
    """A noise multiplier that spends epsilon or a little less; log epsilon is almost linear in log noise."""
    points = [(log(noise), log(spends(noise))) for noise in (near, 0.93 * near)]
    for _ in range(8):
        (x0, y0), (x1, y1) = points[-2:]
        noise = exp(x1 + (log((1 - ROUNDING / 2) * epsilon) - y1) * (x1 - x0) / (y1 - y0))
        spent = spends(noise)
        if (1 - 2 * ROUNDING) * epsilon <= spent <= epsilon:
            return noise
        points.append((log(noise), log(spent)))
    return exp(next((x for x, y in sorted(points) if y <= log(epsilon)), log(near) + 1))


def affordable_steps(
    epsilon: float, *, delta: float, noise: float, rate: float, most: int, accountant: str = "prv", spent: History
) -> int:
    """How many more steps, at most `most`, stay within a budget."""

    def fits(steps: int) -> bool:
        return epsilon_of([*spent, (noise, rate, steps)], delta=delta, accountant=accountant) <= epsilon

    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def counted(history: History, *, noise: float, rate: float) -> History:
    """A history with one more step."""
    if history and history[-1][:2] == (noise, rate):
        return [*history[:-1], (noise, rate, history[-1][2] + 1)]
    return [*history, (noise, rate, 1)]
