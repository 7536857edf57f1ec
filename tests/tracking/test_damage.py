"""A damaged or forged piece of one run's record harms that run only, and is said."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lantu.cli.main import main
from lantu.cli.runs import sync_main
from lantu.compare.reading.sql import SqlReader
from lantu.errors import UserError
from lantu.redaction import redact
from lantu.tracking import embedded_uri
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder, lost_database
from lantu.tracking.spool import Spool


def _run(store: Path, name: str, *, shown: str = "a run") -> RunFolder:
    """A finished run that nobody has uploaded."""
    folder = RunFolder(store / "runs" / name)
    journal = Journal(folder.records)
    journal.append("begin", format="lantu-journal", version=1, run=name, experiment="e", name=shown, run_id=None,
                   parent=None, tracking_uri=None)  # fmt: skip
    journal.append("metrics", step=1, values={"loss": 0.5})
    journal.append("metrics", step=2, values={"loss": 0.25})
    journal.append("end", status="FINISHED")
    journal.close()
    return folder


def _kept(store: Path) -> dict[str, int]:
    """How many points MLflow has of each run."""
    asked = "SELECT t.value, count(*) FROM metrics JOIN tags t USING (run_uuid) WHERE t.key = 'lantu.run' GROUP BY 1"
    database = sqlite3.connect(store / "mlflow.db")
    found = dict(database.execute(asked).fetchall())
    database.close()
    return found


@pytest.mark.slow
def test_damaged_records_of_one_run_keep_back_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "mlruns"
    whole, cut, broken, past = (_run(store, name, shown="[/x]\x1b[2J") for name in ("whole", "cut", "broken", "past"))
    cut.spool.path.mkdir()
    (cut.spool.path / "1.json").write_text('{"name":')
    (cut.spool.path / "2.json").write_text("null")
    (cut.path / "shipped.json").write_text("null")
    lines = broken.records.read_bytes().splitlines(keepends=True)
    broken.records.write_bytes(b"".join([lines[0], lines[1].replace(b"0.5", b"0.6"), *lines[2:]]))
    past_state = {"run_id": "f" * 32, "offset": 10**9, "status": "FINISHED", "metrics": 2}
    (past.path / "shipped.json").write_text(json.dumps(past_state))
    assert main(["runs", "--store", str(store)]) == 0
    listed = capsys.readouterr().out
    assert "pending" in listed
    assert "\x1b[2J" not in listed
    assert main(["sync", "--store", str(store)]) == 0
    assert "1 damaged records" in capsys.readouterr().out
    assert _kept(store) == {"whole": 2, "cut": 2, "broken": 1, "past": 2}
    assert whole.is_uploaded()
    assert main(["sync", "--store", str(store)]) == 0

    (store / "mlflow.db").write_bytes(b"damaged" * 1000)
    rebuild = [sys.executable, "-m", "lantu", "sync", "--rebuild", "--store", str(store)]  # MLflow keeps connections
    subprocess.run(rebuild, check=True, capture_output=True)
    assert _kept(store) == {"whole": 2, "cut": 2, "broken": 1, "past": 2}


@pytest.mark.parametrize(
    "ticket",
    [
        {"name": "../../secret", "to": None}, {"name": "/etc/hostname", "to": None}, {"name": "..", "to": None},
        {"name": "link", "to": None}, {"name": "folder", "to": None}, {"name": "file", "to": "../../x"},
        {"name": "file", "to": "/abs"}, {"name": 3, "to": None}, [], None, {"to": None}, {"name": "gone", "to": None},
    ],
)  # fmt: skip
def test_a_forged_ticket_uploads_and_removes_nothing(ticket: object, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    spool = Spool(tmp_path / "journal" / "spool")
    place = spool.path / "00000000000000000001"
    (place / "folder").mkdir(parents=True)
    (place / "file").write_text("x")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "folder" / "inside").symlink_to(tmp_path / "secret")
    (spool.path / f"{place.name}.json").write_text(json.dumps(ticket))
    assert list(spool.tickets()) == []
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../b", "a//b", "a\\b", ""])
def test_an_artifact_path_that_leads_out_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no relative path"):
        Spool(tmp_path / "spool").put(tmp_path / "file", path)


def test_a_password_of_a_server_is_hidden_wherever_it_turns_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter2%40home@mlflow.example")
    for text in ("https://me:hunter2%40home@mlflow.example", "wrong: hunter2@home", "http://me:a@b@host/x"):
        assert "hunter2" not in redact(text)
        assert "a@b@" not in redact(text)


def test_a_database_that_is_gone_is_said_before_a_new_one_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _run(tmp_path, "one")
    assert lost_database(tmp_path) is None, "nothing was uploaded yet"
    assert sync_main(["--store", str(tmp_path)]) == 0
    assert folder.is_uploaded()
    assert lost_database(tmp_path) is None
    (tmp_path / "mlflow.db").unlink()
    capsys.readouterr()
    assert sync_main(["--store", str(tmp_path)]) == 1
    assert "mlflow.db is gone, and 1 run was uploaded to it. `lantu sync --rebuild`" in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()
    with pytest.raises(UserError, match="is gone, and 1 run was uploaded"):
        SqlReader(embedded_uri(tmp_path))
    assert sync_main(["--store", str(tmp_path), "--rebuild"]) == 0
    assert lost_database(tmp_path) is None
