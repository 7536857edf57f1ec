"""A file that cannot be written is refused before anything is worked out for it."""

from pathlib import Path

import pytest

from lantu.cli.main import main
from lantu.config.output_paths import check_file_to_write
from lantu.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.html").write_text("kept")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("folder", r"`report=folder` is a folder\. Name a file in it: `report=folder/report\.html`"),
        ("page.pdf", r"`report=page\.pdf`: what is written is \.html; name it so: `report=page\.html`"),
        ("none/page.html", r"`report=none/page\.html`: there is no folder none\."),
        ("file.html/page.html", r"`report=file\.html/page\.html`: there is no folder file\.html\."),
        (f"{'x' * 300}.html", "cannot be written: .*: File name too long"),
    ],
)
def test_a_place_where_no_file_can_be_written_is_refused_in_a_sentence(folder: Path, asked: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_file_to_write("report", asked, ending=".html")
    assert sorted(each.name for each in folder.iterdir()) == ["file.html", "folder"]


@pytest.mark.parametrize("asked", ["file.html", "new.html", "folder/new.html", "/dev/stdout"])
def test_a_file_may_be_new_or_written_again_or_a_device(folder: Path, asked: str) -> None:
    check_file_to_write("report", asked, ending=".html")
    assert (folder / "file.html").read_text() == "kept"
    assert not list((folder / "folder").iterdir())


def test_a_folder_that_is_going_to_be_made_need_not_be_there(folder: Path) -> None:
    check_file_to_write("report", "a/b/page.html", ending=".html", makes_folder=True)
    with pytest.raises(UserError, match=r"file\.html: it is a file, not a folder"):
        check_file_to_write("report", "file.html/a/page.html", ending=".html", makes_folder=True)


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "report=."],
        ["compare", "table=folder"],
        ["compare", "table=page.docx"],
        ["compare", "report=/proc/none/page.html"],
        ["data", "data=breast_cancer", "report=folder"],
        ["data", "data=breast_cancer", "json=data.yaml"],
    ],
)
def test_a_command_refuses_it_before_it_reads_runs_or_data(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *(["paths.store=nowhere"] if command[0] == "compare" else [])]) == 2
    assert f"`{command[-1]}`" in capsys.readouterr().err
    assert sorted(each.name for each in folder.iterdir()) == ["file.html", "folder"]
