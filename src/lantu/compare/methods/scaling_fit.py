"""Fit a scaling law to the user's own runs.

Approach 3 of Hoffmann et al. 2022: the Huber loss (delta 1e-3) between log L and the log of the form, by L-BFGS from
many starts. Intervals come from a bootstrap of the runs. As Besiroglu et al. 2024 ("Chinchilla Scaling: A replication
attempt") point out, the objective is a sum over runs: an average lets L-BFGS stop too early.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize

from lantu.compare.methods.scaling_law import FLOPS_PER_PARAMETER_AND_SAMPLE, Law, log_loss, natural

DELTA = 1e-3
"""Huber's delta, on log losses."""
FEWEST = {"two": 8, "one": 4}
"""Different points that a fit needs: three more than it has coefficients, or one more for a single variable."""
_WORDS = {"N": "the network", "D": "the amount of data", "C": "the compute"}


@dataclass(frozen=True)
class Refused:
    """Why the runs do not identify a law."""

    reason: str


def fit(
    loss: np.ndarray,
    *,
    parameters: np.ndarray | None = None,
    samples: np.ndarray | None = None,
    compute: np.ndarray | None = None,
    draws: int = 80,
    seed: int = 0,
) -> Law | Refused:
    """Fit the law that the runs identify.

    Args:
        loss: (runs,) final losses, above zero.
        parameters: (runs,) network sizes N.
        samples: (runs,) training samples or tokens seen, D.
        compute: (runs,) FLOPs, used where neither N nor D is given.
        draws: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        The law, or why there is none: too few points, too narrow a range, N and D that move together, or a fit
        whose bootstrap does not settle.
    """
    given = {"N": parameters, "D": samples, "C": compute}
    columns = {name: np.asarray(values, dtype=float) for name, values in given.items() if values is not None}
    usable = np.isfinite(loss) & (loss > 0)
    for values in columns.values():
        usable &= np.isfinite(values) & (values > 0)
    loss = np.asarray(loss, dtype=float)[usable]
    columns = {name: values[usable] for name, values in columns.items()}
    varying = {name: values for name, values in columns.items() if len(np.unique(values)) > 1}
    if {"N", "D"} <= varying.keys():
        chosen: tuple[str, ...] = ("N", "D")
    elif varying:
        chosen = (next(iter(varying)),)
    else:
        if not len(loss):
            return Refused("no run has a loss above zero together with its model size and the samples it has seen.")
        missing = " (how many samples the runs have seen is not known)" if samples is None and compute is None else ""
        return Refused(f"model size and data size are the same in all runs{missing}.")
    x = np.log(np.stack([varying[name] for name in chosen]))
    refused = _unidentified(chosen, x, loss)
    if refused:
        return refused
    return _fitted(chosen, x, np.log(loss), draws=draws, seed=seed)


def _fitted(chosen: tuple[str, ...], x: np.ndarray, y: np.ndarray, *, draws: int, seed: int) -> Law | Refused:
    best = _minimise(x, y, starts=_starts(x, y))
    random = np.random.default_rng(seed)
    resampled = []
    for _ in range(draws):
        rows = random.integers(0, len(y), len(y))
        resampled.append(_minimise(x[:, rows], y[rows], starts=[best]))
    bootstrap = np.array(resampled)
    values = natural(best[None])[0]
    names = ("E", "A", "alpha", "B", "beta")[: len(values)]
    law = Law(
        variables=chosen,
        coefficients=dict(zip(names, map(float, values), strict=True)),
        bootstrap=bootstrap,
        parameters=best,
        residual=float(np.median(np.abs(y - log_loss(best, x))) * 1.4826),
        points=len(y),
        ranges={
            name: (float(np.exp(row.min())), float(np.exp(row.max()))) for name, row in zip(chosen, x, strict=True)
        },
        largest=_largest(chosen, x),
    )
    for name in names:
        if name not in ("alpha", "beta"):
            continue
        variable = chosen[0] if name == "alpha" else chosen[-1]
        low, high = law.intervals()[name]
        if law.coefficients[name] <= 0.005 or low <= 0.005:
            return Refused(
                f"the loss does not fall reliably as {_WORDS[variable]} grows "
                f"(its exponent is {law.coefficients[name]:.2f}, 95% interval {low:.2f} to {high:.2f})."
            )
        if high - low > 1.5:
            return Refused(
                f"the runs leave the exponent of {_WORDS[variable]} open (95% interval {low:.2f} to {high:.2f}); "
                "more sizes, further apart, or more seeds would settle it."
            )
    return law


