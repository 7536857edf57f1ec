"""Detection: average precision against a loop, boxes in the pixels of the picture, every network step to request."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

import lantu
import lantu.data
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.models.pretrained_detectors import Detections
from lantu.serving.model import Model
from lantu.tasks import Detection
from lantu.tasks.average_precision import AveragePrecision
from lantu.tasks.average_precision_interval import interval_over_pictures
from lantu.tasks.detection import as_coco
from lantu.tasks.detection_matching import match, truth_of

MODELS = ("yolo", "detr", "deformable_detr", "rt_detr", "dfine", "fcos", "retinanet")
SMALL = {"yolo": ["model.width_factor=0.125"], "fcos": ["model.width=64"], "retinanet": ["model.width=64"]}
UNDRAWN = {False: [], True: ["callbacks.samples=null"]}
"""What is drawn does not depend on the network, and hundreds of boxes take longer than the training."""
Boxes = dict[str, Tensor]


class Answers(nn.Module):
    """A network that answers what it was told to."""

    needs_nms = True

    def __init__(self, boxes: Tensor, scores: Tensor) -> None:
        super().__init__()
        self.boxes, self.scores = boxes, scores

    def forward(self, x: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Detections:
        return Detections(self.boxes, self.scores, None)


def random_scene(pictures: int, classes: int) -> tuple[list[Boxes], list[Boxes]]:
    """Predictions that are true boxes moved a little, missing ones and inventions; and the true boxes."""
    random = torch.Generator().manual_seed(0)
    found, truth = [], []
    for _ in range(pictures):
        count = int(torch.randint(0, 6, (1,), generator=random))
        first = 100 * torch.rand(count, 2, generator=random)
        boxes = torch.cat([first, first + 10 + 60 * torch.rand(count, 2, generator=random)], dim=1)
        labels = torch.randint(0, classes, (count,), generator=random)
        moved = boxes + 4 * torch.randn(count, 4, generator=random)
        invented = boxes.flip(0) + 30
        found.append(
            {
                "boxes": torch.cat([moved[1:], invented]), "labels": torch.cat([labels[1:], labels]),
                "scores": torch.rand(len(moved[1:]) + count, generator=random),
            }
        )  # fmt: skip
        truth.append({"boxes": boxes, "labels": labels, "iscrowd": torch.zeros(count, dtype=torch.long)})
    return found, truth


def average_precision(found: list[Boxes], truth: list[Boxes], label: int, iou: float) -> float:
    """COCO's for one class and one overlap: greedy hits, precision made monotone, its mean at 101 recalls."""
    rows, total = [], 0
    for each, real in zip(found, truth, strict=True):
        mine, its = each["labels"] == label, real["boxes"][real["labels"] == label]
        total += len(its)
        free = torch.ones(len(its), dtype=torch.bool)
        for row in each["scores"][mine].argsort(descending=True, stable=True):
            overlaps = box_iou(each["boxes"][mine][row : row + 1], its)[0].masked_fill(~free, -1)
            hit = len(its) > 0 and float(overlaps.max()) >= iou
            if hit:
                free[overlaps.argmax()] = False
            rows.append((-float(each["scores"][mine][row]), hit))
    hits = np.array([hit for _, hit in sorted(rows, key=lambda each: each[0])])
    recall, precision = hits.cumsum() / total, hits.cumsum() / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([precision[place] if place < len(precision) else 0.0 for place in places]))


def test_average_precision_is_that_of_a_loop_over_classes_and_overlaps() -> None:
    found, truth = random_scene(20, classes=3)
    metric = AveragePrecision(["a", "b", "c"])
    metric.update(found[:7], truth[:7])
    metric.update(found[7:], truth[7:])
    measured = metric.compute()
    overlaps = np.arange(0.5, 0.96, 0.05)
    expected = np.array([[average_precision(found, truth, label, iou) for iou in overlaps] for label in range(3)])
    assert float(measured["map"]) == pytest.approx(expected.mean(), abs=1e-4)
    assert float(measured["map_50"]) == pytest.approx(expected[:, 0].mean(), abs=1e-4)
    assert float(measured["map_75"]) == pytest.approx(expected[:, 5].mean(), abs=1e-4)
    for label, name in enumerate("abc"):
        assert float(measured[f"ap_{name}"]) == pytest.approx(expected[label].mean(), abs=1e-4)
    assert 0.05 < float(measured["map"]) < 0.9


