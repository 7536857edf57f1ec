"""Images: found, decoded once, cleaned, standardised."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lantu.data import ImageDataModule, hub
from lantu.errors import UserError


def picture(path: Path, *, size: tuple[int, int] = (16, 12), seed: int = 0, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if grey else (*size[::-1], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(path)


def fill(folder: Path, **options: Any) -> None:
    for number in range(12):
        for kind in ("cat", "dog with ünicode"):
            picture(folder / kind / f"{number}.png", seed=number + 100 * (kind == "cat"), **options)


def module(folder: Path, cache: Path, **options: Any) -> ImageDataModule:
    made = ImageDataModule(path=str(folder), cache=str(cache), **options)
    made.setup("fit")
    return made


def test_sizes_channels_and_classes_are_found(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    made = module(tmp_path / "a", tmp_path / "cache")
    assert (made.spec["channels"], made.spec["height"], made.spec["width"]) == (3, 12, 16)
    assert made.spec["class_names"] == ["cat", "dog with ünicode"]
    x, y = next(iter(made.train_dataloader()))
    assert x.dtype == torch.float32
    assert x.shape[1:] == (3, 12, 16)
    assert y.dtype == torch.int64


def test_grey_pictures_have_one_channel_and_training_pixels_mean_0_and_deviation_1(tmp_path: Path) -> None:
    fill(tmp_path / "a", grey=True)
    made = module(tmp_path / "a", tmp_path / "cache")
    assert made.spec["channels"] == 1
    train = made.splits["train"]
    x, _ = train.__getitems__(list(range(len(train))))
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_folders_for_the_parts_are_respected(tmp_path: Path) -> None:
    for part, count in (("train", 8), ("validation", 4), ("test", 6)):
        for number in range(count):
            for kind in ("cat", "dog"):
                picture(tmp_path / "a" / part / kind / f"{number}.png", seed=hash((part, number, kind)) % 10**6)
    made = module(tmp_path / "a", tmp_path / "cache")
    assert made.report.sizes == {"train": 16, "val": 8, "test": 12}


def test_pictures_of_different_sizes_are_brought_to_one(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    picture(tmp_path / "a" / "cat" / "large.png", size=(80, 60))
    made = module(tmp_path / "a", tmp_path / "cache")
    assert made.spec["height"] == made.spec["width"] == 16
    assert module(tmp_path / "a", tmp_path / "cache", size=20).spec["height"] == 20


def test_damaged_and_repeated_pictures_are_counted_and_named(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    (tmp_path / "a" / "cat" / "no picture.png").write_text("a text")
    whole = (tmp_path / "a" / "cat" / "0.png").read_bytes()
    (tmp_path / "a" / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a" / "cat" / "again.png").write_bytes(whole)
    said = "\n".join(module(tmp_path / "a", tmp_path / "cache", split={"val": 0.0, "test": 0.0}).report.lines())
    assert "2 pictures that could not be read left out" in said
    assert "cut.png" in said
    assert "1 training row that occurs twice left out" in said
    assert "more than one class" not in said
    (tmp_path / "a" / "dog with ünicode" / "a cat.png").write_bytes(whole)
    said = module(tmp_path / "a", tmp_path / "cache", split={"val": 0.0, "test": 0.0}).report.warnings
    assert "1 picture occurs under more than one class, pixel for pixel; look at their labels" in said


def test_pictures_are_decoded_once(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    first = module(tmp_path / "a", tmp_path / "cache")
    (pixels,) = (tmp_path / "cache").rglob("*.safetensors")
    written = pixels.stat().st_ino
    second = module(tmp_path / "a", tmp_path / "cache")
    assert pixels.stat().st_ino == written
    assert first.fingerprints == second.fingerprints


def _fingerprints(folder: Path, cache: Path, out: Any) -> None:
    out.put(module(folder, cache).fingerprints)


def test_two_processes_may_fill_the_cache_at_once(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    both = [context.Process(target=_fingerprints, args=(tmp_path / "a", tmp_path / "cache", out)) for _ in range(2)]
    for each in both:
        each.start()
    found = [out.get(timeout=60) for _ in both]
    assert found[0] == found[1] == module(tmp_path / "a", tmp_path / "other").fingerprints


@pytest.mark.parametrize("what", ["empty", "flat", "missing"])
def test_a_folder_without_class_folders_is_a_sentence(tmp_path: Path, what: str) -> None:
    if what != "missing":
        (tmp_path / "a").mkdir()
    if what == "flat":
        picture(tmp_path / "a" / "1.png")
    with pytest.raises(UserError, match=r"`data\.path="):
        module(tmp_path / "a", tmp_path / "cache")


def test_fashion_mnist_from_the_mirror_is_whole(mirror: Path, tmp_path: Path) -> None:
    raw = hub("zalando-datasets/fashion_mnist", mirror=str(mirror))
    assert {name: int((raw.split == name).sum()) for name in ("train", "test")} == {"train": 60_000, "test": 10_000}
    assert raw.rows["label"].cat.categories[9] == "Ankle boot"
