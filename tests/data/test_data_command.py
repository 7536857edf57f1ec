"""`lantu data` says what is in a table without training, and without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lantu.cli.main import main


def table(folder: Path) -> Path:
    path = folder / "loans.csv"
    rows = (f"{n},{n * 37 % 101},{['rent', 'own'][n % 2]},{'<b>bad</b>' if n % 5 == 0 else 'good'}" for n in range(200))
    path.write_text("id,income,home,status\n" + "\n".join(rows) + "\n")
    return path


def test_the_report_is_printed_and_written_as_html_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["data", "data=csv", f"data.path={table(tmp_path)}", "data.target=status", "json=r.json", "report=r.html"])
        == 0
    )
    said = capsys.readouterr().out
    assert "id" in said
    assert "key (left out)" in said
    assert "positive class: <b>bad</b> (20.0%" in said
    found = json.loads((tmp_path / "r.json").read_text())
    assert {each["name"]: each["kind"] for each in found["columns"]} == {
        "id": "key",
        "income": "number",
        "home": "category",
    }
    assert found["classes"]["test"] == {"good": 32, "<b>bad</b>": 8}
    page = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert "<b>bad</b>" not in page
    assert not (tmp_path / "mlruns").exists()


def test_torch_is_not_imported_for_a_table(tmp_path: Path) -> None:
    code = "import sys; from lantu.cli.main import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    arguments = [code, "data", "data=csv", f"data.path={table(tmp_path)}", "data.target=status"]
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


@pytest.mark.parametrize(
    ("override", "said"),
    [("data.target=statu", "Did you mean `status`"), ("data.traget=x", "Did you mean `data.target`")],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, override: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "data=csv", f"data.path={table(tmp_path)}", "data.target=status", override]) == 2
    assert said in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["loans.csv"]


def test_a_split_by_time_is_asked_for_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["data", "data=csv", f"data.path={table(tmp_path)}", "data.target=status", "data.split=time"]
    assert main([*asked, "data.time=id", "json=r.json", "report=r.html"]) == 0
    assert "the newest rows by id are held out" in capsys.readouterr().out
    assert main(asked) == 2
    assert "data.time=COLUMN" in capsys.readouterr().err
