"""Every listing fits a terminal of 80 columns, and is JSON for programs."""

import json
from pathlib import Path

import pytest

from lantu.cli.main import main
from lantu.tracking import RunLogger

NAME = "mlp csv target=Status hidden=[256,256] max_epochs=2 seed=1 and much more that a name can hold"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("listed") / "mlruns"
    for number, score in enumerate((0.25, float("nan"))):
        folder = store / "runs" / "2026-01-01" / f"10-00-0{number}-123456"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("callbacks:\n  checkpoint:\n    filename: best\n    monitor: val/loss\n")
        logger = RunLogger(
            run_dir=folder, experiment="listed", run_name=NAME, tracking_uri=None, store=str(store), ship=False
        )
        logger.log_metrics({"val/loss": 0.5}, step=0)
        logger.log_metrics({"val/loss_best": score, "cost/usd": 0.0125}, step=1)
        logger.close("FINISHED")
    return store


def test_the_runs_are_listed_within_80_columns_with_score_date_and_cost(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs", "--store", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[: lines.index("score: val/loss, the best checkpoint's")]
    assert all(len(line) <= 80 for line in table)
    assert table[0].split() == ["id", "run", "began", "state", "score", "cost"]
    assert ["mlp" in line and "…" in line and "$0.01" in line and "pending" in line for line in table[1:]] == [
        True,
        True,
    ]
    assert "0.25" in table[2]  # the newest run is first
    assert any("10-00-00-123456  pending: 3 points" in line for line in lines)


@pytest.mark.parametrize("command", ["runs", "sweeps", "models", "catalog", "doctor"])
def test_every_listing_has_json(command: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = ["--store", str(store)]
    options = {"runs": stored, "sweeps": stored, "models": stored, "doctor": ["--fast"]}
    main([command, "--json", *options.get(command, [])])
    rows = json.loads(capsys.readouterr().out)
    if command == "runs":
        assert [each["score"] for each in rows] == [None, 0.25]
        assert [each["folder"] for each in rows] == ["2026-01-01/10-00-01-123456", "2026-01-01/10-00-00-123456"]
        assert rows[1]["metric"] == "val/loss"
    elif command == "catalog":
        breast = next(each for each in rows if (each["group"], each["name"]) == ("data", "breast_cancer"))
        assert "mlp" in breast["models"]
    else:
        assert rows == [] if command in ("sweeps", "models") else len(rows) > 5
