"""A full disk is answered in a sentence, and leaves what was there before."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from lantu.cli.main import main
from lantu.errors import disk_complaint
from lantu.table_files import write_table
from lantu.tracking.spool import Spool
from lantu.whole_files import new_folder, whole_folder, write_whole

LIMITED = """
import resource, sys
from pathlib import Path
from lantu.whole_files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), "new" * 1000)
except OSError as error:
    from lantu.errors import disk_complaint
    sys.exit(disk_complaint(error) or 9)
"""


@pytest.fixture
def full_spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"the disk, or your share of it, is full, so `{path}` could not be written. Make room" in done.stderr
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "rows.csv", "half\ud800")
    assert not list(tmp_path.iterdir())


def test_a_link_and_a_device_are_written_through(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "target.txt").write_text("")
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.txt")
    write_whole(tmp_path / "link.txt", "through")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "through"
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "rows.csv")
    assert pd.read_csv(tmp_path / "rows.csv")["a"].tolist() == [1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here, which acts as a full disk")
def test_an_artifact_that_cannot_be_copied_leaves_nothing_in_the_spool(
    full_spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x" * 100)
    monkeypatch.setattr(
        "lantu.tracking.spool.shutil.copy2", lambda source, _: Path("/dev/full").write_bytes(b"x" * 100)
    )
    with pytest.raises(OSError, match="No space left"):
        full_spool.put(tmp_path / "weights.bin", None)
    assert not list(full_spool.path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here, which acts as a full disk")
def test_a_command_on_a_full_disk_ends_with_a_sentence_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{n % 9},{'yn'[n % 2]}\n" for n in range(40)))
    assert main(["data", "data=csv", "data.path=t.csv", "data.target=y", "report=/dev/full", "json=r.json"]) == 2
    assert "/dev/full cannot be written: No space left" in capsys.readouterr().err


def test_a_full_disk_is_named_by_what_was_asked_for_whoever_wrote(mounted: Callable[[str], Path]) -> None:
    folder = mounted("size=64k")
    with pytest.raises(OSError, match="No space") as caught, whole_folder(folder / "export") as place:
        save_file({"weight": torch.zeros(100_000)}, place / "model.safetensors")
    assert f"`{folder}/export` could not be written" in str(disk_complaint(caught.value))
    with pytest.raises(OSError, match="No space") as caught:
        write_table(pd.DataFrame({"a": np.random.default_rng(0).random(100_000)}), folder / "rows.parquet")
    assert f"`{folder}/rows.parquet` could not be written" in str(disk_complaint(caught.value))
    assert not [*folder.iterdir()]


def test_files_that_belong_together_all_stand_in_a_folder_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "card"
    with pytest.raises(FileExistsError), whole_folder(folder) as place:
        [(place / "card.md").touch(exist_ok=False) for _ in range(2)]
    assert not [*tmp_path.iterdir()]
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("a person's")
    with whole_folder(folder) as place:
        (place / "card.md").write_text("whole")
    assert {each.name: each.read_text() for each in folder.iterdir()} == {"card.md": "whole", "notes.txt": "a person's"}
    with pytest.raises(FileNotFoundError), new_folder(folder / "a" / "b") as place:
        (place / "no" / "file").touch()
    assert not (folder / "a").exists()


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no /sys here, in which nobody may make a file")
def test_a_file_that_may_not_be_made_is_named_as_it_was_asked_for() -> None:
    with pytest.raises(OSError, match=r"denied|Read-only") as caught:
        write_whole(Path("/sys/report.html"), "x")
    said = disk_complaint(caught.value)
    assert said is not None
    assert said.startswith("`/sys/report.html` cannot be read or written: ")
    assert disk_complaint(ValueError("x")) is None
