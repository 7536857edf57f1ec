"""Pictures decoded as batches need them, from folders, shards and Parquet: the same batches, exactly resumable."""

import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Features
from datasets import Dataset as HubData
from datasets import Image as Image_
from PIL import Image

from lantu.data import Augment, ImageDataModule, image_parquet, samplers, webdataset
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


def parquet(folder: Path, place: Path, *, rows: int = 2) -> Path:
    """The same pictures in two Parquet files in the hub's layout, `rows` in a row group."""
    place.mkdir()
    files = sorted(folder.rglob("*.jpg"))
    names = ClassLabel(names=["cat", "dog"])
    for number in range(2):
        mine = files[number * 20 : number * 20 + 20]
        columns = {
            "image": [{"bytes": file.read_bytes(), "path": file.name} for file in mine],
            "label": [["cat", "dog"].index(file.parent.name) for file in mine],
        }
        made = HubData.from_dict(columns, features=Features({"image": Image_(), "label": names}))
        pq.write_table(made.data.table, place / f"train-{number:05}-of-00002.parquet", row_group_size=rows)
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
    kept = [b'"pixels"' in file.read_bytes() for file in (tmp_path / "images").glob("*.safetensors")]
    assert sum(kept) == 1, "decoding on demand keeps no pixels"


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


def test_parquet_files_give_the_pictures_and_class_names_of_the_folder(folder: Path, tmp_path: Path) -> None:
    source = partial(image_parquet, str(parquet(folder, tmp_path / "hub")))
    made = module(tmp_path / "cache", source=source, target="label", split={"val": 0.2, "test": 0.2})
    assert made.spec["class_names"] == ["cat", "dog"]
    from_folder = module(tmp_path / "cache", path=str(folder), split={"val": 0.2, "test": 0.2})
    for part in ("train", "val", "test"):
        ours: Any = made.splits[part]
        other: Any = from_folder.splits[part]
        assert torch.equal(ours.y, other.y)
        assert np.array_equal(ours.x[ours.rows], other.x[other.rows])


def test_a_run_on_parquet_files_goes_on_within_an_epoch_and_reads_few_row_groups_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "BLOCKS_MIXED", 2)
    source = partial(image_parquet, str(parquet(folder, tmp_path / "hub")))
    made = module(tmp_path / "cache", source=source, target="label", split={"val": 0.2, "test": 0})
    blocks: Any = made.splits["train"].x.blocks[made.splits["train"].rows]  # type: ignore[attr-defined]
    order = np.concatenate([list(each) for each in made.train_dataloader().batch_sampler])
    assert sorted(order) == list(range(32))  # each once
    assert max(len(set(blocks[order[first : first + 4]])) for first in range(0, 28)) <= 4  # of up to 20
    whole = batches(made)
    made.begins = (0, 2)
    rest = list(made.train_dataloader())
    assert all(torch.equal(ours[0], other[0]) for ours, other in zip(rest, whole[2:], strict=True))
    ranks = [
        [list(each) for each in TrainingBatches(32, batch_size=8, num_replicas=2, rank=rank, blocks=blocks)]
        for rank in range(2)
    ]
    assert sorted(number for rank in ranks for batch in rank for number in batch) == list(range(32))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"image": "photo"}, "has the columns image, label"), ({"path": "nowhere"}, "there are no .parquet files")],
)
def test_parquet_files_without_pictures_are_refused(
    options: dict[str, str], said: str, folder: Path, tmp_path: Path
) -> None:
    place = parquet(folder, tmp_path / "hub")
    with pytest.raises(UserError, match=said):
        image_parquet(**{"path": str(place), **options})


def test_a_damaged_parquet_file_and_large_row_groups_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parquet(folder, tmp_path / "hub")
    first = sorted(place.glob("*.parquet"))[0]
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{first.name} is damaged"):
        image_parquet(str(place))
    first.unlink()
    monkeypatch.setattr("lantu.data.image.image_parquet.LARGEST", 100)
    with pytest.raises(UserError, match="row_group_size=100"):
        image_parquet(str(place))


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
