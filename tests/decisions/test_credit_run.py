"""A calibrated, deciding classifier measures and answers alike in its run, in evaluate, in predict and when served."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer

import lantu
from lantu.compare.analysis import Options, analyse
from lantu.compare.reading.run_frames import Selection
from lantu.compare.reading.stores import open_reader
from lantu.compare.report.example_section import examples_section
from lantu.inference.evaluate import evaluate
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.registry.evidence import Evidence
from lantu.registry.launch_lines import lines_of
from lantu.serving.model import Model
from tests.compare.made import Made, uri, write

COLUMNS = ["prediction", "probability", "probability_good", "probability_bad", "decision", "reason_1", "reason_2"]


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(1)
    rows = pd.DataFrame({"income": random.normal(0, 1, 600), "age": random.normal(0, 1, 600)})
    rows["home"] = random.choice(["rent", "own"], 600)
    risk = 1 / (1 + np.exp(1 + 2 * rows["income"] - (rows["home"] == "rent")))
    rows["status"] = np.where(random.random(600) < risk, "bad", "good")
    path = tmp_path_factory.mktemp("loans") / "loans.csv"
    rows.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def result(loans: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    folder = tmp_path_factory.mktemp("run")
    return lantu.run(
        lantu.compose(
            "data=csv", f"data.path={loans}", "data.target=status", "data.split.val=0.2", "model=mlp",
            "model.hidden=[8]", "optimizer.lr=0.02", "calibration=isotonic", "business=credit", "business.reasons=2",
            "callbacks=[default,ema]", "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "save_model=false",
            f"paths.root={folder}", "logger.mlflow.ship=false",
        )
    )  # fmt: skip


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                   default_root_dir=tmp_path)  # fmt: skip


@pytest.mark.slow
def test_the_test_is_measured_with_the_checkpoints_own_calibration_and_evaluate_repeats_it(
    result: lantu.Result, trainer: Trainer
) -> None:
    rebuilt = rebuild(result.best_checkpoint)
    assert rebuilt.task.calibration.is_fitted
    assert evaluate(rebuilt, trainer) == {k: v for k, v in result.metrics.items() if k.startswith("test/")}
    assert result.metrics["test/loss"] != result.metrics["test/loss_uncalibrated"]
    assert {"test/gini", "test/ks", "test/brier", "test/ece_low", "test/profit", "test/acceptance_rate"} <= set(
        result.metrics
    )


def test_threshold_and_calibration_come_from_validation_alone(result: lantu.Result, loans: Path) -> None:
    task, data = rebuild(result.best_checkpoint).task, result.data
    x, y = data.splits["val"].__getitems__(list(range(len(data.splits["val"]))))
    with torch.no_grad():
        p = task.probabilities(task.calibration(task.net(x)))[:, 1].double().numpy()
    assert task.calibration.examples == len(y)
    _, profits = task.decision.profit.curve(p, (y == 1).numpy())
    earned = task.decision.profit.of(p, (y == 1).numpy(), task.decision.threshold).mean()
    assert earned == pytest.approx(profits.max(), abs=1e-9)


def test_predictions_hold_every_class_a_decision_and_reasons_and_a_served_model_answers_the_same(
    result: lantu.Result, trainer: Trainer, loans: Path
) -> None:
    rebuilt = rebuild(result.best_checkpoint)
    found = predict(rebuilt, trainer, loans)
    assert list(found.columns[-len(COLUMNS) :]) == COLUMNS
    rejected = found["probability_bad"] >= rebuilt.task.decision.threshold
    assert (found["decision"] == np.where(rejected, "reject", "accept")).all()
    assert (found.loc[rejected, "reason_1"] != "").mean() > 0.9
    served = Model(rebuild(result.best_checkpoint)).predict(pd.read_csv(loans))
    pd.testing.assert_frame_equal(served, found[COLUMNS], check_dtype=False, rtol=1e-6)
    named = [each.name for each in rebuilt.task.output_signature().inputs]
    assert named == COLUMNS


def test_figures_of_the_test_show_reliability_gains_and_profit(result: lantu.Result) -> None:
    drawn = {file.stem for file in (result.run_dir / "figures").glob("*.png")}
    assert {"reliability", "gains", "ks", "acceptance", "profit"} <= drawn


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["data=digits", "business=credit"], "two classes"),
        (["data=ames", "model=mlp", "calibration=platt"], "probabilities of classes"),
        (["calibration=platt", "trainer.limit_val_batches=0"], "validation split"),
        (["business=default"], "lantu compare"),
        (
            ["business=credit", "business.profit.true_negative=-9", "data=breast_cancer", "model=linear"],
            "must earn more",
        ),
    ],
)
def test_what_cannot_be_calibrated_or_decided_is_refused_in_words(
    asked: list[str], said: str, tmp_path: Path, mirror: Path
) -> None:
    with pytest.raises(lantu.UserError, match=said):
        lantu.run(lantu.compose(*asked, f"paths.root={tmp_path}", "logger=none", f"paths.mirror={mirror}"))


def test_the_calibration_error_is_the_same_in_the_run_the_comparison_the_report_and_the_launch_page(
    result: lantu.Result, tmp_path: Path
) -> None:
    ece, low, high = (result.metrics[f"test/{name}"] for name in ("ece", "ece_low", "ece_high"))
    metrics = {name: result.metrics[name] for name in ("test/ece", "test/loss")}
    tags = {"lantu.run_dir": str(result.run_dir)}
    write(uri(tmp_path), [Made(f"lr={lr}", {"seed": 0, "optimizer.lr": lr}, metrics, tags=tags) for lr in (0.1, 0.2)])
    reader, made = open_reader(uri(tmp_path)), Selection(experiments=("made",))
    assert analyse(reader, made, Options(metric="test/ece")).table["test/ece"].tolist() == pytest.approx([ece, ece])
    section = examples_section(analyse(reader, made, Options(metric="test/loss")))
    assert section.count(f"(ECE {ece:.3f}, 95% interval {low:.3f} to {high:.3f})") == 2
    stored = pd.read_parquet(result.run_dir / "predictions" / "test.parquet")
    evidence = Evidence("0123456789ab", name="loans", predictions={"test": stored})
    launch = {each.gate: each for each in lines_of(evidence, None, {}, history=[], business={})}
    found = (launch["calibration"].value, launch["calibration"].low, launch["calibration"].high)
    assert found == pytest.approx((ece, low, high), abs=1e-5)
