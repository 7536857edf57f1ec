"""The step, the losses and the metrics of every task, against scikit-learn and plain arithmetic."""

from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryCohenKappa

from lantu.errors import UserError
from lantu.tasks import Classification, LanguageModeling, Regression, Task


class Echo(nn.Module):
    """Answers its input, so that a test decides what the network says; one weight keeps optimizers content."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def measured(task: Task, x: Tensor, y: Tensor, tmp_path: Path, batch_size: int = 16) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    (found,) = trainer.test(task, DataLoader(TensorDataset(x, y), batch_size=batch_size), verbose=False)
    return dict(found)


def test_binary_metrics_are_scikit_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(101, 2), torch.randint(0, 2, (101,))
    found = measured(Classification(Echo(), classes=2), logits, y, tmp_path)
    predicted, score = logits.argmax(1).numpy(), logits.softmax(1)[:, 1].numpy()
    assert found["test/accuracy"] == pytest.approx(reference.accuracy_score(y, predicted))
    assert found["test/precision"] == pytest.approx(reference.precision_score(y, predicted))
    assert found["test/recall"] == pytest.approx(reference.recall_score(y, predicted))
    assert found["test/f1"] == pytest.approx(reference.f1_score(y, predicted))
    assert found["test/auroc"] == pytest.approx(reference.roc_auc_score(y, score))
    assert found["test/loss"] == pytest.approx(reference.log_loss(y, logits.softmax(1).double().numpy()), rel=1e-5)


def test_multiclass_metrics_are_scikit_learns_macro_means(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(150, 4), torch.randint(0, 4, (150,))
    found = measured(Classification(Echo(), classes=4), logits, y, tmp_path)
    predicted = logits.argmax(1).numpy()
    assert found["test/accuracy"] == pytest.approx(reference.accuracy_score(y, predicted))
    assert found["test/f1"] == pytest.approx(reference.f1_score(y, predicted, average="macro"))
    assert found["test/auroc"] == pytest.approx(
        reference.roc_auc_score(y, logits.double().softmax(1).numpy(), multi_class="ovr", average="macro"), rel=1e-5
    )


def test_a_loss_over_uneven_batches_is_the_mean_over_examples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(33, 3), torch.randint(0, 3, (33,))
    found = measured(Classification(Echo(), classes=3), logits, y, tmp_path, batch_size=32)
    assert found["test/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, y)), rel=1e-5)


def test_regression_metrics_are_in_the_targets_own_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(180_000, 50_000, (80, 1)), rng.normal(180_000, 50_000, (80, 1))
    scaled = [torch.tensor((each - 180_000) / 50_000, dtype=torch.float32) for each in (guess, truth)]
    task = Regression(Echo(), target_names=["price"], target_mean=[180_000.0], target_std=[50_000.0])
    found = measured(task, *scaled, tmp_path)
    assert found["test/mae"] == pytest.approx(reference.mean_absolute_error(truth, guess), rel=1e-4)
    assert found["test/rmse"] == pytest.approx(reference.mean_squared_error(truth, guess) ** 0.5, rel=1e-4)
    assert found["test/r2"] == pytest.approx(reference.r2_score(truth, guess), rel=1e-3)


def test_figures_that_a_split_cannot_tell_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    negatives = measured(Classification(Echo(), classes=2), torch.randn(20, 2), torch.zeros(20).long(), tmp_path)
    assert set(negatives) == {"test/loss", "test/accuracy", "test/precision"}
    assert "test/auroc" in capsys.readouterr().err
    task = Regression(Echo(), target_names=["y"], target_mean=[0.0], target_std=[1.0])
    for rows in (1, 3):
        assert "test/r2" not in measured(task, torch.randn(rows, 1), torch.ones(rows, 1), tmp_path)


def test_macro_means_are_over_the_classes_that_occur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(150, 4), torch.randint(0, 3, (150,))
    logits[:, 3] -= 1.0
    found = measured(Classification(Echo(), classes=4), logits, y, tmp_path)
    predicted, share = logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    assert (predicted == 3).any()
    each = [reference.roc_auc_score(y == number, share[:, number]) for number in range(3)]
    assert found["test/f1"] == pytest.approx(reference.f1_score(y, predicted, average="macro", labels=[0, 1, 2]))
    assert found["test/auroc"] == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(101_325.0, 10.0), (1.7e9, 5_000.0), (-1e12, 3.0)])
def test_r2_of_a_target_far_from_zero_is_scikit_learns(tmp_path: Path, mean: float, std: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 1))
    guess = truth + rng.normal(size=(300, 1)) * 0.1
    task = Regression(Echo(), target_names=["y"], target_mean=[mean], target_std=[std])
    found = measured(task, torch.tensor(guess).float(), torch.tensor(truth).float(), tmp_path)
    assert found["test/r2"] == pytest.approx(reference.r2_score(truth, guess), rel=1e-4)
    assert found["test/rmse"] == pytest.approx(std * reference.mean_squared_error(truth, guess) ** 0.5, rel=1e-4)


def test_language_metrics_follow_from_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(6, 5, 11), torch.randint(0, 11, (6, 5))
    net = Echo()
    net.scale = nn.Parameter(torch.ones(1, 1, 1))
    found = measured(LanguageModeling(net, bytes_per_token=2.0, context=5), logits, y, tmp_path)
    loss = float(nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten()))
    assert found["test/perplexity"] == pytest.approx(exp(loss), rel=1e-5)
    assert found["test/bits_per_byte"] == pytest.approx(loss / log(2) / 2.0, rel=1e-5)


def training_loss(task: Task, x: Tensor, y: Tensor) -> float:
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return float(task.training_step((x, y), 0))


def test_l1_adds_the_absolute_weights_to_the_objective_only() -> None:
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    plain, penalised = Classification(nn.Linear(3, 3), classes=3), Classification(nn.Linear(3, 3), classes=3, l1=0.1)
    penalised.net.load_state_dict(plain.net.state_dict())
    weights = float(plain.net.weight.abs().sum())  # type: ignore[union-attr, operator]
    assert training_loss(penalised, x, y) == pytest.approx(training_loss(plain, x, y) + 0.1 * weights, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"label_smoothing": 0.2}, lambda x, y: nn.functional.cross_entropy(x, y, label_smoothing=0.2)),
        (
            {"class_weights": "balanced", "class_counts": [1, 3]},
            lambda x, y: nn.functional.cross_entropy(x, y, weight=torch.tensor([2.0, 2 / 3])),
        ),
        (
            {"class_weights": [1.0, 5.0]},
            lambda x, y: nn.functional.cross_entropy(x, y, weight=torch.tensor([1.0, 5.0])),
        ),
    ],
)
def test_smoothing_and_class_weights_change_the_training_loss_only(
    options: dict[str, Any], expected: Callable[[Tensor, Tensor], Tensor]
) -> None:
    x, y = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    task = Classification(Echo(), classes=2, **options)
    assert training_loss(task, x, y) == pytest.approx(float(expected(x, y)), rel=1e-5)
    assert float(task.loss(x, y, stage="val")) == pytest.approx(float(nn.functional.cross_entropy(x, y)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Classification(Echo(), classes=3, class_weights=[1.0]), "a list of 3 numbers"),
        (lambda: Classification(Echo(), classes=3, class_weights="even"), "balanced"),
        (lambda: Classification(Echo(), classes=3, label_smoothing=1.5), "must lie in"),
        (
            lambda: Regression(Echo(), target_names=["y"], target_mean=[0.0], target_std=[1.0], loss="mape"),
            "mse, mae, huber",
        ),
    ],
)
def test_an_option_out_of_its_range_gets_a_sentence(make: Callable[[], Task], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def with_extra(task: type[Task], name: str, metric: Any, **options: Any) -> Task:
    return task(Echo(), extra_metrics={name: metric}, **options)


def test_a_users_metric_of_several_classes_gets_all_probabilities_and_agrees_with_scikit_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    y = torch.randint(0, 4, (150,))
    logits = torch.randn(150, 4) + 2.5 * nn.functional.one_hot(y, 4)
    predicted, chances = logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    task = with_extra(Classification, "kappa", torchmetrics.CohenKappa(task="multiclass", num_classes=4), classes=4)
    kappa = measured(task, logits, y, tmp_path)["test/kappa"]
    assert kappa == pytest.approx(reference.cohen_kappa_score(y, predicted), rel=1e-5)
    assert kappa > 0.5, "a metric fed the wrong thing is near 0"
    precision = torchmetrics.AveragePrecision(task="multiclass", num_classes=4)
    found = measured(with_extra(Classification, "ap", precision, classes=4), logits, y, tmp_path)
    wanted = reference.average_precision_score(np.eye(4)[y], chances, average="macro")
    assert found["test/ap"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("metric", [torchmetrics.CohenKappa(task="binary"), BinaryCohenKappa(),
                                    torchmetrics.CohenKappa(task="multiclass", num_classes=2)])  # fmt: skip
def test_a_users_metric_of_two_classes_agrees_with_scikit_learn(metric: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    y = torch.randint(0, 2, (101,))
    logits = torch.randn(101, 2) + 2 * nn.functional.one_hot(y, 2)
    found = measured(with_extra(Classification, "kappa", metric, classes=2), logits, y, tmp_path)
    assert found["test/kappa"] == pytest.approx(reference.cohen_kappa_score(y, logits.argmax(1).numpy()), rel=1e-5)


def test_a_users_metric_of_a_regression_is_in_the_targets_own_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(180_000, 50_000, (80, 1)), rng.normal(180_000, 50_000, (80, 1))
    scaled = [torch.tensor((each - 180_000) / 50_000, dtype=torch.float32) for each in (guess, truth)]
    options = {"target_names": ["price"], "target_mean": [180_000.0], "target_std": [50_000.0]}
    task = with_extra(Regression, "mape", torchmetrics.MeanAbsolutePercentageError(), **options)
    found = measured(task, *scaled, tmp_path)
    assert found["test/mape"] == pytest.approx(reference.mean_absolute_percentage_error(truth, guess), rel=1e-3)
    assert task.metric_directions()["val/mape"] == "min"
    assert task.metric_directions()["test/r2"] == "max"


def test_what_is_no_metric_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"`task\.extra_metrics\.kappa` is 3, not a metric"):
        with_extra(Classification, "kappa", 3, classes=2)


@pytest.mark.parametrize("task", [Classification(Echo(), classes=3), Regression(
    Echo(), target_names=["y"], target_mean=[2.0], target_std=[3.0])])  # fmt: skip
def test_the_losses_of_examples_average_to_the_loss_of_their_batch(task: Task) -> None:
    torch.manual_seed(0)
    output = torch.randn(9, 3) if isinstance(task, Classification) else torch.randn(9, 1)
    y = torch.randint(0, 3, (9,)) if isinstance(task, Classification) else torch.randn(9, 1)
    stored = task.per_example({"row": list(range(9)), "output": output, "y": y})
    assert stored is not None
    assert {"row", "target", "prediction", "loss"} <= stored.keys()
    assert float(np.mean(stored["loss"])) == pytest.approx(float(task.loss(output, y, stage="val")), rel=1e-5)


def test_the_probability_of_every_class_is_in_the_table_that_its_signature_describes() -> None:
    task = Classification(Echo(), classes=3, class_names=["a", "b", "c"])
    outputs = task.predictions(torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]))
    frame = task.to_frame(outputs, [])  # type: ignore[arg-type]
    assert list(frame["prediction"]) == ["c", "a"]
    assert frame[["probability_a", "probability_b", "probability_c"]].sum(axis=1).tolist() == pytest.approx([1, 1])
    assert list(frame["probability"]) == pytest.approx([frame["probability_c"][0], frame["probability_a"][1]])
    assert task.output_signature().input_names() == list(frame.columns)
    typed = [str(each) for each in task.output_signature().input_types()]
    assert typed == ["DataType.string", *["DataType.double"] * 4]


def test_a_served_number_is_a_double() -> None:
    task = Regression(Echo(), target_names=["y"], target_mean=[2.0], target_std=[3.0])
    assert [str(each) for each in task.output_signature().input_types()] == ["DataType.double"]


def test_test_time_augmentation_is_the_mean_of_a_picture_and_its_mirror_image() -> None:
    from lantu.models import CNN

    net = CNN(channels=1, outputs=3, widths=[4]).eval()
    task = Classification(net, classes=3, tta=True).eval()
    x = torch.rand(5, 1, 8, 8)
    expected = (net(x).softmax(-1) + net(x.flip(-1)).softmax(-1)) / 2
    assert torch.allclose(task.predict_step(x)["probability"], expected, atol=1e-6)
    assert torch.allclose(task.answer(x, stage="test").softmax(-1), expected, atol=1e-6)
    assert torch.equal(task.answer(x, stage="val"), net(x))
    with pytest.raises(UserError, match="mirrors pictures"):
        Classification(torch.nn.Linear(2, 3), classes=3, tta=True).predict_step(torch.rand(4, 2))
