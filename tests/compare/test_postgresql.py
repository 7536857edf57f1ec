"""A real PostgreSQL server is read as SQLite is. Skipped where PostgreSQL is not installed."""

import numpy as np
import pandas as pd
import pytest

from lantu.compare.analysis import Options, analyse
from lantu.compare.reading.run_frames import Selection, read
from lantu.compare.reading.server import ServerReader
from lantu.compare.reading.sql import SqlReader
from lantu.compare.reading.stores import open_reader
from lantu.compare.recommendation import decide
from tests.compare.made import Made, grid, write


def test_postgresql_gives_what_mlflow_gives(postgresql: str) -> None:
    (parent,) = write(postgresql, [Made("lr_width", {})])
    trials = grid(seeds=3)
    for each in trials:
        each.parent = parent
    long = Made("long", {"seed": 0}, curves={"val/loss": list(np.linspace(2, 1, 900))})
    diverged = Made("diverged", {"seed": 1}, curves={"val/loss": [1.0, float("inf"), float("nan")]})
    write(postgresql, trials)
    write(postgresql, [long, diverged], experiment="other")
    reader = open_reader(postgresql)
    assert isinstance(reader, SqlReader)
    assert len(read(open_reader(postgresql.replace("+psycopg2", "")), Selection(sweeps=("lr_width",)))) == 18
    direct, through = (
        read(reader, Selection(sweeps=("lr_width",))),
        read(ServerReader(postgresql), Selection(sweeps=("lr_width",))),
    )
    through = through.only(direct.info.index)
    pd.testing.assert_frame_equal(
        direct.params, through.params[direct.params.columns], check_dtype=False, check_names=False
    )
    np.testing.assert_allclose(direct.score, through.score)
    assert reader.parent_of("lr_width") == parent
    other = read(reader, Selection(experiments=("other",)))
    assert other.score.tolist() == [1.0, 1.0]
    thin = reader.history(list(other.info.index[:1]), ["val/loss"], points=2000)
    assert len(thin) == 900
    decision = decide(analyse(reader, Selection(sweeps=("lr_width",)), Options()))
    assert decision.ship == "width=128 lr=0.001"


def test_postgresql_thins_long_curves(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.linspace(2, 1, 500))
    (run,) = write(postgresql, [Made("thin", {"seed": 0}, curves={"val/loss": values})], experiment="thin")
    monkeypatch.setattr("lantu.compare.reading.sql.MANY", 100)
    thin = open_reader(postgresql).history([run], ["val/loss"], points=50)
    assert 45 <= len(thin) <= 60
    assert thin["step"].iloc[[0, -1]].tolist() == [10, 5000]
