"""Pictures decoded as batches need them, from folders and WebDataset shards: the same batches, exactly resumable."""

import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lantu.data import Augment, ImageDataModule, webdataset
from lantu.data.samplers import TrainingBatches
from lantu.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty JPEG files of different sizes in two classes."""
    place = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 255, (20 + number % 5, 24, 3), dtype=np.uint8)
        file = place / "all" / ("cat", "dog")[number % 2] / f"{number:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return place / "all"


def shards(folder: Path, place: Path, *, labels: str = "cls") -> Path:
    """The same pictures in two tar files, with their class beside them."""
    place.mkdir()
    files = sorted(folder.rglob("*.jpg"))
    for number in range(2):
        with tarfile.open(place / f"train-{number:04}.tar", "w") as archive:
            for file in files[number * 20 : number * 20 + 20]:
                told = file.parent.name if labels == "cls" else json.dumps({"label": file.parent.name, "site": "a"})
                for ending, data in (("jpg", file.read_bytes()), (labels, told.encode())):
                    member = tarfile.TarInfo(f"{file.stem}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return place


def module(cache: Path, *, decode: str = "each", **options: Any) -> ImageDataModule:
    made = ImageDataModule(
        decode=decode, duplicates="keep", batch_size=8, cache=str(cache), size=16,
        augment=Augment(flip=0.5, shift=0.1, zoom=0.7), **options,
    )  # fmt: skip
    made.prepare_data()
    made.setup("fit")
    return made


def batches(made: ImageDataModule) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(made.train_dataloader())


def test_the_batches_are_those_of_pictures_that_are_decoded_once(folder: Path, tmp_path: Path) -> None:
    each = batches(module(tmp_path, path=str(folder), workers=2))
    once = batches(module(tmp_path, path=str(folder), workers=0, decode="once"))
    assert len(each) == len(once) > 2
    for (x, y), (other_x, other_y) in zip(each, once, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    assert len(list((tmp_path / "images").glob("*.safetensors"))) == 1, "decoding on demand keeps no pixels"


def test_shards_give_the_pictures_and_classes_of_the_folder(folder: Path, tmp_path: Path) -> None:
    tars = {kind: shards(folder, tmp_path / kind, labels=kind) for kind in ("cls", "json")}
    whole = {"val": 0.0, "test": 0.0}
    by_folder = module(tmp_path, path=str(folder), split=whole)
    found = by_folder.splits["train"].__getitems__(list(range(40)))  # type: ignore[attr-defined]
    expected = {x.numpy().tobytes(): int(y) for x, y in zip(*found, strict=True)}
    for kind, target in (("cls", "cls"), ("json", "label")):
        made = module(tmp_path, source=partial(webdataset, str(tars[kind])), target=target, split=whole)
        x, y = made.splits["train"].__getitems__(list(range(40)))  # type: ignore[attr-defined]
        assert made.spec["class_names"] == by_folder.spec["class_names"]
        assert {one.numpy().tobytes(): int(label) for one, label in zip(x, y, strict=True)} == expected
    assert "site" in webdataset(str(tars["json"])).rows


def test_a_run_goes_on_within_an_epoch_and_ranks_share_it_without_repeats(folder: Path, tmp_path: Path) -> None:
    made = module(tmp_path, path=str(folder), workers=0)
    train: Any = made.splits["train"]
    whole = batches(made)
    for chosen, (x, y) in zip(TrainingBatches(len(train), batch_size=8, start=2), whole[2:], strict=True):
        again = train.__getitems__(chosen)
        assert torch.equal(again[0], x)
        assert torch.equal(again[1], y)
    ranks = [TrainingBatches(len(train), batch_size=8, num_replicas=2, rank=rank) for rank in range(2)]
    first, second = ({example for batch in rank for example in batch} for rank in ranks)
    assert not first & second
    assert first | second == {example for batch in TrainingBatches(len(train), batch_size=8) for example in batch}


def test_what_is_no_picture_is_left_out_and_a_damaged_one_stops_the_run_by_name(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    for file in folder.rglob("*.jpg"):
        (place / file.parent.name).mkdir(parents=True, exist_ok=True)
        (place / file.parent.name / file.name).write_bytes(file.read_bytes())
    (place / "cat" / "000.jpg").write_bytes(b"no picture")
    made = module(tmp_path, path=str(place), split={"val": 0.0, "test": 0.0}, workers=1)
    said = "\n".join(made.report.lines())
    assert "1 picture that could not be read left out" in said
    assert "000.jpg" in said
    damaged = place / "dog" / "001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(UserError, match=r"^[^\n]*001\.jpg: [^\n]*$"):
        batches(made)


def test_shards_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(UserError, match=r"a\.tar cannot be read"):
        webdataset(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there are no \.tar files"):
        webdataset(str(tmp_path / "empty"))
