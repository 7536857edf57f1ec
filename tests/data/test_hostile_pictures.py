"""Folders, tables, shards and annotations of pictures that are damaged or meant to deceive."""

import io
import json
import os
import stat
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lantu.data import BoxDataModule, ImageDataModule, image_folder, webdataset
from lantu.data.file_table import find_files
from lantu.data.files import visible_files
from lantu.data.image.read_picture import Unreadable, read_picture
from lantu.errors import UserError


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_picture_that_is_postscript_starts_no_program(
    wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    ghostscript.chmod(ghostscript.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Unreadable, match="known format"):
        read_picture({"bytes": content} if wrapped else str(tmp_path / "a.png"))
    assert not (tmp_path / "started").exists()


def test_a_link_to_itself_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(0))
    (tmp_path / "self.png").symlink_to("self.png")
    assert [each.name for each in visible_files(tmp_path)] == ["a.png", "self.png"]


def test_class_folders_that_differ_in_case_are_said(tmp_path: Path) -> None:
    for name in ("cat", "Cat ", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encoded(0))
    assert image_folder(str(tmp_path)).passed_over == ((2, "classes differ in case or spaces alone: 'Cat ', 'cat'"),)


def test_a_file_of_another_folder_is_taken_only_where_no_other_row_could_mean_it(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    named = ["c/1.png", "c/2.png", "c/3.png", "d/3.png", "x" * 5000]
    found = find_files(pd.Series(named), tmp_path)
    assert found.tolist() == [str(tmp_path / name) for name in ("a/1.png", *named[1:])]


# Shards


def shard(path: Path, members: list[tuple[str, bytes]] | None = None) -> Path:
    if members is None:
        members = [each for n in range(12) for each in ((f"{n}.png", encoded(n)), (f"{n}.cls", str(n % 2).encode()))]
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("damage", ["header", "zeros", "cut"])
def test_a_shard_that_ends_too_early_is_refused(damage: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar")
    with tarfile.open(path) as archive:
        middle = [member.offset for member in archive][10]
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[middle + 150] ^= 255
    elif damage == "zeros":
        content[middle : middle + 512] = bytes(512)
    else:
        content = content[: middle + 100]
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"cut short at byte {middle:,}"):
        webdataset(str(path))


def test_a_shard_without_an_end_mark_is_said(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar")
    assert webdataset(str(path)).passed_over == ()
    with tarfile.open(path) as archive:
        middle = [member.offset for member in archive][10]
    path.write_bytes(path.read_bytes()[:middle])
    raw = webdataset(str(path))
    assert len(raw.rows) == 5
    assert raw.passed_over == ((1, "shards have no end mark, so that they may be cut short"),)


def test_members_of_a_shard_replace_no_picture_and_repeat_no_key_silently(tmp_path: Path) -> None:
    told = json.dumps({"label": "x", "image": "/etc/hostname"}).encode()
    path = shard(tmp_path / "a.tar", [("1.png", encoded(1)), ("1.json", told), ("1.jpg", encoded(2))])
    raw = webdataset(str(path))
    assert raw.rows["image"][0]["name"] == "1.jpg"
    assert raw.passed_over == ((1, "members repeat another's key and kind: the last one counts"),)


def test_a_shard_of_deeply_nested_json_and_a_pipe_are_sentences(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", [("1.png", encoded(1)), ("1.json", b"[" * 100_000 + b"]" * 100_000)])
    with pytest.raises(UserError, match="nested too deeply"):
        webdataset(str(path))
    os.mkfifo(tmp_path / "b.tar")
    with pytest.raises(UserError, match="no \\.tar files"):
        webdataset(str(tmp_path / "b.tar"))


# Annotations

Content = dict[str, Any]


def boxes(folder: Path) -> BoxDataModule:
    for number in range(12):
        (folder / f"{number}.png").write_bytes(encoded(number))
    module = BoxDataModule(path=str(folder), size=32, workers=0, cache=str(folder / ".cache"))
    module.prepare_data()
    return module


def coco(folder: Path, change: Callable[[Content], object]) -> BoxDataModule:
    content: Content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(12)],
        "annotations": [{"image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4]} for number in range(12)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    change(content)
    (folder / "coco.json").write_text(json.dumps(content))
    return boxes(folder)


MISTAKES: dict[str, tuple[Callable[[Content], object], str]] = {
    "no image_id": (lambda c: c["annotations"][3].pop("image_id"), r"annotations\[3\]` has no `image_id"),
    "a list as image_id": (lambda c: c["annotations"][3].update(image_id=[1]), r"annotations\[3\]` has no `image_id"),
    "no category_id": (lambda c: c["annotations"][3].pop("category_id"), r"annotations\[3\]` has no `category_id"),
    "a number as box": (lambda c: c["annotations"][3].update(bbox=5), r"annotations\[3\]\.bbox` is no list"),
    "no file name": (lambda c: c["images"][2].pop("file_name"), r"images\[2\]` has no `file_name"),
    "an id twice": (lambda c: c["images"][2].update(id=0), "several of `images` have the `id` 0"),
    "categories null": (lambda c: c.update(categories=None), "`categories` is no list"),
    "categories as texts": (lambda c: c.update(categories=["cat"]), r"categories\[0\]` has no `id"),
    "annotations as texts": (lambda c: c.update(annotations=["a"]), r"annotations\[0\]` has no `image_id"),
    "images as a dictionary": (lambda c: c.update(images={"0": 1}), "`images` is no list"),
    "another category": (lambda c: c["annotations"][3].update(category_id=9), "an object called '9'"),
    "no boxes": (lambda c: c.update(annotations=[], categories=[]), "no picture has a box"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_cocos_json_are_sentences(mistake: str, tmp_path: Path) -> None:
    change, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence):
        coco(tmp_path, change)


def test_boxes_that_are_no_numbers_or_of_no_picture_are_counted(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = ["a", "b", "c", "d"]
        content["annotations"][1]["bbox"] = [[1, 2], 3, 4, 5]
        content["annotations"][2]["image_id"] = 77
        content["images"].append({"id": 99, "file_name": "x" * 5000})

    lines = "\n".join(coco(tmp_path, change).report.lines())
    assert "2 boxes that are not four numbers left out" in lines
    assert "1 annotation of an `image_id` that no picture has left out" in lines
    assert "1 picture that is annotated and not there left out" in lines


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("names: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("names: 5", "list of class names"),
        ("names: [[a, b], c]", "list of class names"),
        ("names: {a: 1}", "list of class names"),
        ("names: [a]", "class 1, and `data.classes` names 1"),
    ],
)
def test_class_names_of_yolo_that_are_none_are_sentences(names: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(names)
    (tmp_path / "1.txt").write_text("1 .5 .5 .2 .2\n")
    with pytest.raises(UserError, match=sentence):
        boxes(tmp_path)


def test_numbered_class_names_of_yolo_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: {1: cat, 3: dog}")
    (tmp_path / "1.txt").write_text("3 .5 .5 .2 .2\n-1 .5 .5 .2 .2\n4000000000 .5 .5 .2 .2\n")
    module = boxes(tmp_path)
    assert module.spec["class_names"] == ["0", "cat", "2", "dog"]
    assert any("2 lines that are no box left out" in line for line in module.report.lines())


def test_an_object_without_a_name_is_no_class(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    for number in range(12):
        name = "<name>cat</name>" if number else ""
        text = f"<annotation><filename>{number}.png</filename><object>{name}{box}</object></annotation>"
        (tmp_path / f"{number}.xml").write_text(text)
    assert boxes(tmp_path).spec["class_names"] == ["cat"]


def test_a_medical_file_that_is_cut_or_names_another_is_no_picture(tmp_path: Path) -> None:
    simple = pytest.importorskip("SimpleITK")
    levels = simple.GetImageFromArray(np.arange(1600, dtype=np.int16).reshape(40, 40))
    for ending in ("nii", "nii.gz"):
        path = tmp_path / f"a.{ending}"
        simple.WriteImage(levels, str(path))
        assert read_picture(str(path)).shape == (40, 40, 1)
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(Unreadable, match="cut short"):
            read_picture(str(path))
    (tmp_path / "far.raw").write_bytes(bytes(900))
    (tmp_path / "below").mkdir()
    header = tmp_path / "below" / "a.mhd"
    for named in (str(tmp_path / "far.raw"), "../far.raw"):
        header.write_text(
            f"ObjectType = Image\nNDims = 2\nDimSize = 30 30\nElementType = MET_UCHAR\nElementDataFile = {named}\n"
        )
        with pytest.raises(Unreadable, match="outside its folder"):
            read_picture(str(header))


def test_shards_train_as_before(tmp_path: Path) -> None:
    source = partial(webdataset, str(shard(tmp_path / "a.tar")))
    module = ImageDataModule(source=source, target="cls", duplicates="keep", cache=str(tmp_path / "cache"))
    module.setup("fit")
    assert module.spec["class_names"] == ["0", "1"]
