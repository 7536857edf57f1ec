"""A membership-inference attack: how well somebody tells training examples from others, measured.

Privacy guarantees are upper bounds. An attack is a lower one: it shows what a model gives away to somebody who tries.
The attack here is the likelihood-ratio test of Carlini et al. 2022 (LiRA) with Gaussians of one spread: shadow models
are trained on random halves of the data, so that every example is in about half of them.
"""

from dataclasses import dataclass

import numpy as np

LEAST_SPREAD = 1e-3
"""Of the scores of shadow models, against division by zero."""


@dataclass(frozen=True)
class Attack:
    """What an attack found out.

    Args:
        auc: 0.5 is guessing.
        tpr: share of the members that are found where 1% of the others are accused wrongly.
        epsilon: with 95% probability the training's epsilon is at least this, at the given delta; 0 says nothing.
    """

    auc: float
    tpr: float
    epsilon: float


def scaled_confidence(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The log odds (N,) of the right class, whose distribution is near a Gaussian.

    Args:
        probabilities: (N, classes).
        y: class numbers (N,).
    """
    right = np.clip(probabilities[np.arange(len(y)), y], 1e-12, 1 - 1e-12)
    return np.log(right) - np.log1p(-right)


def lira(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Evidence (M, N) that each example was a training example of each model, from the other models.

    Args:
        scores: scaled confidences (M models, N examples).
        member: whether a model was trained on an example (M, N).
    """
    found = np.zeros_like(scores)
    for model in range(len(scores)):
        others = np.arange(len(scores)) != model
        inside = np.where(member[others], scores[others], np.nan)
        outside = np.where(member[others], np.nan, scores[others])
        with np.errstate(all="ignore"):
            mean_in, mean_out = np.nanmean(inside, axis=0), np.nanmean(outside, axis=0)
            spread_in, spread_out = np.nanstd(inside, axis=0), np.nanstd(outside, axis=0)
        # few shadow models know the spread of a single example badly, so it is that of all
        spread_in = np.full_like(mean_in, max(np.nanmean(spread_in), LEAST_SPREAD))
        spread_out = np.full_like(mean_out, max(np.nanmean(spread_out), LEAST_SPREAD))
        here = scores[model]
        ratio = ((here - mean_out) / spread_out) ** 2 / 2 - ((here - mean_in) / spread_in) ** 2 / 2
        found[model] = np.nan_to_num(ratio + np.log(spread_out / spread_in))
    return found


def judge(evidence: np.ndarray, member: np.ndarray, *, delta: float = 1e-5) -> Attack:
    """Measure an attack.

    Args:
        evidence: any shape; more speaks for membership.
        member: the truth, of the same shape.
        delta: of the guarantee that is audited.
    """
    from scipy.stats import beta
    from sklearn.metrics import roc_auc_score

    evidence, member = evidence.ravel(), member.ravel().astype(bool)
    members, others = evidence[member], evidence[~member]
    threshold = np.quantile(others, 0.99)
    best = 0.0
    # a threshold is chosen on one half and judged on the other, since choosing the best one is optimistic
    half = np.random.default_rng(0).random(len(evidence)) < 0.5
    for share in (0.01, 0.02, 0.05, 0.1):
        cut = np.quantile(evidence[half & ~member], 1 - share)
        inside, outside = evidence[~half & member] > cut, evidence[~half & ~member] > cut
        # Clopper-Pearson limits, Bonferroni over the four thresholds
        level = 0.05 / 8
        low = beta.ppf(level, inside.sum(), len(inside) - inside.sum() + 1) if inside.sum() else 0.0
        high = beta.ppf(1 - level, outside.sum() + 1, len(outside) - outside.sum())
        if low > delta:
            best = max(best, float(np.log((low - delta) / high)))
    return Attack(
        auc=float(roc_auc_score(member, evidence)), tpr=float(np.mean(members > threshold)), epsilon=max(0.0, best)
    )