def test_the_interval_of_map_50_contains_cocos_value_and_narrows_with_more_pictures() -> None:
    widths = []
    for pictures in (20, 200):
        found, truth = random_scene(pictures, classes=3)
        metric = AveragePrecision(["a", "b", "c"])
        metric.update(found, truth)
        interval = interval_over_pictures(found, truth)
        assert interval is not None
        assert interval.value == pytest.approx(float(metric.compute()["map_50"]), abs=1e-4)
        assert interval.low < interval.value < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2
    assert interval_over_pictures(found[:1], truth[:1]) is None  # one picture says nothing of others


def test_intervals_belong_to_a_test_and_a_froc_to_one_class() -> None:
    found, truth = random_scene(6, classes=1)
    for classes in (["a"], ["a", "b"]):
        task = Detection(nn.Identity(), class_names=classes)
        shown = list(task.figures("test", {"found": found, "truth": truth}))
        tables = {name: table for name, table in shown if isinstance(table, dict)}
        assert tables["map_50_interval"]["pictures"] == [6]
        assert ("froc" in tables) == ("froc_interval" in tables) == (len(classes) == 1)


def test_what_a_split_has_no_object_for_is_left_out() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "scores": torch.zeros(0)}
    one = {"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}
    metric = AveragePrecision(["a", "b"])
    metric.update([nothing, one], [one, one])
    measured = metric.compute()
    assert "ap_a" not in measured
    assert "map_large" not in measured
    assert float(measured["ap_b"]) == pytest.approx(0.505, abs=0.01)  # half of the objects, without a false alarm
    empty = AveragePrecision(["a", "b"])
    empty.update([nothing], [nothing])
    assert not empty.compute()
    missed = AveragePrecision(["a", "b"])
    missed.update([nothing], [one])
    assert float(missed.compute()["map"]) == 0


def test_boxes_are_suppressed_by_class_and_brought_back_to_the_pixels_of_the_picture() -> None:
    boxes = torch.tensor([[[0.0, 0, 32, 32], [1, 1, 33, 33], [40, 40, 70, 62], [0, 0, 1, 1]]])
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.7], [0.0, 0.95], [0.0001, 0.0]]])
    task = Detection(Answers(boxes, scores), class_names=["a", "b"], most=3, overlap=0.6)
    y = {"scale": torch.tensor([[0.5, 0.25]]), "size": torch.tensor([[128, 256]])}
    (found,) = task.postprocess(task.net(boxes), y, 0.01)
    assert found["labels"].tolist() == [1, 0, 1]  # the second box is the first of class b
    torch.testing.assert_close(found["scores"], torch.tensor([0.95, 0.9, 0.7]))
    assert found["boxes"].tolist() == [[80, 160, 128, 248], [0, 0, 64, 128], [2, 4, 66, 132]]


