"""One picture is read as an image viewer shows it, or the reason is told why it cannot."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lantu.data import ImageDataModule
from lantu.data.files import visible_files
from lantu.data.image.decoding import content_key, decoded
from lantu.data.image.read_picture import Rendering, Unreadable, read_picture
from lantu.data.image.survey import survey
from lantu.errors import UserError

RAMP = np.linspace(0, 255, 48).reshape(6, 8).round().astype(np.uint8)
"""A grey picture, 6 high and 8 wide."""
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def saved(path: Path, picture: Image.Image, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return str(path)


def shown(cell: Any) -> np.ndarray:
    """What training would see of a set of this picture alone."""
    return read_picture(cell, rendering=survey([cell], size=None).rendering)


GREY_KINDS: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "8 bits": ("a.png", lambda: Image.fromarray(RAMP)),
    "16 bits": ("a.png", lambda: Image.fromarray(RAMP.astype(np.uint16) * 257)),
    "16-bit TIFF": ("a.tif", lambda: Image.fromarray(RAMP.astype(np.uint16) * 257)),
    "16-bit PGM": ("a.pgm", lambda: Image.fromarray(RAMP.astype(np.int32) * 257)),
    "32-bit integers": ("a.tif", lambda: Image.fromarray(RAMP.astype(np.int32) * 257)),
    "floats up to 1": ("a.tif", lambda: Image.fromarray(RAMP.astype(np.float32) / 255)),
    "floats up to 255": ("a.tif", lambda: Image.fromarray(RAMP.astype(np.float32))),
    "floats with negative ones": ("a.tif", lambda: Image.fromarray(RAMP.astype(np.float32) * 10 - 1000)),
    "grey with alpha": ("a.png", lambda: Image.fromarray(np.stack([RAMP, np.full_like(RAMP, 255)], axis=2))),
}


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_grey_pictures_of_every_depth_are_their_eight_bit_picture(kind: str, tmp_path: Path) -> None:
    name, make = GREY_KINDS[kind]
    pixels = shown(saved(tmp_path / name, make()))
    assert np.array_equal(pixels[:, :, 0], RAMP)


COLOUR_KINDS: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "RGB": ("a.png", lambda: Image.fromarray(COLOURS)),
    "palette": ("a.png", lambda: Image.fromarray(COLOURS).quantize(48)),
    "opaque alpha": ("a.png", lambda: Image.fromarray(COLOURS).convert("RGBA")),
    "CMYK": ("a.tif", lambda: Image.fromarray(COLOURS).convert("CMYK")),
    "GIF": ("a.gif", lambda: Image.fromarray(COLOURS).quantize(48)),
    "lossless WebP": ("a.webp", lambda: Image.fromarray(COLOURS)),
}


@pytest.mark.parametrize("kind", COLOUR_KINDS)
def test_colours_are_the_same_in_every_encoding(kind: str, tmp_path: Path) -> None:
    name, make = COLOUR_KINDS[kind]
    pixels = shown(saved(tmp_path / name, make(), **({"lossless": True} if name.endswith("webp") else {})))
    assert np.abs(pixels.astype(int) - COLOURS).max() <= 1


def test_bits_are_black_and_white(tmp_path: Path) -> None:
    pixels = shown(saved(tmp_path / "a.png", Image.fromarray(RAMP > 100)))
    assert np.array_equal(pixels[:, :, 0], np.where(RAMP > 100, 255, 0))


def test_lab_is_converted_to_colours(tmp_path: Path) -> None:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(COLOURS), srgb, lab, outputMode="LAB")
    assert picture is not None
    assert np.abs(shown(saved(tmp_path / "a.tif", picture)).astype(int) - COLOURS).mean() < 4


HELD = {1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
        7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
"""What a camera did to the picture, for each value of the EXIF tag."""


@pytest.mark.parametrize("orientation", HELD)
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_pictures_stand_upright(orientation: int, name: str, tmp_path: Path) -> None:
    held = Image.fromarray(COLOURS)
    if (how := HELD[orientation]) is not None:
        held = held.transpose(Image.Transpose[how])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, held, exif=exif)
    assert survey([path], size=None).shape == (6, 8, 3)
    assert np.array_equal(shown(path), COLOURS)


def shape_on_nothing(colour: int) -> Image.Image:
    """A square of one grey level; all around it is transparent."""
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:6, 2:6] = [colour, colour, colour, 255]
    return Image.fromarray(pixels)


def test_where_shapes_would_vanish_on_white_and_on_black_the_background_is_grey() -> None:
    cells = [np.asarray(shape_on_nothing(colour)) for colour in (0, 255)]
    rendering = survey(cells, size=None).rendering
    assert all(len(np.unique(read_picture(cell, rendering=rendering))) == 2 for cell in cells)


@pytest.mark.parametrize(("colour", "around"), [(0, 255), (128, 255), (255, 0)])
def test_transparency_is_white_unless_the_shapes_would_vanish(colour: int, around: int, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", shape_on_nothing(colour))
    pixels = shown(path)
    assert pixels[0, 0].tolist() == [around] * 3
    assert pixels[4, 4].tolist() == [colour] * 3
    assert "transparency" in survey([path], size=None).findings[0][1]


def test_a_palettes_transparent_colour_is_transparent(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.gif", shape_on_nothing(0).quantize(2), transparency=1)
    with Image.open(path) as picture:
        index = picture.info["transparency"]
        hidden = np.asarray(picture) == index
    assert (shown(path)[hidden] == 255).all()


def test_of_several_frames_the_first_is_used_and_this_is_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    path = saved(tmp_path / "a.tif", frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(shown(path)[:, :, 0], RAMP)
    assert survey([path, path], size=None).findings == [(2, "pictures of several frames: the first one is used")]


def test_one_scale_is_learned_for_all_deep_pictures_and_applied_afterwards() -> None:
    dark, light = np.full((4, 4), 100, np.float32), np.full((4, 4), 200, np.float32)
    rendering = survey([dark, light], size=None).rendering
    assert [int(read_picture(each, rendering=rendering).mean()) for each in (dark, light)] == [100, 200]
    assert Rendering.restored(rendering.state()) == rendering
    twelve_bits = np.full((4, 4), 4095, np.uint16)
    found = survey([twelve_bits], size=None)
    assert int(read_picture(twelve_bits, rendering=found.rendering).max()) == 16
    assert "`data.levels=[0,4095]`" in found.findings[-1][1]
    asked = survey([twelve_bits], size=None, levels=(0, 4095)).rendering
    assert int(read_picture(twelve_bits, rendering=asked).max()) == 255


def _png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    begin = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return begin + struct.pack(">I", 100) + b"IDAT" + bytes(104)


def _cut(name: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, name)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


BROKEN = {
    "empty": (b"", "empty"),
    "a text": (b"this is a text" * 20, "no picture"),
    "huge": (_png_that_claims(100_000, 100_000), "pixels"),
    **{
        f"cut {name}": (_cut(name), "cut short" if name == "JPEG" else "")
        for name in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP")
    },
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_read_says_why(kind: str, tmp_path: Path) -> None:
    content, reason = BROKEN[kind]
    (tmp_path / "a.png").write_bytes(content)
    for cell in (str(tmp_path / "a.png"), {"bytes": content, "path": None}):
        found = decoded(pd.Series([cell], dtype=object), shape=(4, 4, 1), rendering=Rendering(), cache=tmp_path)
        assert list(found.unreadable) == [0]
        assert reason in found.unreadable[0]


def test_a_cell_without_a_picture_is_unreadable() -> None:
    for cell in (None, 3.5, {"bytes": None, "path": None}, "no/such/file.png"):
        with pytest.raises(Unreadable):
            read_picture(cell)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    saved(tmp_path / "a.bmp", Image.fromarray(RAMP))
    path = (tmp_path / "a.bmp").rename(tmp_path / "a.jpg")
    assert np.array_equal(shown(str(path))[:, :, 0], RAMP)


def fill(folder: Path, count: int = 12) -> None:
    for kind in ("cats", "dogs"):
        for number in range(count):
            content = np.random.default_rng([number, kind == "cats"]).integers(0, 255, (8, 8), dtype=np.uint8)
            saved(folder / kind / f"{number}.png", Image.fromarray(content))


def module(folder: Path, cache: Path, **options: Any) -> ImageDataModule:
    made = ImageDataModule(path=str(folder), cache=str(cache), **options)
    made.setup("fit")
    return made


def test_hidden_and_system_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden"):
        saved(tmp_path / "a" / name / "1.png", Image.fromarray(RAMP))
        saved(tmp_path / "a" / "cats" / name / "1.png", Image.fromarray(RAMP))
    for name in ("._1.png", "Thumbs.db", ".DS_Store"):
        (tmp_path / "a" / "cats" / name).write_bytes(b"x")
    made = module(tmp_path / "a", tmp_path / "cache")
    assert made.spec["class_names"] == ["cats", "dogs"]
    assert sum(made.report.sizes.values()) == 24
    assert not any("left out" in line or "passed over" in line for line in made.report.lines())


def test_what_is_beside_the_classes_is_counted(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    saved(tmp_path / "a" / "overview.png", Image.fromarray(RAMP))
    (tmp_path / "a" / "cats" / "1.heic").write_bytes(b"x")
    said = module(tmp_path / "a", tmp_path / "cache").report.lines()
    assert any(line.startswith("1 picture outside the class folders") for line in said)
    assert any(line.startswith("1 file ending in .heic") for line in said)


def test_parts_are_known_whatever_their_case(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "Train")
    fill(tmp_path / "a" / "Test", count=13)
    made = module(tmp_path / "a", tmp_path / "cache", duplicates="keep", split={"val": 0.0})
    assert made.spec["class_names"] == ["cats", "dogs"]
    assert made.report.sizes == {"train": 24, "test": 26}


def test_classes_called_as_a_part_are_classes(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    (tmp_path / "a" / "cats").rename(tmp_path / "a" / "train")
    assert module(tmp_path / "a", tmp_path / "cache").spec["class_names"] == ["dogs", "train"]


def test_a_linked_class_folder_is_read(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    (tmp_path / "a" / "dogs").rename(tmp_path / "elsewhere")
    (tmp_path / "a" / "dogs").symlink_to(tmp_path / "elsewhere")
    assert module(tmp_path / "a", tmp_path / "cache").spec["class_names"] == ["cats", "dogs"]


def test_one_class_alone_is_a_sentence_that_names_the_folder_below(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "pictures")
    with pytest.raises(UserError, match=r"only class.*`data\.path=.*/a/pictures`"):
        module(tmp_path / "a", tmp_path / "cache")


def test_many_unreadable_pictures_are_refused_until_they_are_allowed(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    for number in range(8):
        (tmp_path / "a" / "cats" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"8 of 24 pictures cannot be read.*empty.*`data\.max_unreadable=1`"):
        module(tmp_path / "a", tmp_path / "cache")
    assert sum(module(tmp_path / "a", tmp_path / "cache", max_unreadable=1).report.sizes.values()) == 16


@pytest.mark.parametrize(
    "option", [{"background": 256}, {"levels": (5, 5)}, {"levels": (1,)}, {"max_unreadable": 2}, {"size": 0}]
)
def test_an_option_out_of_range_is_a_sentence(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"`data.{next(iter(option))}="):
        ImageDataModule(path=str(tmp_path), **option)


def test_new_pictures_are_shown_as_in_training_and_an_unreadable_one_gets_a_row(tmp_path: Path) -> None:
    for kind, colour in (("cats", 255), ("dogs", 200)):
        for number in range(10):
            picture = np.asarray(shape_on_nothing(colour)).copy()
            picture[2, 2, 0] = number  # no two are the same
            saved(tmp_path / "a" / kind / f"{number}.png", Image.fromarray(picture))
    trained = module(tmp_path / "a", tmp_path / "cache")
    restored = ImageDataModule(path=str(tmp_path / "a"), cache=str(tmp_path / "cache"))
    restored.load_state_dict(trained.state_dict())
    new = tmp_path / "new"
    saved(new / "1.png", shape_on_nothing(255))
    (new / "2.png").write_bytes(b"")
    saved(new / "3.png", shape_on_nothing(200))
    batches, rows = restored.predict_rows(new)
    assert len(batches.dataset) == 2  # type: ignore[arg-type]
    assert rows.index.tolist() == [0, -1, 1]
    assert rows["unreadable"].isna().tolist() == [True, False, True]
    first = next(iter(batches))[0]
    background = (0 - trained.learned["mean"][0]) / trained.learned["std"][0]  # white shapes: on black
    assert float(first[0, 0, 0]) == pytest.approx(background, abs=1e-5)
    for path in new.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no picture can be read"):
        restored.predict_rows(new)


def test_the_cache_is_keyed_on_each_file(tmp_path: Path) -> None:
    """Moving pictures between classes keeps their count and newest time."""
    fill(tmp_path / "a")
    module(tmp_path / "a", tmp_path / "cache")
    (tmp_path / "a" / "cats" / "0.png").rename(tmp_path / "a" / "dogs" / "100.png")
    (tmp_path / "a" / "dogs" / "5.png").rename(tmp_path / "a" / "cats" / "99.png")
    cached, fresh = (module(tmp_path / "a", tmp_path / name) for name in ("cache", "other"))
    assert cached.fingerprints == fresh.fingerprints
    x, y = (made.splits["train"].__getitems__(list(range(10))) for made in (cached, fresh))  # type: ignore[attr-defined]
    assert (x[0] == y[0]).all()


def test_what_a_cell_holds_is_its_key() -> None:
    cells = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": None}]
    keys = {content_key(pd.Series(order)) for order in (cells, cells[::-1], cells[:1])}
    assert len(keys) == 3
    assert content_key(pd.Series([RAMP])) != content_key(pd.Series([RAMP.T]))


def test_evaluating_uses_the_pixels_that_training_decoded(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    trained = module(tmp_path / "a", tmp_path / "cache")
    again = ImageDataModule(path=str(tmp_path / "a"), cache=str(tmp_path / "cache"))
    again.load_state_dict(trained.state_dict())
    again.setup("test")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "header"])
def test_damaged_pixels_are_decoded_again(damage: str, tmp_path: Path) -> None:
    fill(tmp_path / "a")
    right = module(tmp_path / "a", tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    place = 100 if damage == "header" else len(content) // 2
    content[place] ^= 1
    path.unlink()  # what is mapped must not change
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    again = module(tmp_path / "a", tmp_path / "cache")
    assert again.fingerprints == right.fingerprints
    assert path.read_bytes() != content


def test_a_pipe_among_pictures_is_passed_over_and_a_name_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    assert [file.name for file in visible_files(tmp_path)] == ["1.png", "gone.png"]
    Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/caf\xe9.png")).write_bytes(b"x")
    with pytest.raises(UserError, match=r"a name that is no UTF-8, b'caf\\xe9.png': rename it"):
        visible_files(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refused)  # tests may run as root, who may read everything
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        visible_files(tmp_path)
