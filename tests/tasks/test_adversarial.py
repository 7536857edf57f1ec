"""GANs: losses and penalties by hand, distances of known distributions, exact resume, new images."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import Tensor, nn

import lantu
from lantu.cli.main import main
from lantu.inference.evaluate import evaluate
from lantu.inference.rebuild import rebuild
from lantu.models import DCGAN, GAN, R3GAN
from lantu.tasks import Adversarial
from lantu.tasks.generation_quality import GenerationQuality, frechet_distance, kernel_distance, precision_and_recall
from lantu.tasks.image_features import InceptionFeatures

Train = Callable[..., lantu.Result]
CLASSES = [str(number) for number in range(10)]
PIXELS = {"pixel_mean": [127.5], "pixel_std": [127.5]}
QUICK = (
    "data=digits", "data.batch_size=64", "model.channels_first=16", "task.feature_steps=8", "task.compared=300",
    "trainer.limit_train_batches=3", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu", "logger.mlflow.ship=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    root = tmp_path_factory.mktemp("gan")
    return lantu.run(lantu.compose(f"paths.root={root}", "model=r3gan", *QUICK, "trainer.max_epochs=2"))


def task_of(net: nn.Module, **options: Any) -> Adversarial:
    return Adversarial(net, class_names=CLASSES, **options)  # type: ignore[arg-type]


class Linear(GAN):
    """A discriminator whose gradient at any image is its weight."""

    def __init__(self) -> None:
        super().__init__(
            channels=1, height=2, width=2, classes=10, noise=3, channels_first=4, conditional=False, **PIXELS
        )
        self.generator = nn.Linear(3, 4)
        self.discriminator = _Dot(torch.tensor([1.0, -2.0, 0.5, 0.0]))


class _Dot(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


@pytest.mark.parametrize(("objective", "expected"), [
    ("relativistic", np.log1p(np.exp(-1.0))),
    ("non_saturating", np.log1p(np.exp(-1.0)) + np.log(2)),
])  # fmt: skip
def test_the_discriminators_loss_and_its_two_penalties_are_those_of_the_papers(objective: str, expected: float) -> None:
    real, fake = torch.zeros(5, 1, 2, 2), torch.zeros(5, 1, 2, 2)
    real[:, 0, 0, 0] = 1.0  # its logit is 1, and that of the generated images is 0
    y = torch.zeros(5, dtype=torch.long)
    plain = task_of(Linear(), objective=objective, penalty=0.0)
    assert plain._discriminator_loss(real.clone(), fake.clone(), y, 0).item() == pytest.approx(expected)
    squared = 1 + 4 + 0.25  # the weight's, at real and at generated images alike
    every = task_of(Linear(), objective=objective, penalty=0.2, penalty_every=3)
    assert every._discriminator_loss(real.clone(), fake.clone(), y, 3).item() == pytest.approx(
        expected + 0.1 * 3 * 2 * squared
    )
    assert every._discriminator_loss(real.clone(), fake.clone(), y, 4).item() == pytest.approx(expected)


def test_distances_of_known_distributions_are_known() -> None:
    random = torch.Generator().manual_seed(0)
    real = torch.randn(4000, 8, generator=random)
    moved = torch.randn(4000, 8, generator=random) + torch.tensor([3.0] + [0.0] * 7)
    assert float(frechet_distance(real, moved)) == pytest.approx(9, rel=0.05)
    assert float(frechet_distance(real, 2 * real)) == pytest.approx(8, rel=0.05), "of deviations 1 and 2, 8 times"
    assert abs(float(kernel_distance(real, torch.randn(4000, 8, generator=random)))) < 0.02
    assert float(kernel_distance(real, moved)) > 0.5


def test_precision_is_of_the_generated_and_recall_of_the_real_images() -> None:
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 300, 4, generator=random) + torch.tensor([0.0, 100.0])[:, None, None]
    both = torch.cat([left, right])
    precision, recall = precision_and_recall(both, left + 0.01)
    assert (float(precision), float(recall)) == (1.0, 0.5), "half of the real ones are never made"
    precision, recall = precision_and_recall(left, both + 0.01)
    assert (float(precision), float(recall)) == (0.5, 1.0), "half of the made ones are not real"


def test_without_classes_to_ask_for_there_is_no_class_accuracy() -> None:
    quality = GenerationQuality("classifier", classes=3)
    features = torch.randn(2, 20, 4)
    quality.update(features[0], features[1], requested=None, predicted=torch.arange(20) % 3)
    found = quality.compute()
    assert "class_accuracy" not in found
    assert float(found["least_class_share"]) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", [DCGAN, R3GAN])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (20, 24), (64, 48)])
def test_images_of_any_size_are_made_and_judged(kind: type[GAN], size: tuple[int, int]) -> None:
    net = kind(3, *size, 4, channels_first=8, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3)  # type: ignore[call-arg]
    y = torch.tensor([0, 3])
    made = net(torch.randn(2, 64), y)
    assert made.shape == (2, 3, *size)
    assert made.abs().max() <= 1
    assert net.discriminator(made, y).shape == (2,)


@pytest.mark.slow
def test_a_gan_is_resumed_to_the_same_weights(trained: lantu.Result, tmp_path: Path) -> None:
    options = [f"paths.root={tmp_path}", "model=r3gan", *QUICK, "test=false", f"paths.run={tmp_path}/cut"]
    lantu.run(lantu.compose(*options, "trainer.max_epochs=1"))
    cut = lantu.run(lantu.compose(*options, "trainer.max_epochs=2", f"resume={tmp_path}/cut"))
    whole = torch.load(trained.run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    again = torch.load(cut.run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, again["state_dict"][name]), name
    assert "average.module.first.weight" in whole["state_dict"]


def test_a_run_is_judged_by_its_images_and_measures_the_same_again(trained: lantu.Result) -> None:
    names = {"fid_classifier", "kid_classifier", "precision_classifier", "recall_classifier", "least_class_share"}
    assert {f"test/{name}" for name in names} <= trained.metrics.keys()
    assert {"test/fid_floor_classifier", "test/nearest_ratio", "val/fid_classifier_best"} <= trained.metrics.keys()
    assert trained.metrics["test/fid_floor_classifier"] < trained.metrics["test/fid_classifier"]
    shown = {each.name for each in (trained.run_dir / "samples").glob("*.png")}
    assert {"generated.png", "nearest_training.png"} <= shown
    assert len(shown) == 4, "and one sheet for each of the two validations"
    again = evaluate(rebuild(trained.best_checkpoint), Trainer(logger=False, enable_progress_bar=False))  # type: ignore[arg-type]
    for name in ("test/fid_classifier", "test/recall_classifier", "test/nearest_ratio"):
        assert again[name] == pytest.approx(trained.metrics[name], rel=1e-4), name


def test_a_generator_that_copies_the_training_images_is_found_out(trained: lantu.Result) -> None:
    task: Any = trained.module
    x, y = trained.data.splits["train"].__getitems__(list(range(400)))  # type: ignore[attr-defined]
    images = task.net.images(x)

    class Copies(nn.Module):
        def forward(self, z: Tensor, labels: Tensor) -> Tensor:
            return torch.stack(
                [images[y == label][int(abs(each[0]) * 7)] for each, label in zip(z, labels, strict=True)]
            )

    copier = task_of(Linear())
    copier.classifier, copier.average = task.classifier, Copies()  # type: ignore[assignment]
    copier.net.pixel_mean, copier.net.pixel_std = task.net.pixel_mean, task.net.pixel_std
    shown = copier.samples(trained.data, stage="test")
    assert shown["test/nearest_ratio"] < 0.1
    assert task.samples(trained.data, stage="test")["test/nearest_ratio"] > 0.5


def test_predict_writes_images_of_the_classes_that_are_asked_for(
    trained: lantu.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"run={trained.run_dir}"
    assert not main(["predict", run, f"output={tmp_path}/new", "count=5", "classes=[3,7]"])
    names = sorted(each.name for each in (tmp_path / "new").iterdir())
    assert names == ["0_3.png", "1_7.png", "2_3.png", "3_7.png", "4_3.png"]
    first = np.asarray(Image.open(tmp_path / "new" / "0_3.png"))
    assert first.shape == (8, 8)
    assert not np.array_equal(first, np.asarray(Image.open(tmp_path / "new" / "2_3.png")))
    for wrong, said in {"classes=cat": "knows 0, 1", "output=a.csv": "output=DIR"}.items():
        assert main(["predict", run, f"output={tmp_path}/other", wrong]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_served_generator_answers_with_png_files(trained: lantu.Result) -> None:
    rebuilt = rebuild(trained.best_checkpoint)  # type: ignore[arg-type]
    answer = rebuilt.task.respond(rebuilt.data, pd.DataFrame({"class": ["1", "9"]}))
    assert [Image.open(BytesIO(each)).size for each in answer["image"]] == [(8, 8), (8, 8)]
    with pytest.raises(lantu.UserError, match="column `class`"):
        rebuilt.task.respond(rebuilt.data, pd.DataFrame({"kind": ["1"]}))


def test_several_devices_are_refused() -> None:
    with pytest.raises(lantu.UserError, match=r"trainer.devices=1"):
        task_of(Linear()).check_trainer(Trainer(devices=2, accelerator="cpu", logger=False))


@pytest.mark.slow
def test_inception_weights_of_a_local_file_measure_instead(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    theirs = inception_v3(weights=None, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "inception.pth")
    features = InceptionFeatures(str(tmp_path / "inception.pth"))
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    assert features(images).shape == (2, 2048)
    task = task_of(Linear(), inception=str(tmp_path / "inception.pth"))
    assert task.best_by == "val/fid_inception"
    assert any("quality" in name for name in task.metrics["val_"].keys())  # noqa: SIM118
