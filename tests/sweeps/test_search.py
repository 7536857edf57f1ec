"""A search from the command line: Optuna's samplers over our configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.store.tracking.dbmodels.models import Base
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import create_engine

from lantu.errors import UserError
from lantu.sweeps.search.study import journal_of, open_storage
from lantu.sweeps.search.study_checks import OBJECTIVES, check_study
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.tracking.store import ensure_store
from tests.sweeps.conftest import Sweep

Find = Callable[[str], SweepFolder]
RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
SAMPLERS = ("tpe", "random", "quasi_random", "gp", "cma_es", "nsga2", "grid")


def study_of(folder: SweepFolder) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=open_storage(journal_of(folder)))


@pytest.mark.parametrize(
    "sampler", [pytest.param(each, marks=[] if each == "tpe" else pytest.mark.slow) for each in SAMPLERS]
)
def test_every_sampler_searches(sampler: str, sweep: Sweep, the_sweep: Find) -> None:
    space = ["optimizer.lr=0.1,0.01"] if sampler == "grid" else [RATE, "data.batch_size=range(32,97,32)"]
    search = ("hydra/sweeper=optuna", f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=2")
    assert sweep(*search, *space, "sweep.name=mine", "trainer.max_steps=3") == 0
    study = study_of(the_sweep("mine"))
    done = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(done) == 2
    for trial in done:
        told = the_sweep("mine").trial(trial.number).state()
        assert trial.values == [told.values["val/loss_best"]]


def test_the_journal_gives_the_trials_that_optunas_own_reader_finds(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="mine", storage=open_storage(path))
    running = []
    for step in range(8):
        if step == 5:
            study.enqueue_trial({"x": 0.5})
        running.append(study.ask())
        running[-1].suggest_float("x", 0, 1)
        if step % 3 == 2:  # in another order than they began
            study.tell(running.pop(), 1.0)
            study.tell(running.pop(0), state=TrialState.FAIL)
        theirs = optuna.load_study(study_name="mine", storage=JournalStorage(JournalFileBackend(path)))
        for states in (None, (TrialState.WAITING,), (TrialState.COMPLETE,), (TrialState.RUNNING, TrialState.FAIL)):
            assert study.get_trials(False, states) == theirs.get_trials(False, states)
    assert study.trials[5].params == {"x": 0.5}


@pytest.mark.slow
def test_a_search_is_continued_to_its_number_of_trials(sweep: Sweep, the_sweep: Find) -> None:
    command = ("hydra/sweeper=optuna", RATE, "trainer.max_steps=2", "sweep.name=mine")
    assert sweep(*command, "hydra.sweeper.n_trials=2") == 0
    assert sweep(*command, "hydra.sweeper.n_trials=2") == 0
    assert len(study_of(the_sweep("mine")).trials) == 2
    assert sweep(*command, "hydra.sweeper.n_trials=4") == 0
    assert [each.state for each in study_of(the_sweep("mine")).trials] == [TrialState.COMPLETE] * 4


def test_a_point_that_was_tried_is_not_paid_for_again(sweep: Sweep, the_sweep: Find) -> None:
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=10")
    assert sweep(*search, "optimizer.lr=0.1,0.2", "trainer.max_steps=2", "sweep.name=mine") == 0
    trials = the_sweep("mine").trials()
    assert sorted(trial.name for trial in trials) == ["lr=0.1", "lr=0.2"]


def test_earlier_trials_outside_of_what_is_searched_now_are_said(
    sweep: Sweep, the_sweep: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "trainer.max_steps=2", "sweep.name=mine")
    assert sweep(*search, "optimizer.lr=interval(0.01,0.1)") == 0
    assert "outside of what is searched" not in capsys.readouterr().err
    assert sweep(*search, "optimizer.lr=interval(1e-6,1e-5)") == 0
    assert "1 of 1 earlier trials lie outside of what is searched now, such as `lr=0.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"directions": ["maximize"]}, "is to maximize, this search to minimize"),
        ({"values of": "val/accuracy"}, "holds values of val/accuracy, and `sweep.objective` is val/loss"),
        ({"x": 0.5}, "is of another search: it chose x, this one chooses optimizer.lr"),
    ],
)
def test_a_study_of_another_search_is_refused(made: dict[str, Any], said: str) -> None:
    study = optuna.create_study(directions=made.get("directions", ["minimize"]))
    if "values of" in made:
        study.set_user_attr(OBJECTIVES, [made["values of"]])
    study.add_trial(optuna.create_trial(value=1.0))
    if "x" in made:
        study.enqueue_trial(made)
        study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    with pytest.raises(UserError, match=said):
        check_study(study, objectives=("val/loss",), directions=("minimize",), searched={"optimizer.lr"})
    mine = optuna.create_study()
    for _ in range(2):
        check_study(mine, objectives=("val/loss",), directions=("minimize",), searched={"optimizer.lr"})


def test_several_objectives_end_in_a_front(sweep: Sweep, the_sweep: Find) -> None:
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=nsga2", "hydra.sweeper.n_trials=3", RATE)
    assert sweep(*search, "sweep.objective=[val/accuracy,cost/usd]", "sweep.name=mine") == 0
    study = study_of(the_sweep("mine"))
    assert [each.name for each in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(0 <= each.values[0] <= 1 and each.values[1] > 0 for each in study.trials)


@pytest.mark.slow
def test_a_hopeless_trial_is_ended_early_and_not_tested(sweep: Sweep, the_sweep: Find) -> None:
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra/sweeper/pruner=median")
    early = ("hydra.sweeper.pruner.n_startup_trials=1", "optimizer.lr=0.1,1e-9", "trainer.max_epochs=6", "test=true")
    # the sampler's order is random: the good rate comes first in one of two sweeps
    for seed in range(4):
        assert sweep(*search, *early, f"hydra.sweeper.sampler.seed={seed}", f"sweep.name=s{seed}") == 0
        folder = the_sweep(f"s{seed}")
        if folder.trials()[0].name == "lr=0.1":
            break
    first, second = (trial.state() for trial in folder.trials())
    assert (first.status, second.status) == ("finished", "pruned")
    assert "was not among the best" in second.reason
    assert "test/loss" in first.values
    assert "test/loss" not in second.values
    assert study_of(folder).trials[1].state == TrialState.PRUNED


@pytest.mark.slow
def test_a_search_begins_with_what_an_earlier_sweep_learned(
    sweep: Sweep, the_sweep: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("optimizer.lr=0.1,0.05", "seed=0,1", "sweep.name=earlier") == 0
    search = ("hydra/sweeper=optuna", RATE, "hydra.sweeper.n_trials=1", "sweep.name=later")
    assert sweep(*search, "hydra.sweeper.warm_start=[earlier]") == 0
    study = study_of(the_sweep("later"))
    assert sum("lantu.from" in each.user_attrs for each in study.trials) == 4
    assert len(study.trials) == 5
    assert len(the_sweep("later").trials()) == 1
    assert sweep(*search[:-1], "sweep.name=other", "hydra.sweeper.warm_start=[earlyer]") == 2
    assert "there is no sweep `earlyer`" in capsys.readouterr().err


def test_a_search_stops_at_its_time(sweep: Sweep, the_sweep: Find) -> None:
    search = ("hydra/sweeper=optuna", RATE, "hydra.sweeper.n_trials=null", "hydra.sweeper.timeout=1")
    assert sweep(*search, "sweep.name=mine") == 0
    assert 1 <= len(the_sweep("mine").trials()) < 30


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("seed=1",), "a search needs something to choose"),
        ((RATE, "hydra.sweeper.sampler.sed=1"), "Did you mean `hydra.sweeper.sampler.seed`"),
        ((RATE, "hydra/sweeper/pruner=asha", "sweep.objective=[val/loss,cost/usd]"), "no trial can be ended early"),
        ((RATE, "hydra.sweeper.storage=nowhere://x"), "`hydra.sweeper.storage=nowhere://x` cannot be opened"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_no_trial(
    overrides: tuple[str, ...], said: str, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("hydra/sweeper=optuna", *overrides) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("trial.json"))


def test_a_study_in_mlflows_database_is_refused_before_anything_is_written(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["hydra/sweeper=optuna", RATE, "hydra.sweeper.n_trials=1"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://one:word@db/runs")
    assert sweep(*command, "hydra.sweeper.storage=postgresql://two@db:5432/runs") == 2
    assert "is the database of the MLflow store" in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # as behind a server: only its tables tell
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    Base.metadata.create_all(engine, [Base.metadata.tables[name] for name in ("experiments", "runs", "latest_metrics")])
    assert sweep(*command, f"hydra.sweeper.storage=sqlite:///{tmp_path}/store.db") == 2
    said = capsys.readouterr().err
    assert "MLflow's tables" in said
    assert "createdb optuna" in said
    assert not list(tmp_path.rglob("sweep.json"))


def test_mlflow_refuses_a_database_with_optunas_tables(postgresql: str) -> None:
    storage = postgresql.replace("/mlflow?", "/optuna?")
    optuna.create_study(study_name="there", storage=storage)
    with pytest.raises(UserError, match="Optuna's tables"):
        ensure_store(storage)


@pytest.mark.slow
def test_two_machines_share_a_study_over_postgresql(postgresql: str, sweep: Sweep, the_sweep: Find) -> None:
    storage = postgresql.replace("/mlflow?", "/optuna?")
    command = ("hydra/sweeper=optuna", RATE, f'hydra.sweeper.storage="{storage}"')
    shared = ("hydra.sweeper.study_name=shared", "hydra.sweeper.n_trials=4", "trainer.max_steps=2")
    assert sweep(*command, *shared[:1], "hydra.sweeper.n_trials=2", shared[2], "sweep.name=one") == 0
    assert sweep(*command, *shared, "sweep.name=two") == 0
    study = optuna.load_study(study_name="shared", storage=storage)
    assert [each.state for each in study.trials] == [TrialState.COMPLETE] * 4
    assert len(the_sweep("one").trials()) == len(the_sweep("two").trials()) == 2
