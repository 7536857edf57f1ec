"""The threshold is the one that pays best, reasons add up, and scores equal those of scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from torch import nn

from lantu.decisions import Decision
from lantu.decisions.attribution import integrated_gradients
from lantu.decisions.scores import auc, bootstrap_weights, ks
from lantu.errors import UserError
from lantu.tasks.known_metrics import KS, Gini

PROFIT = {"true_negative": 1.0, "false_negative": -5.0, "false_positive": 0.0, "true_positive": 0.0}


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N,) that are right, some of them equal, and what happened (N,)."""
    random = np.random.default_rng(0)
    p = random.beta(1, 3, 3000).round(2)
    return p, (random.random(3000) < p).astype(int)


def test_the_threshold_is_the_most_profitable_of_all(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    decision = Decision(profit=PROFIT)
    decision.fit(p, y == 1, None)
    every = [decision.profit.of(p, y, threshold).mean() for threshold in np.linspace(0, 1.001, 2003)]
    assert decision.profit.of(p, y, decision.threshold).mean() == pytest.approx(max(every), abs=1e-12)


def test_every_point_of_the_profit_curve_is_the_profit_at_its_threshold(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    profit = Decision(profit=PROFIT).profit
    thresholds, means = profit.curve(p, y)
    assert len(thresholds) == len(np.unique(p)) + 1
    np.testing.assert_allclose(means, [profit.of(p, y, each).mean() for each in thresholds], atol=1e-12)


def test_calibrated_probabilities_are_cut_where_elkan_says(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    chosen, theory = Decision(profit=PROFIT), Decision(profit=PROFIT, threshold="theory")
    chosen.fit(p, y == 1, None)
    theory.fit(p, y == 1, None)
    assert theory.threshold == pytest.approx(1 / 6)
    assert chosen.threshold == pytest.approx(1 / 6, abs=0.05)


def test_profits_under_which_one_action_always_wins_are_refused() -> None:
    with pytest.raises(UserError, match="true_negative more than"):
        Decision(profit={**PROFIT, "true_negative": -1.0})
    with pytest.raises(UserError, match=r"business\.profit"):
        Decision(profit={"true_negative": 1.0})


def test_integrated_gradients_add_up_to_the_difference_of_the_scores() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 1), nn.Flatten(0))
    x, reference = torch.randn(20, 5), torch.randn(5)
    found = integrated_gradients(net, x, reference)
    torch.testing.assert_close(found.sum(dim=1), net(x).detach() - net(reference[None]).detach(), atol=1e-5, rtol=1e-4)


def test_reasons_of_a_linear_score_are_its_terms_by_column_and_only_of_the_rejected() -> None:
    weights = torch.tensor([2.0, -1.0, 0.5, 0.0])
    decision = Decision(profit=PROFIT, reasons=2, columns=["age", "home", "home", "job"], reason_texts={"age": "Young"})
    x = torch.tensor([[1.0, 0.0, 1.0, 3.0], [0.1, 0.0, 4.0, 0.0], [-1.0, 1.0, 0.0, 0.0]])
    decision.fit(np.array([0.01, 0.9]), np.array([False, True]), torch.zeros(2, 4))
    with torch.inference_mode():
        attribution = decision.attribute(lambda z: z @ weights, x)
    assert attribution is not None
    torch.testing.assert_close(attribution, torch.tensor([[2.0, 0.5, 0.0], [0.2, 2.0, 0.0], [-2.0, -1.0, 0.0]]))
    named = decision.named(attribution.numpy(), np.array([True, True, False]))
    assert named == {"reason_1": ["Young", "home", ""], "reason_2": ["home", "Young", ""]}


def test_ks_gini_and_auc_equal_scipys_and_scikit_learns(scored: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = scored
    wanted = ks_2samp(p[y == 1], p[y == 0]).statistic
    assert ks(p, y) == pytest.approx(wanted, abs=1e-12)
    metric, gini = KS(), Gini()
    for each in (metric, gini):
        each.update(torch.from_numpy(p).float(), torch.from_numpy(y))
    assert float(metric.compute()) == pytest.approx(wanted, abs=1e-6)
    assert float(gini.compute()) == pytest.approx(2 * roc_auc_score(y, p) - 1, abs=1e-5)
    weights = bootstrap_weights(len(p), draws=3)
    many = [roc_auc_score(y, p, sample_weight=each) for each in weights]
    np.testing.assert_allclose(auc(p, y, weights), many, atol=1e-6)
