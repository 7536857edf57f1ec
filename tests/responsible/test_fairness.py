"""Figures by group are fairlearn's, their intervals cover, and mitigation narrows what it says it narrows."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer
from scipy.stats import fisher_exact
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import lantu
from lantu.cli.main import main
from lantu.decisions.decision import Profit
from lantu.inference.evaluate import evaluate
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.responsible.fairness import Fairness
from lantu.responsible.fairness.metrics import intersection, of_decisions, of_numbers
from lantu.responsible.fairness.mitigation import Mitigation, reweighing
from lantu.serving.http.served import ServedModel
from lantu.tasks import Regression
from lantu.tasks.group_thresholds import GroupThresholds


def decided(count: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Groups (N,) of three, of which the last has 9 examples, decisions, truth and probabilities."""
    random = np.random.default_rng(0)
    codes = np.concatenate([random.integers(0, 2, count - 9), np.full(9, 2)])
    probability = np.clip(random.beta(4, 2, count) - 0.2 * (codes == 1), 0.01, 0.99)
    return codes, probability > 0.5, random.random(count) < probability, probability


def test_figures_by_group_and_their_gaps_are_fairlearns() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="compares with fairlearn, which is not installed")
    codes, favoured, deserving, probability = decided()
    found = of_decisions("group", codes, ["a", "b", "c"], favoured=favoured, deserving=deserving,
                         probability=probability, least=1)  # fmt: skip
    rates = {
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
    }
    frame = fairlearn.MetricFrame(metrics=rates, y_true=deserving, y_pred=favoured, sensitive_features=codes)
    for metric in rates:
        values = [each.value for each in found.figures[metric]]
        np.testing.assert_allclose(values, frame.by_group[metric], rtol=1e-6)
    asked = {"y_true": deserving, "y_pred": favoured, "sensitive_features": codes}
    for gap in ("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference",
                "equal_opportunity_difference"):  # fmt: skip
        assert found.gaps[gap].value == pytest.approx(getattr(fairlearn, gap)(**asked), rel=1e-6), gap


def test_approvals_of_mortgages_by_race_are_as_fairlearn_counts_them(mirror: Path) -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="compares with fairlearn, which is not installed")
    rows = pd.read_csv(mirror / "tables" / "hmda.csv")
    race, denied = rows.pop("afam"), rows.pop("deny") == "yes"
    words = list(rows.select_dtypes(exclude="number"))
    features = make_column_transformer((OneHotEncoder(drop="first"), words), remainder=StandardScaler())
    model = make_pipeline(features, LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    p = cross_val_predict(model, rows, denied, cv=folds, method="predict_proba")[:, 1]
    approved = p < np.quantile(p, 0.88)
    codes, groups = pd.factorize(race, sort=True)
    found = of_decisions("afam", codes, list(groups), favoured=approved, deserving=~denied.to_numpy())
    rates = dict(zip(found.groups, (each.value for each in found.figures["selection_rate"]), strict=True))
    assert rates["no"] == pytest.approx(0.911, abs=0.003)
    assert rates["yes"] == pytest.approx(0.690, abs=0.003)
    ratio = found.gaps["demographic_parity_ratio"]
    assert ratio.value == pytest.approx(
        fairlearn.demographic_parity_ratio(~denied, approved, sensitive_features=race), rel=1e-6
    )
    assert ratio.value == pytest.approx(0.757, abs=0.003)
    difference = found.gaps["demographic_parity_difference"]
    assert (difference.low, difference.high) == pytest.approx((0.17, 0.27), abs=0.02)


def test_small_groups_are_shown_and_left_out_of_the_gaps() -> None:
    codes, favoured, deserving, _ = decided()
    found = of_decisions("group", codes, ["a", "b", "c"], favoured=favoured, deserving=deserving)
    assert found.counts[2] == 9
    assert found.too_small == ["c"]
    two = [each.value for each in found.figures["selection_rate"][:2]]
    assert found.gaps["demographic_parity_difference"].value == pytest.approx(abs(two[0] - two[1]))
    assert not of_decisions("g", codes, ["a", "b", "c"], favoured=favoured, deserving=deserving, least=5000).gaps


def test_the_interval_of_a_gap_covers_the_gap_of_the_population() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        codes = random.integers(0, 2, 400)
        favoured = random.random(400) < np.where(codes == 1, 0.5, 0.8)
        gap = of_decisions("g", codes, ["a", "b"], favoured=favoured, deserving=favoured).gaps
        covered.append(gap["demographic_parity_difference"].low <= 0.3 <= gap["demographic_parity_difference"].high)
    assert np.mean(covered) >= 0.85


def test_the_p_of_a_gap_is_that_of_fishers_test() -> None:
    codes, favoured = np.repeat([0, 1], [40, 60]), np.r_[np.arange(40) < 30, np.arange(60) < 33]
    gaps = of_decisions("g", codes, ["a", "b"], favoured=favoured, deserving=codes < 5).gaps
    exact = fisher_exact([[30, 10], [33, 27]]).pvalue
    assert gaps["demographic_parity_difference"].p == pytest.approx(exact, abs=0.02)
    assert gaps["accuracy_difference"].p == gaps["demographic_parity_difference"].p  # all deserve it


@pytest.mark.slow
def test_where_there_is_no_gap_p_is_uniform_and_the_interval_never_contains_0() -> None:
    random, p = np.random.default_rng(0), []
    for _ in range(30):
        codes = random.integers(0, 4, 300)
        deserving = random.random(300) < 0.3 + 0.15 * codes
        favoured = random.random(300) < np.where(deserving, 0.8, 0.3)  # the same odds in each group
        noise = random.standard_normal(300)
        found = of_decisions("g", codes, list("abcd"), favoured=favoured, deserving=deserving)
        numbers = of_numbers("g", codes, list("abcd"), predicted=noise, truth=noise[::-1])
        assert found.gaps["equalized_odds_difference"].low > 0
        p.append((found.gaps["equalized_odds_difference"].p, numbers.gaps["mae_difference"].p))
    for each in np.array(p).T:
        assert np.mean(each) == pytest.approx(0.5, abs=0.16)
        assert np.mean(each < 0.1) < 0.3


def test_a_gap_that_is_there_has_a_small_p() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 400)
    favoured = random.random(400) < np.where(codes == 1, 0.5, 0.8)
    found = of_decisions("g", codes, ["a", "b"], favoured=favoured, deserving=favoured, probability=0.9 * favoured)
    for gap in ("demographic_parity_difference", "demographic_parity_ratio", "calibration_difference"):
        assert found.gaps[gap].p < 0.001, gap
    assert "p 0.0005" in str(found.gaps["demographic_parity_ratio"])
    assert found.gaps["equal_opportunity_difference"].p == 1
    numbers = of_numbers("g", codes, ["a", "b"], predicted=codes * 1.0, truth=np.zeros(400))
    assert [each.p < 0.001 for each in numbers.gaps.values()] == [True] * 4


