"""Draw how well pairs of images are told apart."""

import numpy as np
from matplotlib.figure import Figure

from lantu.tasks.plots import COLOURS, sheet


def roc(cosine: np.ndarray, same: np.ndarray) -> Figure:
    """True accepts by false accepts, the latter on a scale of powers of ten."""
    figure, axes = sheet("Verification on all pairs")
    order = np.argsort(-cosine, kind="stable")
    tar, far = np.cumsum(same[order]) / same.sum(), np.cumsum(~same[order]) / (~same).sum()
    least = 1 / (~same).sum()
    axes.step(np.maximum(far, least), tar, where="post", color=COLOURS[0], linewidth=1.5)
    axes.set(xscale="log", xlabel="false accept rate", ylabel="true accept rate", xlim=(least, 1), ylim=(0, 1.02))
    return figure


def similarities(cosine: np.ndarray, same: np.ndarray, *, threshold: float) -> Figure:
    """How similar pairs of one person and of two people are, and the threshold that is in use."""
    figure, axes = sheet("Similarity of pairs")
    edges = np.linspace(min(cosine.min(), -0.2), 1, 60).tolist()
    for chosen, name, colour in ((same, "one person", COLOURS[2]), (~same, "two people", COLOURS[1])):
        axes.hist(cosine[chosen], bins=edges, density=True, alpha=0.6, color=colour, label=name)
    axes.axvline(threshold, color="0.3", linewidth=1, linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set(xlabel="cosine", ylabel="density")
    axes.legend(frameon=False)
    return figure
