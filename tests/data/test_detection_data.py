"""Pictures with boxes: every layout reads the same, what is wrong is counted, augmentation hangs on the seed alone."""

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import lantu
from lantu.data import BoxAugmentation, BoxDataModule
from lantu.data.samplers import Chosen

BOXES: dict[str, list[tuple[list[float], str]]] = {
    "train/a.png": [([10, 20, 30, 60], "cat"), ([50, 10, 90, 40], "dog")],
    "train/b.png": [],
    "train/c.png": [([0, 0, 100, 80], "dog")],
    "val/d.png": [([5, 5, 25, 30], "cat")],
    "test/e.png": [([40, 30, 80, 70], "cat")],
}
"""x1, y1, x2, y2 and class, of pictures of 100x80 pixels."""


def picture(seed: int, size: tuple[int, int] = (100, 80)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _save(folder: Path, name: str, seed: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def coco(folder: Path) -> None:
    for part in ("train", "val", "test"):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for seed, (name, boxes) in enumerate(BOXES.items()):
            if name.startswith(part):
                _save(folder, name, seed)
                images.append({"id": seed, "file_name": name.partition("/")[2], "width": 100, "height": 80})
                annotations += [
                    {"image_id": seed, "bbox": [x, y, right - x, bottom - y], "category_id": 7 if kind == "cat" else 9}
                    for (x, y, right, bottom), kind in boxes
                ]
        content = {
            "images": images, "annotations": annotations,
            "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        }  # fmt: skip
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(content))


def yolo(folder: Path) -> None:
    for seed, (name, boxes) in enumerate(BOXES.items()):
        _save(folder / "images", name, seed)
        lines = [
            f"{['cat', 'dog'].index(kind)} {(x + right) / 200} {(y + bottom) / 160} {(right - x) / 100} "
            f"{(bottom - y) / 80}"
            for (x, y, right, bottom), kind in boxes
        ]
        file = (folder / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        if lines:
            file.write_text("\n".join(lines))
    (folder / "data.yaml").write_text("names: [cat, dog]\n")


def voc(folder: Path) -> None:
    for seed, (name, boxes) in enumerate(BOXES.items()):
        part, file = name.split("/")
        _save(folder / "JPEGImages", file, seed)
        objects = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax>"
            f"<ymax>{bottom}</ymax></bndbox></object>"
            for (x, y, right, bottom), kind in boxes
        )
        (folder / "Annotations").mkdir(exist_ok=True)
        xml = f"<annotation><filename>{file}</filename>{objects}</annotation>"
        (folder / "Annotations" / file).with_suffix(".xml").write_text(xml)
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        with (lists / f"{part}.txt").open("a") as lines:
            lines.write(f"{file[0]}\n")


def metadata(folder: Path) -> None:
    for part in ("train", "val", "test"):
        lines = []
        for seed, (name, boxes) in enumerate(BOXES.items()):
            if name.startswith(part):
                _save(folder, name, seed)
                four = [[x, y, right - x, bottom - y] for (x, y, right, bottom), _ in boxes]
                objects = {"bbox": four, "categories": [kind for _, kind in boxes]}
                lines.append(json.dumps({"file_name": name.partition("/")[2], "objects": objects}))
        (folder / part / "metadata.jsonl").write_text("\n".join(lines))


def parquet(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for part, stem in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = []
        for seed, (name, boxes) in enumerate(BOXES.items()):
            if name.startswith(part):
                buffer = BytesIO()
                picture(seed).save(buffer, "PNG")
                four = [[float(x), y, right - x, bottom - y] for (x, y, right, bottom), _ in boxes]
                objects = {"bbox": four, "categories": [kind for _, kind in boxes]}
                image = {"bytes": buffer.getvalue(), "path": name.partition("/")[2]}
                rows.append({"image": image, "objects": objects})
        pd.DataFrame(rows).to_parquet(folder / f"{stem}.parquet")


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., BoxDataModule]:
    def make(folder: Path, **options: Any) -> BoxDataModule:
        data = BoxDataModule(
            path=str(folder), **{"size": 100, "workers": 0, "cache": str(tmp_path / "cache"), **options}
        )
        data.prepare_data()
        return data

    return make


def boxes_of(data: BoxDataModule) -> dict[str, list[tuple[list[float], str]]]:
    """Boxes of every picture, by part and name, as `BOXES` has them."""
    found = {}
    for part, pictures in data.splits.items():
        for row, name in enumerate(data.row_ids(part) or []):
            objects = pictures.objects[row]  # type: ignore[attr-defined]
            kinds = [data.learned["classes"][label] for label in objects.labels]
            found[f"{part}/{name}"] = [
                (box.round(2).tolist(), kind) for box, kind in zip(objects.boxes, kinds, strict=True)
            ]
    return found


@pytest.mark.parametrize("layout", [coco, yolo, voc, metadata, parquet], ids=lambda each: each.__name__)
def test_every_layout_gives_the_same_pictures_boxes_and_parts(
    layout: Callable[[Path], None], module: Callable[..., BoxDataModule], tmp_path: Path
) -> None:
    layout(tmp_path / "pictures")
    data = module(tmp_path / "pictures")
    assert boxes_of(data) == BOXES
    assert data.spec["class_names"] == ["cat", "dog"]
    assert data.spec["box_counts"] == [1, 2]
    assert (data.spec["width"], data.spec["height"]) == (128, 96)


def test_what_is_wrong_with_boxes_is_counted_and_named(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for seed, name in enumerate(("good", "bad", "worse")):
        _save(folder, f"{name}.png", seed)
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (folder / "good.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "bad.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n0 0.5 0.5 -0.1 0.2\n0 0.5 0.5 0 0.2\n")
    (folder / "worse.txt").write_text("0 2.0 0.5 0.2 0.2\n0 0.95 0.5 0.2 0.2\n0 nan 0.5 0.2 0.2\nno box\n0 1 2\n")
    (folder / "damaged.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    data = module(folder, split={"val": 0, "test": 0})
    found = {each["what"]: (each["count"], each.get("names")) for each in data.report.found}
    assert found["boxes of no or negative size left out"] == (2, ["bad.png"])
    assert found["boxes that occur twice in a picture left out"] == (1, ["bad.png"])
    assert found["boxes outside their picture left out"] == (1, ["worse.png"])
    assert found["boxes that reach out of their picture cut off at its edge"] == (1, ["worse.png"])
    assert found["boxes that are not four numbers left out"] == (1, ["worse.png"])
    assert found["lines that are no box left out"] == (2, ["worse.txt:4", "worse.txt:5"])
    assert found["pictures that could not be read left out"][0] == 1
    assert found["pictures that could not be read left out"][1][0].startswith("damaged.png (")
    kept = boxes_of(data)
    assert [box for box, _ in kept["train/worse.png"]] == [[85.0, 32.0, 100.0, 48.0]]
    assert len(kept["train/bad.png"]) == 1


def test_an_equal_picture_in_two_parts_is_not_trained_on(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    yolo(tmp_path / "pictures")
    picture(4).save(tmp_path / "pictures" / "images" / "train" / "copy.png")  # that of the test part
    data = module(tmp_path / "pictures")
    assert boxes_of(data) == BOXES
    assert {"count": 1, "what": "training pictures that occur twice left out"} in data.report.found


def test_pictures_of_one_group_stay_in_one_part(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    for seed in range(60):
        path = _save(tmp_path / "videos", f"v{seed // 6}_{seed % 6}.png", seed)
        path.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
    data = module(tmp_path / "videos", group=r"^(v\d+)_", split={"val": 0.2, "test": 0.2})
    groups = {part: {name.split("_")[0] for name in data.row_ids(part) or []} for part in data.splits}
    assert {part: len(each) for part, each in groups.items()} == {"train": 6, "val": 2, "test": 2}
    assert len(set().union(*groups.values())) == 10
    with pytest.raises(lantu.UserError, match=r"`data.group=patient` is no column"):
        module(tmp_path / "videos", group="patient")


def test_boxes_go_to_the_canvas_and_back_without_loss(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    coco(tmp_path / "pictures")
    data = module(tmp_path / "pictures", size=64)
    x, y = next(iter(data.test_dataloader()))
    assert x.shape == (1, 3, 64, 64)
    assert y["size"].tolist() == [[100, 80]]
    torch.testing.assert_close(y["boxes"][0, 0] / y["scale"].repeat(1, 2)[0], torch.tensor([40.0, 30, 80, 70]))


def test_augmentation_hangs_on_seed_epoch_and_example_alone(
    module: Callable[..., BoxDataModule], tmp_path: Path
) -> None:
    coco(tmp_path / "pictures")
    augment = BoxAugmentation({"flip": v2.RandomHorizontalFlip(0.5), "colour": v2.ColorJitter(0.5)}, mosaic=0.5)
    part: Any = module(tmp_path / "pictures", augment=augment).splits["train"]

    def batch(examples: list[int], *, epoch: int = 0) -> torch.Tensor:
        torch.rand(7)  # whatever else has been drawn
        return part.__getitems__(Chosen(examples, seed=5, epoch=epoch))[0]

    before = torch.get_rng_state()
    whole = batch([0, 1, 2])
    torch.rand(7)
    torch.testing.assert_close(batch([2, 0])[1], whole[0], rtol=0, atol=0)
    assert any(not torch.equal(batch([0, 1, 2], epoch=epoch), whole) for epoch in range(1, 4))
    torch.set_rng_state(before)
    batch([0])
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.rand(7)
    assert torch.equal(torch.get_rng_state(), after), "augmentation drew from the run's random numbers"


def test_boxes_follow_their_pictures_through_mosaic_and_transforms(tmp_path: Path) -> None:
    image = torch.full((3, 64, 96), 114, dtype=torch.uint8)
    image[:, 16:32, 24:60] = 255  # one white object
    sample = (image, torch.tensor([[24.0, 16, 60, 32]]), torch.tensor([0]))
    shift = v2.RandomAffine(0, translate=(0.2, 0.2), scale=(0.7, 1.3), fill=114)
    augment = BoxAugmentation({"shift": shift, "flip": v2.RandomHorizontalFlip(0.5)}, mosaic=0.5)
    seen = 0
    for example in range(40):
        changed, boxes, labels = augment(lambda _: sample, example, size=5, seed=0, epoch=0, progress=0)
        assert changed.shape == image.shape
        assert len(boxes) == len(labels)
        white = changed[0] > 200
        for x1, y1, x2, y2 in boxes.round().int().tolist():
            if min(y2 - y1, x2 - x1) > 4:
                seen += 1
                assert white[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].float().mean() > 0.95
    assert seen > 40


def test_a_request_sends_pictures_and_never_a_path(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    coco(tmp_path / "pictures")
    data = module(tmp_path / "pictures")
    file = tmp_path / "pictures" / "test" / "e.png"
    content = file.read_bytes()
    sent = pd.DataFrame({"image": [content, base64.b64encode(content).decode()]})
    x, y = data.examples_of(sent).__getitems__([0, 1])
    expected, _ = next(iter(data.test_dataloader()))
    torch.testing.assert_close(x, expected.repeat(2, 1, 1, 1))
    assert set(y) == {"index", "scale", "size"}
    with pytest.raises(lantu.UserError, match="base64"):
        data.examples_of(pd.DataFrame({"image": [str(file)]}))


def test_crowds_are_marked_and_follow_their_boxes(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    coco(tmp_path / "pictures")
    file = tmp_path / "pictures" / "annotations" / "instances_test2017.json"
    content = json.loads(file.read_text())
    content["annotations"].append({"image_id": 4, "bbox": [0, 0, 50, 20], "category_id": 9, "iscrowd": 1})
    file.write_text(json.dumps(content))
    _, y = next(iter(module(tmp_path / "pictures").test_dataloader()))
    assert y["labels"].tolist() == [[0, 1]]
    assert y["crowd"].tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "nowhere"}, "`data.path=nowhere`: there is no such folder"),
        ({"layout": "pascal"}, "the layouts are coco, yolo, voc, hub"),
        ({"classes": ["cat"]}, "an object called 'dog', which `data.classes` does not name"),
        ({"size": 8}, "at least 32 pixels"),
        ({"classes": ["cat", "dog"], "single_class": "animal"}, "give one of them"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(
    options: dict[str, Any], said: str, module: Callable[..., BoxDataModule], tmp_path: Path
) -> None:
    coco(tmp_path / "pictures")
    with pytest.raises(lantu.UserError, match=said):
        module(options.pop("path", tmp_path / "pictures"), **options)


def test_all_objects_can_be_of_a_single_class(module: Callable[..., BoxDataModule], tmp_path: Path) -> None:
    coco(tmp_path / "pictures")
    data = module(tmp_path / "pictures", single_class="animal")
    assert data.spec["class_names"] == ["animal"]
    assert data.spec["box_counts"] == [3]


def test_real_pictures_of_three_mirrors_are_read_as_they_are(mirror: Path, tmp_path: Path) -> None:
    for name, boxes in (("bccd", 4886), ("road_cars", 557)):
        data = BoxDataModule(path=str(mirror / name), size=128, cache=str(tmp_path))
        data.prepare_data()
        assert sum(len(each) for each in boxes_of(data).values()) == boxes