def test_figures_of_a_quantity_by_group_are_those_of_its_rows() -> None:
    random = np.random.default_rng(0)
    codes, truth = random.integers(0, 2, 300), random.normal(0, 1, 300)
    predicted = truth + 0.5 * (codes == 1)
    found = of_numbers("g", codes, ["a", "b"], predicted=predicted, truth=truth)
    assert [each.value for each in found.figures["mean_error"]] == pytest.approx([0.0, 0.5])
    assert found.gaps["mean_error_difference"].value == pytest.approx(0.5)


def test_each_of_several_targets_is_measured_by_group() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 300)
    price, size = random.normal(0, 1, (2, 300))
    y = torch.tensor(np.stack([price, size], axis=1))
    task = Regression(
        torch.nn.Identity(), target_names=["price", "size"], target_mean=[0.0, 0.0], target_std=[1.0, 1.0]
    )
    output = y + torch.tensor(codes)[:, None] * torch.tensor([0.5, -0.25])
    data = SimpleNamespace(slice_values=lambda split, column: pd.Categorical.from_codes(codes, ["a", "b"]))
    outputs = {"output": output.float(), "y": y.float(), "row": torch.arange(300)}
    by_price, by_size = Fairness(group=["g"]).measure(task, data, outputs)
    assert (by_price.key, by_size.key, by_size.title) == ("g/price", "g/size", "size by g")
    assert by_price.figures["mean_error"][1].value == pytest.approx(0.5)
    assert by_size.figures["mean_error"][1].value == pytest.approx(-0.25)


def test_an_intersection_has_a_group_for_each_combination_that_occurs() -> None:
    columns = {"race": pd.Categorical(["b", "w", "w"]), "sex": pd.Categorical(["f", "f", "m"])}
    name, codes, groups = intersection(columns)
    assert (name, codes.tolist(), groups) == ("race x sex", [0, 1, 2], ["b & f", "w & f", "w & m"])


def test_reweighing_makes_group_and_class_independent() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 3, 500)
    y = (random.random(500) < 0.2 + 0.2 * groups).astype(int)
    weights = reweighing(y, groups, classes=2)[groups, y]
    assert weights.mean() == pytest.approx(1)
    shares = [np.average(y[groups == each], weights=weights[groups == each]) for each in range(3)]
    assert shares == pytest.approx([y.mean()] * 3)


