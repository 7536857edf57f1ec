"""Random damage to a file gives the right data or a sentence, never a traceback and never other data unnoticed."""

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lantu.data import TokenDataModule, hub
from lantu.data.cache_file import CacheFile, Damaged, cached, cached_plain
from lantu.data.image.read_picture import Unreadable, read_picture, without_pillows_warnings
from lantu.data.parquet import read_parquet
from lantu.errors import UserError

few = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def outcome(make: Callable[[], Any], refusal: type[Exception]) -> tuple[Any, str | None]:
    """What is made, or the sentence that says why not."""
    try:
        return make(), None
    except refusal as error:
        return None, str(error)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A way to damage a file: some bits flipped, its end cut off, a stretch of zeros, or something put behind it."""
    kind = draw(st.sampled_from(["flip", "cut", "zeros", "longer"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3))
    bit = draw(st.integers(0, 7))

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        first = int(places[0] * len(content))
        if kind == "cut":
            return bytes(changed[:first])
        if kind == "longer":
            return content + bytes(changed[:first][:64]) + b"x"
        for place in places:
            at = int(place * len(content))
            if kind == "flip":
                changed[at] ^= 1 << bit
            else:
                changed[at : at + 16] = bytes(len(changed[at : at + 16]))
        return bytes(changed)

    return damage


CONTENT = {"tokens": np.arange(3000, dtype=np.uint16), "pixels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)}


def arrays() -> tuple[dict[str, tuple[str, Iterator[np.ndarray]]], Callable[[], dict[str, Any]]]:
    kinds = {"tokens": "U16", "pixels": "U8"}
    return {name: (kinds[name], iter([array])) for name, array in CONTENT.items()}, lambda: {"fact": [1, "ü"]}


@given(damages())
@few
def test_a_damaged_cache_is_noticed_and_made_again(damage: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        cached(path, arrays)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(damage(content))
        if path.read_bytes() != content:
            try:
                same = CacheFile(path)  # spaces that fill up the header do not matter
                assert all(np.array_equal(same.arrays[name], array) for name, array in CONTENT.items())
                assert same.facts == {"fact": [1, "ü"]}
            except Damaged:
                pass
        again = cached(path, arrays)
        assert all(np.array_equal(again.arrays[name], array) for name, array in CONTENT.items())
        assert again.facts == {"fact": [1, "ü"]}


@given(damages())
@few
def test_damaged_plain_values_are_made_again(damage: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        right = {"vocabulary": {"tokens": ["a", "ü", "蓝"], "count": 3}}
        cached_plain(path, lambda: right)
        path.write_bytes(damage(path.read_bytes()))
        assert cached_plain(path, lambda: right) == right


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
def test_a_damaged_picture_is_a_picture_or_says_why_not(format: str) -> None:
    buffer = BytesIO()
    content = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(content).save(buffer, format, **({"exif": exif} if format in ("PNG", "JPEG", "TIFF") else {}))

    @given(damages())
    @settings(few, max_examples=60)
    def check(damage: Callable[[bytes], bytes]) -> None:
        cell = {"bytes": damage(buffer.getvalue()), "path": None}
        with without_pillows_warnings():
            pixels, reason = outcome(partial(read_picture, cell, shape=(8, 8, 3)), Unreadable)
        assert reason or pixels.shape == (8, 8, 3)

    check()


ROWS = pd.DataFrame({"text": [f"row {number} " * 3 for number in range(200)], "label": np.arange(200) % 3})


@pytest.mark.parametrize("compression", ["snappy", "zstd", None])
def test_a_damaged_parquet_file_is_a_table_or_a_sentence_that_names_it(compression: str | None) -> None:
    buffer = BytesIO()
    ROWS.to_parquet(buffer, compression=compression)

    @given(damages())
    @settings(few, max_examples=60)
    def check(damage: Callable[[bytes], bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.parquet")
            path.write_bytes(damage(buffer.getvalue()))
            rows, sentence = outcome(partial(read_parquet, path), UserError)
            if sentence is None:
                json.dumps(rows.astype(str).to_dict())  # every value can be used
            else:
                assert sentence.startswith(f"{path} is damaged")

    check()


def test_checksums_of_a_parquet_file_are_verified(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"text": ROWS["text"]}), path, compression="none", write_page_checksum=True)
    content = path.read_bytes()
    place = content.index(b"row 7 ")
    path.write_bytes(content[:place] + b"R" + content[place + 1 :])
    with pytest.raises(UserError, match=r"table\.parquet is damaged"):
        read_parquet(path)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_of_a_mirror_is_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "mirror" / "own" / "texts"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        ROWS.to_parquet(folder / f"{part}-00000-of-00001.parquet", compression=None)
    path = folder / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    changed = {"cut": content[:-100], "text": content.replace(b"row 7 ", b"row\xff7 "), "empty": b""}
    path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet is damaged"):
        hub("own/texts", mirror=str(tmp_path / "mirror"))


@given(damages())
@settings(few, max_examples=40)
def test_a_damaged_text_is_text_or_a_sentence_that_names_it(damage: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_bytes(damage("Die Grüße der Bäcker 蓝图.\n".encode() * 100))
        made = TokenDataModule(path=str(path), cache=folder, context=4)
        _, sentence = outcome(partial(made.setup, "fit"), UserError)
        assert sentence is None or "text.txt" in sentence
