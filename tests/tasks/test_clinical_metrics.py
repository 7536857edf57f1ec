"""Intervals and sensitivity of two classes: DeLong against its definition, thresholds against a loop."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

import lantu
from lantu.tasks import AUROCInterval, SensitivityAtSpecificity
from lantu.tasks.clinical_metrics import delong_interval
from lantu.tasks.detection_matching import match
from lantu.tasks.froc import RATES, froc, froc_of_detector


def scored(examples: int = 120, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = random.random(examples) < 0.4
    scores = (target * 1.0 + random.normal(0, 1, examples)).round(1)  # with ties
    return 1 / (1 + np.exp(-scores)), target


def test_delongs_interval_is_that_of_its_definition() -> None:
    scores, target = scored()
    positive, negative = scores[target], scores[~target]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)  # every pair, as DeLong writes it
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    area, low, high = delong_interval(scores, target)
    assert area == pytest.approx(roc_auc_score(target, scores))
    assert np.log(high / (1 - high)) - np.log(low / (1 - low)) == pytest.approx(
        2 * 1.959964 * variance**0.5 / (area * (1 - area)), rel=1e-5
    )


def test_delongs_interval_holds_the_true_area_as_often_as_it_says() -> None:
    truth = 0.7602  # the area of two normal distributions one deviation apart
    held = [low < truth < high for _, low, high in (delong_interval(*scored(seed=seed)) for seed in range(300))]
    assert 0.91 < np.mean(held) < 0.99


def test_sensitivity_is_the_largest_where_specificity_is_high_enough() -> None:
    scores, target = scored()
    metric = SensitivityAtSpecificity(min_specificity=0.9)
    metric.update(torch.tensor(scores[:50]), torch.tensor(target[:50]).long())
    metric.update(torch.tensor(scores[50:]), torch.tensor(target[50:]).long())
    false_positive, true_positive, _ = roc_curve(target, scores, drop_intermediate=False)
    assert float(metric.compute()) == pytest.approx(true_positive[false_positive <= 0.1 + 1e-9].max())
    alone = SensitivityAtSpecificity()
    alone.update(torch.tensor([0.2, 0.8]), torch.tensor([0, 0]))
    assert alone.compute().isnan(), "without positives it is not known"
    with pytest.raises(lantu.UserError, match="share, 0 to 1"):
        SensitivityAtSpecificity(min_specificity=90)


def test_a_froc_is_read_as_its_definition_says() -> None:
    random = np.random.default_rng(0)
    scores, target = scored(400)
    scans = random.integers(0, 20, 400)
    found = froc(scores, target, scans)
    for rate, sensitivity in zip(RATES, found.at, strict=True):
        right = [
            (scores[target] >= threshold).mean()
            for threshold in [np.inf, *np.unique(scores)]
            if (scores[~target] >= threshold).sum() / 20 <= rate
        ]
        assert sensitivity == pytest.approx(max(right)), rate
    assert found.score == pytest.approx(found.at.mean())
    assert found.interval[0] < found.score < found.interval[1]
    shuffled = random.permutation(400)
    again = froc(scores[shuffled], target[shuffled], np.array([f"scan {name}" for name in scans])[shuffled])
    assert again.at == pytest.approx(found.at)


def test_the_froc_of_a_detector_counts_findings_that_it_missed_and_pictures_without_a_box() -> None:
    def boxes(*corners: float, scores: list[float] | None = None) -> dict[str, torch.Tensor]:
        found = {
            "boxes": torch.tensor([[corner, corner, corner + 10, corner + 10] for corner in corners]).reshape(-1, 4),
            "labels": torch.zeros(len(corners), dtype=torch.long),
        }
        return found if scores is None else {**found, "scores": torch.tensor(scores)}

    pictures = [
        (boxes(0.0, 50.0, scores=[0.9, 0.8]), boxes(0.0, 100.0)),  # a hit, a false alarm, a miss
        (boxes(20.0, scores=[0.7]), boxes(20.0)),
        (boxes(scores=[]), boxes()),
        (boxes(scores=[]), boxes(30.0)),  # a miss
    ]
    curve = froc_of_detector([match(*pair) for pair in pictures])
    assert curve is not None
    assert curve.at.tolist() == [0.25] + 6 * [0.5], "one of four without a false alarm, two with one in four pictures"
    assert curve.scans == 4
    assert curve.interval[0] < curve.score < curve.interval[1]
    silent = froc_of_detector([match(boxes(scores=[]), boxes(0.0))] * 2)
    assert silent is not None
    assert silent.score == 0
    assert froc_of_detector([match(*pictures[2])]) is None


def test_they_are_added_to_a_run_by_its_config(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    run = lantu.run(
        lantu.compose(
            f"paths.root={tmp_path}", "data=breast_cancer", "model=linear", "trainer.max_epochs=2", "save_model=false",
            "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "task.scan='mean radius'",
            "+task.extra_metrics.interval._target_=lantu.tasks.AUROCInterval",
            "+task.extra_metrics.found._target_=lantu.tasks.SensitivityAtSpecificity", "notice=Not for patients.",
        )
    )  # fmt: skip
    found = run.metrics
    assert found["test/auroc_low"] < found["test/auroc"] < found["test/auroc_high"]
    assert 0 <= found["test/found"] <= 1
    assert found["test/froc_low"] <= found["test/froc_score"] <= found["test/froc_high"]
    assert (run.run_dir / "figures" / "froc.png").is_file()
    assert "Not for patients" in (run.run_dir / "config.yaml").read_text()
    assert "Not for patients" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["lung_ct", "mammography", "mammography_where"])
def test_medical_recipes_say_what_they_may_not_be_used_for(recipe: str) -> None:
    assert "not for diagnosis" in lantu.compose(f"experiment={recipe}").cfg.notice


def test_without_both_classes_no_interval_is_made_up() -> None:
    metric = AUROCInterval()
    metric.update(torch.tensor([0.2, 0.8]), torch.tensor([1, 1]))
    assert metric.compute() == {}
    metric.update(torch.tensor([0.3, 0.1, 0.4]), torch.tensor([1, 0, 0]))
    assert set(metric.compute()) == set(metric.parts), "so that `sweep.objective=test/auroc_low` is known"