def test_a_loss_without_weights_and_strength_is_the_usual_one_and_targets_come_apart() -> None:
    loss = Mitigation(classes=2, constraint="demographic_parity", strength=0.0)
    y, groups = loss.apart(torch.tensor([0, 1, 2, 3, 5]))
    assert (y.tolist(), groups.tolist()) == ([0, 1, 0, 1, 1], [0, 0, 1, 1, 2])
    output = torch.randn(5, 2)
    torch.testing.assert_close(loss.loss(output, y, groups), torch.nn.functional.cross_entropy(output, y))


@pytest.fixture(scope="module")
def applicants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Group b is poorer and less often repays; income tells the group, which is no input."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"group": random.choice(["a", "b"], 1200), "sex": random.choice(["f", "m"], 1200)})
    rows["income"] = random.normal(0, 1, 1200) - 1.5 * (rows["group"] == "b")
    rows["savings"] = random.normal(0, 1, 1200)
    odds = 1 / (1 + np.exp(-rows["income"] - rows["savings"]))
    rows["repaid"] = np.where(random.random(1200) < odds, "yes", "no")
    path = tmp_path_factory.mktemp("fair") / "applicants.csv"
    rows.to_csv(path, index=False)
    return path


OPTIONS = (
    "model=linear", "optimizer.lr=0.05", "trainer.max_epochs=4", "trainer.enable_progress_bar=false", "logger=none",
    "save_model=false", "data.target=repaid", "data.ignore=[group,sex]", "data.numbers=standard",
    "fairness.favourable=yes",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(applicants: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    """A run that is measured by group and not made fairer."""
    folder = f"paths.root={tmp_path_factory.mktemp('plain')}"
    return lantu.run(lantu.compose("data=csv", f"data.path={applicants}", "fairness.group=[group]", *OPTIONS, folder))


def gap(result: lantu.Result) -> float:
    """The demographic parity difference of a run's test."""
    fairness = next(each for each in result.module.trainer.callbacks if isinstance(each, Fairness))
    return fairness.metrics["fairness/group/demographic_parity_difference"]


def test_evaluate_keeps_the_differences_where_the_fairness_gate_finds_them(plain: lantu.Result) -> None:
    assert main(["evaluate", f"run={plain.best_checkpoint}", "fairness.group=[group,sex]"]) == 0
    kept = json.loads((plain.run_dir / "fairness.json").read_text())
    assert kept["group"] == ["group", "sex"]
    name = "fairness/group/demographic_parity_difference"
    assert 0 < kept["metrics"][f"{name}_low"] < kept["metrics"][name] < kept["metrics"][f"{name}_high"]


@pytest.mark.parametrize(
    "how", [["fairness.mitigation=reweighing"], ["fairness.mitigation=constraint", "fairness.strength=20"]]
)
def test_mitigation_narrows_the_gap_that_is_left_without_it(
    how: list[str], plain: lantu.Result, applicants: Path, train: Callable[..., lantu.Result],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fair = train("data=csv", f"data.path={applicants}", "fairness.group=[group]", *OPTIONS, "fairness=mitigate", *how)
    assert gap(plain) > 0.3
    assert gap(fair) < gap(plain) - 0.04
    said = capsys.readouterr().out
    assert "demographic parity difference" in said
    assert "favourable outcome: yes" in said
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    again = evaluate(rebuild(fair.best_checkpoint), trainer)  # rebuilt without the group
    assert again == {name: value for name, value in fair.metrics.items() if name.startswith("test/")}


PROFIT = Profit(true_negative=1, false_negative=-3, false_positive=0, true_positive=0)


def scores(count: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated probabilities of an event, whether it happened, and groups, of which b has the larger ones."""
    random = np.random.default_rng(0)
    groups = np.where(random.random(count) < 0.3, "b", "a").astype(object)
    probability = random.beta(2, 6, count) + 0.25 * (groups == "b")
    return probability, random.random(count) < probability, groups


@pytest.mark.parametrize("equal", ["demographic_parity", "equal_opportunity", "equalized_odds"])
def test_thresholds_of_groups_make_the_rate_equal_that_is_asked_for_at_the_least_price(equal: str) -> None:
    p, event, groups = scores()
    profits = []
    for tolerance in (0.02, 0.2, 1.0):
        thresholds = GroupThresholds(["g"], [], equal=equal, tolerance=tolerance)
        thresholds.fit(p, event, groups, PROFIT)
        limits = thresholds.of(groups, 0.5)
        kept = p < limits
        parts = {"demographic_parity": [event >= 0], "equal_opportunity": [~event], "equalized_odds": [~event, event]}
        gaps = [abs(kept[part & (groups == "a")].mean() - kept[part & (groups == "b")].mean()) for part in parts[equal]]
        assert max(gaps) <= tolerance + 1e-9
        profits.append(PROFIT.of(p, event, limits).mean())
    assert profits == sorted(profits)
    best_of_each = sum(PROFIT.curve(p[groups == g], event[groups == g])[1].max() * (groups == g).mean() for g in "ab")
    assert profits[-1] == pytest.approx(best_of_each, abs=0.01)


def test_demographic_parity_costs_no_more_accuracy_than_fairlearns_threshold_optimizer() -> None:
    fairlearn = pytest.importorskip(
        "fairlearn.postprocessing", reason="compares with fairlearn, which is not installed"
    )
    p, event, groups = scores()
    alike = Profit(true_negative=1, false_negative=0, false_positive=0, true_positive=1)  # accuracy
    thresholds = GroupThresholds(["g"], [], tolerance=0.01)
    thresholds.fit(p, event, groups, alike)
    ours = alike.of(p, event, thresholds.of(groups, 0.5)).mean()
    model = LogisticRegression().fit(p[:, None], event)
    theirs = fairlearn.ThresholdOptimizer(estimator=model, prefit=True, predict_method="predict_proba", grid_size=200)
    theirs.fit(p[:, None], event, sensitive_features=groups)
    guessed = theirs.predict(p[:, None], sensitive_features=groups, random_state=0)
    assert ours >= (guessed == event).mean() - 0.005


def test_a_group_that_is_too_small_takes_the_common_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    p, event, groups = scores()
    groups[:9] = "c"
    thresholds = GroupThresholds(["g"], [])
    thresholds.fit(p, event, groups, PROFIT)
    assert sorted(thresholds.thresholds) == ["a", "b"]
    assert thresholds.of(np.array(["c", "a"]), 0.4).tolist() == [0.4, thresholds.thresholds["a"]]


def test_a_run_with_thresholds_of_groups_decides_by_the_group_and_needs_it_to_predict(
    applicants: Path, train: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    options = [each for each in OPTIONS if "favourable" not in each]
    fair = train("data=csv", f"data.path={applicants}", "fairness.group=[group]", *options, "fairness=mitigate",
                 "fairness.mitigation=thresholds", "business=credit", "data.classes=[yes,no]")  # fmt: skip
    assert gap(fair) < 0.15
    rebuilt = rebuild(fair.best_checkpoint)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    again = evaluate(rebuilt, trainer)
    assert again == {name: value for name, value in fair.metrics.items() if name.startswith("test/")}
    limits = rebuilt.task.by_group.thresholds
    frame = predict(rebuilt, trainer, applicants)
    expected = frame["probability_no"] >= frame["group"].map(limits)
    assert ((frame["decision"] == "reject") == expected).all()
    assert limits["a"] != limits["b"]
    row = {"income": 0.1, "savings": 0.2}
    assert "group" in {each["name"] for each in ServedModel(rebuilt, name="m", version="1").schema()}
    served = ServedModel(rebuilt, name="m", version="1")
    (answer,) = served.answer([served.prepare_rows([{**row, "group": "b"}])])[0]
    assert (answer["decision"] == "reject") == (answer["probability_no"] >= limits["b"])
    pd.DataFrame([row]).to_csv(tmp_path / "without.csv", index=False)
    with pytest.raises(lantu.UserError, match="`group` is lacking"):
        predict(rebuilt, trainer, tmp_path / "without.csv")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["fairness.group=[sex]", "fairness=mitigate", "fairness.mitigation=thresholds"], "add `business=credit`"),
        (["fairness.group=[tribe]"], "tribe"),
        (["fairness.group=[sex]", "fairness.favourable=perhaps"], "the classes are"),
        (["fairness.group=[sex]", "fairness=mitigate", "+task.class_weights=balanced"], "leave one out"),
        (["fairness.group=[sex]", "fairness=mitigate", "data.target=savings", "~fairness.favourable"], "two classes"),
    ],
)
def test_what_cannot_be_measured_or_mitigated_is_refused_in_words(
    asked: list[str], said: str, applicants: Path, train: Callable[..., lantu.Result]
) -> None:
    with pytest.raises(lantu.UserError, match=said):
        train("data=csv", f"data.path={applicants}", *OPTIONS, *asked)