def _largest(chosen: tuple[str, ...], x: np.ndarray) -> float:
    if chosen == ("C",):
        return float(np.exp(x.max()))
    return float(FLOPS_PER_PARAMETER_AND_SAMPLE * np.exp(x.sum(axis=0).max())) if len(chosen) == 2 else float("nan")


def _unidentified(chosen: tuple[str, ...], x: np.ndarray, loss: np.ndarray) -> Refused | None:
    different = len(np.unique(x, axis=1).T)
    fewest = FEWEST["two" if len(chosen) == 2 else "one"]
    what = " and ".join(_WORDS[name] for name in chosen)
    if different < fewest:
        return Refused(f"{different} different points of {what} are too few; a fit needs at least {fewest}.")
    for name, row in zip(chosen, x, strict=True):
        steps, span = len(np.unique(row)), float(np.exp(row.max() - row.min()))
        if steps < 3:
            return Refused(f"{_WORDS[name]} has only {steps} different sizes; the curve needs at least three.")
        if span < 3:
            return Refused(f"{_WORDS[name]} varies only by a factor of {span:.1f}; the curve needs a factor of three.")
    if len(chosen) == 2:
        r = float(np.corrcoef(x)[0, 1])
        if abs(r) > 0.98:
            return Refused(
                f"the network and the amount of data grow together (correlation {r:.2f} of their logarithms), "
                "so that their effects cannot be told apart. Vary one while the other stays."
            )
    if loss.max() / loss.min() < 1.005:
        return Refused("the losses are all the same within half a per cent; there is no curve to fit.")
    return None


def _objective(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The summed Huber loss on logs and its gradient."""

    def value(p: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.empty((1 + len(x), x.shape[1]))
        terms[0] = p[0]
        for place, row in enumerate(x):
            terms[1 + place] = p[1 + 2 * place] - p[2 + 2 * place] * row
        top = terms.max(axis=0)
        weights = np.exp(terms - top)
        total = weights.sum(axis=0)
        error = top + np.log(total) - y
        weights /= total
        size = np.abs(error)
        huber = np.where(size <= DELTA, 0.5 * error**2, DELTA * (size - 0.5 * DELTA))
        slope = np.clip(error, -DELTA, DELTA)
        gradient = np.empty_like(p)
        gradient[0] = (slope * weights[0]).sum()
        for place, row in enumerate(x):
            gradient[1 + 2 * place] = (slope * weights[1 + place]).sum()
            gradient[2 + 2 * place] = -(slope * weights[1 + place] * row).sum()
        # Huber's loss at delta 1e-3 is tiny: scaled, so that L-BFGS does not take it for converged
        return float(huber.sum()) / DELTA**2, gradient / DELTA**2

    return value


def _starts(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """A grid as in their appendix D.2, placed where the data are: exponents by hand, terms as shares of the loss."""
    lowest, middle = float(y.min()), x.mean(axis=1)
    grid = []
    for share, *exponents in product((0.2, 0.6, 0.95), *([(0.1, 0.4, 0.9)] * len(x))):
        start = [lowest + np.log(share)]
        rest = np.log(max(np.exp(y.mean()) - share * np.exp(lowest), 1e-6) / len(x))
        for exponent, centre in zip(exponents, middle, strict=True):
            start += [rest + exponent * centre, exponent]
        grid.append(np.array(start))
    return grid


def _minimise(x: np.ndarray, y: np.ndarray, *, starts: list[np.ndarray]) -> np.ndarray:
    """The best of L-BFGS from every start, in centred variables (intercept and slope are then nearly independent)."""
    centre = x.mean(axis=1)
    moved, objective = x - centre[:, None], _objective(x - centre[:, None], y)
    assert moved.shape == x.shape
    bounds = [(None, None)] + [(None, None), (0.0, 3.0)] * len(x)
    best, lowest = starts[0], np.inf
    inners = []
    for start in starts:
        inner = start.copy()
        for place, c in enumerate(centre):
            inner[1 + 2 * place] -= inner[2 + 2 * place] * c
        inners.append(inner)
    # the third of the starts that is nearest to begin with; the rest end at the same places or higher
    for inner in sorted(inners, key=lambda each: objective(each)[0])[: max(1, len(inners) // 3)]:
        found = minimize(objective, inner, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
        if found.fun < lowest:
            lowest, best = found.fun, found.x.copy()
    for place, c in enumerate(centre):
        best[1 + 2 * place] += best[2 + 2 * place] * c
    return best
