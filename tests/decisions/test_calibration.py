"""A calibration finds what was done to probabilities, survives a checkpoint, and the ECE says what it claims."""

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from lantu.decisions import Calibration, Isotonic, Platt, Temperature
from lantu.decisions.calibration import log_odds
from lantu.decisions.scores import reliability
from lantu.errors import UserError

KINDS = [Temperature, Platt, Isotonic]


def logits_and_truth(classes: int, *, count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) whose softmax is the probability with which the truth (N,) was drawn."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (count, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    return torch.from_numpy(logits).float(), torch.from_numpy(y)


def test_temperature_finds_the_factor_by_which_logits_were_multiplied() -> None:
    logits, y = logits_and_truth(3)
    found = Temperature()
    found.fit(3 * logits, y)
    assert float(found.fitted["temperature"]) == pytest.approx(3, rel=0.05)


def test_platt_of_two_classes_equals_scikit_learns() -> None:
    logits, y = logits_and_truth(2, count=500)
    features = log_odds(logits.log_softmax(dim=1))[:, 1:].numpy()
    model = LogisticRegression().fit(features, y)
    model.coef_[:], model.intercept_[:] = 2.0, 0.5
    wanted = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(features, y).predict_proba(features)
    scores = torch.from_numpy(model.decision_function(features)).float()
    given = torch.stack([torch.zeros_like(scores), scores], dim=1)
    found = Platt()
    found.fit(given, y)
    calibrated = found(given).exp()
    np.testing.assert_allclose(calibrated.numpy(), wanted, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_undoes_overconfidence_on_examples_it_has_not_seen(kind: type[Calibration], classes: int) -> None:
    logits, y = logits_and_truth(classes)
    found = kind()
    found.fit(3 * logits[:2000], y[:2000])
    before = torch.nn.functional.cross_entropy(3 * logits[2000:], y[2000:])
    after = torch.nn.functional.nll_loss(found(3 * logits[2000:]), y[2000:])
    best = torch.nn.functional.cross_entropy(logits[2000:], y[2000:])
    assert after < before - 0.9 * (before - best)
    torch.testing.assert_close(found(logits).exp().sum(dim=1), torch.ones(len(y)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_is_the_same_after_it_was_saved(kind: type[Calibration]) -> None:
    logits, y = logits_and_truth(3, count=300)
    fitted, loaded = kind(), kind()
    fitted.fit(logits, y)
    loaded.load_state_dict(fitted.state_dict())
    torch.testing.assert_close(loaded(logits), fitted(logits), rtol=0, atol=0)


def test_temperature_keeps_the_order_and_an_unfitted_calibration_changes_nothing() -> None:
    logits, y = logits_and_truth(3, count=300)
    found = Temperature()
    torch.testing.assert_close(found(logits), logits.log_softmax(dim=1))
    found.fit(logits, y)
    assert torch.equal(found(logits).argmax(dim=1), logits.argmax(dim=1))


def test_isotonic_never_says_that_something_is_impossible() -> None:
    logits = torch.linspace(-5, 5, 100)
    found = Isotonic()
    found.fit(torch.stack([-logits, logits], dim=1), (logits > 0).long())
    assert found(torch.tensor([[100.0, -100.0]])).exp().min() == pytest.approx(1 / 102, rel=1e-3)


def test_too_few_validation_examples_are_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"data\.split\.val"):
        Platt().fit(torch.zeros(3, 2), torch.tensor([0, 1, 0]))


def test_the_ece_interval_covers_the_true_error_of_calibrated_and_of_miscalibrated_probabilities() -> None:
    random = np.random.default_rng(0)
    for shift in (0.0, 0.1):
        covered = []
        for seed in range(40):
            p = random.uniform(0.2, 0.8, 1000)
            found = reliability(p, (random.random(1000) < p - shift).astype(float), seed=seed)
            covered.append(found.interval[0] <= shift + 1e-9 and found.interval[1] >= shift)
        assert np.mean(covered) >= 0.85, shift


def test_the_ece_of_a_perfect_model_is_foretold() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0, 1, 2000)
    eces = [reliability(p, (random.random(2000) < p).astype(float)).ece for _ in range(20)]
    assert reliability(p, (random.random(2000) < p).astype(float)).expected == pytest.approx(np.mean(eces), rel=0.15)
