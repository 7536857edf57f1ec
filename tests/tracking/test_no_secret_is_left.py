"""A whole run with secrets everywhere: nothing that it leaves behind or prints holds one of them."""

import sqlite3
import zipfile
from pathlib import Path

import pytest

from lantu.cli.main import main

SECRETS = {
    "in an address": "UriSecret1x", "in a query": "QuerySecret2x", "under a name": "NameSecret3x",
    "of the environment": "EnvSecret4x-long", "of a shape": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "of the tracking server": "TrackingSecret5x",
}  # fmt: skip


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


def test_nothing_that_a_run_leaves_or_prints_holds_a_secret(
    left: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(left)
    monkeypatch.setenv("SERVICE_API_KEY", SECRETS["of the environment"])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["of the tracking server"])
    rows = "".join(f"{n % 17},{n * 7 % 11},{'yes' if n % 17 > 8 else 'no'}\n" for n in range(80))
    (left / "t.csv").write_text(f"a,b,y\n{rows}")
    database = f"sqlite:///{left / 'store.db'}"
    asked = [
        "data=csv", "data.path=t.csv", "data.target=y", "model=mlp", "trainer=cpu", "trainer.max_epochs=1",
        "paths.root=runs", f"name=run {SECRETS['of the environment']}", "experiment_name=secret", "resume=null",
        f"paths.tracking_uri='{database}?password={SECRETS['in a query']}'",
        f"+tags.address='postgresql://me:{SECRETS['in an address']}@host/db'", f"+tags.hub={SECRETS['of a shape']}",
        f"+tags.api_key={SECRETS['under a name']}", f"+tags.note='key {SECRETS['of the environment']}'",
        f"+tags.login={SECRETS['of the tracking server']}",
    ]  # fmt: skip
    status = main(["train", *asked])
    printed = capfd.readouterr()
    assert status == 0, printed.err
    assert main(["sync", "--store", "runs/mlruns", "--tracking-uri", database]) == 0
    assert main(["runs", "--store", "runs/mlruns"]) == 0
    compared = ["compare", "experiment=secret", f"tracking_uri={database}", "report=report.html", "table=table.csv"]
    assert main(compared) == 0
    after = capfd.readouterr()
    texts = {"the terminal": (printed.out + printed.err + after.out + after.err).encode()}
    for file in left.rglob("*"):
        if file.is_file() and file.name != "t.csv":
            texts[str(file)] = file.read_bytes()
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as packed:
                    texts |= {f"{file}: {name}": packed.read(name) for name in packed.namelist()}
    kinds = {Path(name).suffix for name in texts}
    assert {".ckpt", ".yaml", ".jsonl", ".db", ".html", ".csv", ".parquet"} <= kinds
    found = [(kind, name) for kind, secret in SECRETS.items() for name in texts if secret.encode() in texts[name]]
    assert not found
    with sqlite3.connect(left / "store.db") as store:
        assert store.execute("select count(*) from tags where value like '%REDACTED%'").fetchone()[0] > 2


def test_a_mistake_does_not_print_the_secret_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    for mistake in (
        "paths.tracking_uri=http://h?password=Secret6x",
        "db.password=Secret6x",
        "+x.y=http://me:Secret6x@h[",
    ):
        assert main(["train", mistake]) == 2
        assert "Secret6x" not in capsys.readouterr().err
