"""The direction of a metric is known from whole words, agrees with torchmetrics, and is demanded otherwise."""

import inspect
import re
from importlib import import_module

import pytest
import torchmetrics

from lantu.errors import UserError
from lantu.metric_direction import direction, known_direction


@pytest.mark.parametrize(
    "metric",
    ["val/loss", "val/nll", "val/ece", "val/lpips", "val/crps", "val/max_drawdown", "val/rmse", "val/bits_per_byte",
     "val/error_rate", "val/false_positive_rate", "val/perplexity", "val/wer", "cost/usd", "speed/latency_ms",
     "model/parameters", "val/loss_best", "val/mase", "test/fz0_1", "val/cross_entropy", "val/negative_log_likelihood",
     "fairness/race/demographic_parity_difference", "privacy/epsilon"],
)  # fmt: skip
def test_less_is_better(metric: str) -> None:
    assert direction(metric) == "min"


@pytest.mark.parametrize(
    "metric",
    ["val/accuracy", "val/answer_f1", "val/auroc", "val/r2", "val/exact_match", "val/chrf", "val/top5_accuracy",
     "val/map50", "val/error_reduction", "speed/samples_per_second", "val/accuracy_best", "val/miou",
     "val/log_likelihood", "fairness/race/demographic_parity_ratio"],
)  # fmt: skip
def test_more_is_better(metric: str) -> None:
    assert direction(metric) == "max"


@pytest.mark.parametrize(
    "metric", ["val/confidence", "val/certainty", "val/power", "val/lossless", "val/coverage", "test/exceedance_rate_1"]
)
def test_a_name_that_does_not_tell_needs_a_mode(metric: str) -> None:
    with pytest.raises(UserError, match=r"add `mode=min` or `mode=max`"):
        direction(metric)
    assert direction(metric, "max") == "max"


OTHERWISE = {
    "SpectralDistortionIndex": "min",  # 0 is no distortion
    "PerceptualPathLength": "min",
    "DaviesBouldinScore": "min",
    "WordInfoPreserved": "max",
    "BinaryFairness": None,  # several figures at once
    "BinaryGroupStatRates": None,
}
"""Where torchmetrics' flag contradicts the metric's own paper."""


def test_names_agree_with_torchmetrics() -> None:
    rooms = "audio image text nominal clustering detection regression retrieval segmentation multimodal classification"
    compared = 0
    for room in rooms.split():
        package = import_module(f"torchmetrics.{room}")
        for name in package.__all__:
            kind = getattr(package, name)
            if not (inspect.isclass(kind) and issubclass(kind, torchmetrics.Metric)):
                continue
            flag = kind.higher_is_better
            if flag not in (True, False):
                continue
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
            assert known_direction(f"val/{snake}") == OTHERWISE.get(name, "max" if flag else "min"), name
            compared += 1
    assert compared > 100
