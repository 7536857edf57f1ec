"""Reading the same data again in one process."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lantu.data import ImageDataModule, TableDataModule, last_read


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    last_read._kept.clear()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that data are read from their files."""
    done: list[str] = []
    for kind in (TableDataModule, ImageDataModule):
        read = kind.read

        def noted(self, read=read) -> None:
            done.append(type(self).__name__)
            read(self)

        monkeypatch.setattr(kind, "read", noted)
    return done


def write_table(path: Path, *, shift: int = 0) -> Path:
    rows = [f"{number},{number * 7 % 13 + shift},{'yes' if number % 3 else 'no'}" for number in range(60)]
    path.write_text("a,b,label\n" + "\n".join(rows) + "\n")
    return path


def table(path: Path, *, kind: type = TableDataModule, **options) -> TableDataModule:
    data = kind(path=str(path), split={"val": 0.2, "test": 0.2}, **options)
    data.prepare_data()
    return data


def test_same_data_are_read_once_and_each_module_has_its_own_state(tmp_path: Path, reads: list[str]) -> None:
    path = write_table(tmp_path / "table.csv")
    first, second = table(path, batch_size=8), table(path, batch_size=16)
    assert len(reads) == 1
    assert (second.spec, second.report, second.fingerprints) == (first.spec, first.report, first.fingerprints)
    assert second.splits["train"].x is first.splits["train"].x  # memory is not taken twice
    assert len(next(iter(second.train_dataloader()))[0]) == 16
    first.report.say("something found later")
    first.spec["classes"] = 99
    third = table(path)
    assert (third.spec, third.report) == (second.spec, second.report)


def test_a_changed_file_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = write_table(tmp_path / "table.csv")
    first, stat = table(path), path.stat()
    write_table(path, shift=1)  # same size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert table(path).fingerprints != first.fingerprints
    assert len(reads) == 2


def test_other_options_are_read_anew(tmp_path: Path, reads: list[str]) -> None:
    path = write_table(tmp_path / "table.csv")
    assert table(path, keep=["a"]).spec["features"] > table(path).spec["features"]
    assert table(path, split_seed=1).fingerprints != table(path).fingerprints
    assert len(reads) == 4


def test_a_class_of_the_users_own_always_reads(tmp_path: Path, reads: list[str]) -> None:
    class Own(TableDataModule):
        pass

    path = write_table(tmp_path / "table.csv")
    table(path, kind=Own)
    table(path, kind=Own)
    assert reads == ["Own", "Own"]


def test_a_new_picture_in_a_folder_is_seen(tmp_path: Path, reads: list[str]) -> None:
    def picture(name: str, level: int) -> None:
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), level, np.uint8) + np.eye(4, dtype=np.uint8)).save(file)

    def pictures() -> ImageDataModule:
        data = ImageDataModule(path=str(tmp_path / "pictures"), cache=str(tmp_path / "cache"), split={"val": 0.2})
        data.prepare_data()
        return data

    for number in range(10):
        picture(f"{'dark' if number % 2 else 'bright'}/{number}.png", number * 5 + 100 * (number % 2))
    first, second = pictures(), pictures()
    assert len(reads) == 1
    assert second.fingerprints == first.fingerprints
    picture("dark/new.png", 9)
    assert sum(pictures().report.sizes.values()) == sum(first.report.sizes.values()) + 1


def test_large_data_are_not_kept(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_read, "MOST_BYTES", 1_000)
    path = write_table(tmp_path / "table.csv")
    table(path)
    table(path)
    assert len(reads) == 2