def test_a_crowd_is_not_learned_from_and_a_box_in_it_is_not_wrong() -> None:
    seen: list[Tensor] = []

    class Looks(Answers):
        def forward(self, x: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Detections:
            assert labels is not None
            seen.append(labels)
            return Detections(self.boxes, self.scores, {"class": torch.zeros((), requires_grad=True)})

    boxes = torch.tensor([[[0.0, 0, 30, 30], [50, 50, 60, 60]]])
    task = Detection(Looks(boxes, torch.tensor([[[0.9], [0.8]]])), class_names=["a"])
    y = {
        "boxes": torch.tensor([[[0.0, 0, 30, 30], [40, 40, 90, 90]]]), "labels": torch.tensor([[0, 0]]),
        "crowd": torch.tensor([[False, True]]), "scale": torch.ones(1, 2), "size": torch.tensor([[100, 100]]),
        "index": torch.tensor([0]),
    }  # fmt: skip
    found, _ = task.output_and_loss(torch.zeros(1, 3, 96, 96), y, stage="test")
    assert seen[0].tolist() == [[0, -1]]
    each = match(found[0], truth_of(y)[0])
    assert (each.hits.tolist(), each.false_alarms, each.misses) == ([0, -1], 0, 0)


def test_predictions_are_written_in_cocos_words() -> None:
    outputs = {
        "size": torch.tensor([[100, 80], [50, 50]]),
        "boxes": [torch.tensor([[10.0, 20, 30, 60]]), torch.zeros(0, 4)],
        "scores": [torch.tensor([0.75]), torch.zeros(0)],
        "labels": [torch.tensor([1]), torch.zeros(0, dtype=torch.long)],
    }
    content = as_coco(outputs, names=["a.png", "b.png"], class_names=["cat", "dog"])
    assert content["images"][1] == {"id": 2, "file_name": "b.png", "width": 50, "height": 50}
    (one,) = content["annotations"]
    assert one == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 20, 20, 40], "area": 800, "iscrowd": 0, "score": 0.75,
    }  # fmt: skip
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 80×64 pixels with a red or a blue square, or none."""
    folder = tmp_path_factory.mktemp("squares")
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 3), ("test", 3)):
        (folder / part).mkdir()
        for number in range(count):
            pixels = random.integers(90, 130, (64, 80, 3), dtype=np.uint8)
            lines = []
            for kind in range(number % 3):
                x, y = random.integers(0, 50), random.integers(0, 34)
                pixels[y : y + 24, x : x + 24, 2 * kind] = 250
                lines.append(f"{kind} {(x + 12) / 80} {(y + 12) / 64} {24 / 80} {24 / 64}")
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
            (folder / part / f"{number}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("names: [red, blue]\n")
    return folder


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=() if name in ("yolo", "detr") else pytest.mark.slow) for name in MODELS]
)
def test_every_network_trains_and_is_measured_and_predicts_and_answers_requests(
    model: str, squares: Path, train_shortly: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    asked = [
        "data=detection_folder", f"data.path={squares}", "data.size=64", "data.batch_size=4", "data.workers=0",
        f"model={model}", *SMALL.get(model, []), "task.threshold=0.0001", "save_model=false",
    ]  # fmt: skip
    result = train_shortly(*asked, *UNDRAWN[model != "yolo"], pictures=model == "yolo")
    assert {"train/loss", "val/loss", "test/map", "test/map_50", "test/ap_red"} <= result.metrics.keys()
    assert all(np.isfinite(value) for value in result.metrics.values())
    if model == "yolo":
        pictures = {file.name for file in (result.run_dir / "figures").iterdir()}
        assert {"confusion.png", "precision_recall.png", "confidence.png", "worst_pictures.png"} <= pictures

    assert result.best_checkpoint is not None
    rebuilt = rebuild(result.best_checkpoint)
    trainer = lantu.config.build.build(lantu.compose(f"paths.root={tmp_path}", command="predict").cfg.trainer)
    frame = predict(rebuilt, trainer, squares / "test")
    assert frame["image"].tolist() == [str(squares / "test" / f"{number}.png") for number in range(3)]
    assert frame["count"].sum() > 0
    first = json.loads(frame["boxes"][int(frame["count"].argmax())])[0]
    assert first["class"] in ("red", "blue")
    assert all(0 <= side <= 80 for side in first["box"])

    content = (squares / "test" / "1.png").read_bytes()
    answer = Model(rebuilt).predict(pd.DataFrame({"image": [content]}))
    scores = [[box["score"] for box in json.loads(each)] for each in (answer["boxes"][0], frame["boxes"][1])]
    assert scores[0] == pytest.approx(scores[1], abs=2e-4)  # equal ones may come in another order


@pytest.mark.parametrize("model", ["yolo", pytest.param("dfine", marks=pytest.mark.slow)])
def test_a_run_that_goes_on_inside_an_epoch_ends_as_one_that_was_not_interrupted(
    model: str, squares: Path, train_shortly: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    asked = [
        "data=detection_folder", f"data.path={squares}", "data.size=64", "data.batch_size=2", "data.workers=0",
        "data.augment.mosaic=0.5", f"model={model}", *SMALL.get(model, []), "callbacks=[default,ema]", "test=false",
        "save_model=false", "trainer.deterministic=warn", "callbacks.ema.decay=0.5", *UNDRAWN[model != "yolo"],
    ]  # fmt: skip
    whole = train_shortly(*asked, "trainer.max_steps=6", f"paths.run={tmp_path}/whole")
    train_shortly(*asked, "trainer.max_steps=3", f"paths.run={tmp_path}/cut")  # an epoch has 4
    cut = train_shortly(*asked, "trainer.max_steps=6", f"paths.run={tmp_path}/cut", "resume=auto")
    ends = [torch.load(each.run_dir / "checkpoints" / "last.ckpt", weights_only=True) for each in (whole, cut)]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 6
    for part in ("state_dict", "current_model_state"):
        for name, value in ends[0].get(part, {}).items():
            assert torch.equal(value, ends[1][part][name]), name


def test_baselines_are_fitted_and_measured_by_the_same_metric(squares: Path, tmp_path: Path) -> None:
    data = lantu.data.BoxDataModule(path=str(squares), size=64, batch_size=4, cache=str(tmp_path))
    data.prepare_data()
    found = {each.name: each for each in Detection.baselines(data)}
    assert set(found) == {"trivial", "classical"}
    for each in found.values():
        assert {"val/map", "test/map", "test/map_50", "test/ap_red"} <= each.metrics.keys()
    assert found["classical"].metrics["test/map_50"] > found["trivial"].metrics["test/map_50"] + 0.2
