"""What a sweep's command means, before anything runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext
from omegaconf import OmegaConf

from lantu.cli.main import main
from lantu.config.composing import Composition, compose, config_search
from lantu.config.sweeping import Composer, distinct
from lantu.errors import UserError
from lantu.sweeps.search.objectives import directions_of
from lantu.sweeps.search.space import read_space
from lantu.sweeps.state.request import Point, grid, read_request
from lantu.sweeps.state.snapshot import composed
from lantu.sweeps.state.sweep_folder import State, SweepFolder


@pytest.fixture
def context() -> Iterator[HydraContext]:
    with config_search():
        yield HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=None)


def test_a_grid_is_every_combination_named_by_what_varies(context: HydraContext) -> None:
    request = read_request(["data=digits", "model=cnn,mlp", "optimizer.lr=0.1,0.01"], context)
    points = grid(request)
    assert [each.name for each in points] == ["cnn lr=0.1", "cnn lr=0.01", "mlp lr=0.1", "mlp lr=0.01"]
    assert request.fixed == ("data=digits",)
    assert request.keys == ("model", "optimizer.lr")


def test_an_enlarged_grid_is_the_same_sweep_and_another_fixed_part_is_not(context: HydraContext) -> None:
    def digest(*arguments: str) -> str:
        return read_request(list(arguments), context).digest("grid")

    assert digest("seed=0,1", "optimizer.lr=1") == digest("optimizer.lr=1", "seed=0,1,2")
    assert digest("seed=0,1", "optimizer.lr=1") != digest("seed=0,1", "optimizer.lr=2")
    assert digest("seed=0,1") != digest("seed=0,1", "optimizer.lr=1,2")
    # how trials are run and kept does not make it another sweep
    assert digest("seed=0,1") == digest("seed=0,1", "sweep.budget.usd=1", "logger.mlflow.ship=false")


def test_the_same_combination_is_the_same_point_in_whatever_order() -> None:
    assert Point(("a=1", "b=2")).key == Point(("b=2", "a=1")).key
    assert Point(("a=1", "b=2")).key != Point(("a=1", "b=3")).key


def test_of_an_option_given_twice_the_last_one_counts_as_in_a_single_run(context: HydraContext) -> None:
    assert read_request(["seed=0,1", "seed=2"], context).fixed == ("seed=2",)
    assert [each.name for each in grid(read_request(["seed=2", "seed=0,1"], context))] == ["seed=0", "seed=1"]


def test_an_interval_in_a_grid_is_refused(context: HydraContext) -> None:
    with pytest.raises(UserError, match="let a search choose: `hydra/sweeper=optuna`"):
        grid(read_request(["optimizer.lr=interval(0.1,1)"], context))


def test_checking_covers_every_value_and_every_choice_of_files_without_every_product() -> None:
    points = [(f"model={m}", f"optimizer.lr={r}", f"seed={s}") for m in "ab" for r in range(50) for s in range(50)]
    kept = distinct(points, chooses=lambda override: override.startswith("model="))
    assert {(m, r) for m, r, _ in kept} == {(m, r) for m, r, _ in points}
    assert {(m, s) for m, _, s in kept} == {(m, s) for m, _, s in points}
    assert len(kept) < 250


def test_a_column_that_one_point_names_and_the_table_lacks_ends_the_sweep_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\n")
    assert main(["train", "-m", "data=csv", "data.path=t.csv", "model=mlp", "data.target=y,Y"]) == 2
    assert (
        "the trial `target=Y`: `data.target=Y`: t.csv has no such column. Did you mean `y`?" in capsys.readouterr().err
    )
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


def test_a_points_config_is_the_one_that_hydra_composes(context: HydraContext) -> None:
    loader = context.config_loader
    asked = []

    def compose(overrides: tuple[str, ...]) -> Composition:
        asked.append(overrides)
        return composed(loader, ["test=false", *overrides])

    composer = Composer(loader, compose)
    points = [
        (f"model={model}", f"optimizer.lr={rate}", f"seed={seed}", "+tags.note='a b'", "trainer.devices=[0,1]")
        for model in ("cnn", "mlp")
        for rate in ("1e-3", "${seed}")
        for seed in (0, 1)
    ]
    for point in points:
        made, whole = composer(point), composed(loader, ["test=false", *point])
        assert OmegaConf.to_container(made.cfg) == OmegaConf.to_container(whole.cfg)
        assert (made.choices, set(made.overrides)) == (whole.choices, set(whole.overrides))
    assert asked == [("model=cnn", "+tags.note='a b'"), ("model=mlp", "+tags.note='a b'")]


def test_a_key_that_no_config_has_is_refused_as_if_hydra_had_been_asked(context: HydraContext) -> None:
    loader = context.config_loader
    composer = Composer(loader, lambda overrides: composed(loader, overrides))
    with pytest.raises(UserError, match=r"optimizer\.rate"):
        composer(("model=cnn", "optimizer.rate=1"))


def test_hydras_sweeps_become_optunas_distributions(context: HydraContext) -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    request = read_request(
        [
            "model=choice(cnn,mlp)",
            "optimizer.lr=tag(log,interval(1e-4,1e-1))",
            "data.batch_size=range(16,129,16)",
            "optimizer.weight_decay=range(0,0.5,0.1)",
            "seed=tag(int,interval(0,9))",
        ],
        context,
    )
    space = read_space(request.swept, {}, context)
    assert [each.distribution() for each in space.dimensions] == [
        CategoricalDistribution(["cnn", "mlp"]),
        FloatDistribution(1e-4, 1e-1, log=True),
        IntDistribution(16, 128, step=16),
        FloatDistribution(0.0, 0.4, step=0.1),
        IntDistribution(0, 9),
    ]


def test_a_logarithmic_scale_from_zero_an_unknown_tag_and_a_single_value_are_refused(context: HydraContext) -> None:
    for override, said in (
        ("optimizer.lr=tag(log,interval(0,1))", "begins above zero"),
        ("optimizer.lr=tag(lag,interval(1,2))", "no tag `lag`"),
    ):
        (dimension,) = read_space(read_request([override], context).swept, {}, context).dimensions
        with pytest.raises(UserError, match=said):
            dimension.distribution()
    with pytest.raises(UserError, match="leaves nothing to choose"):
        read_space((), {"optimizer.lr": "0.1"}, context)


def test_conditions_open_options_that_only_some_choices_have(context: HydraContext) -> None:
    import optuna

    params = {
        "model": "choice(mlp, lstm)",
        "model=lstm": {"model.layers": "range(1, 4)"},
        "+extra": "choice(1, 2)",
    }
    space = read_space((), params, context)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggest(study.ask()).overrides for _ in range(30)]
    assert all(any(each.startswith("model.layers=") for each in point) == ("model=lstm" in point) for point in points)
    assert {point[0] for point in points} == {"model=mlp", "model=lstm"}
    assert all(any(each.startswith("+extra=") for each in point) for point in points)
    # what is checked before the first trial: every choice, both ends of the rest
    checked = {override for example in space.examples() for override in example.overrides}
    assert {"model=mlp", "model=lstm", "model.layers=1", "model.layers=3", "+extra=1", "+extra=2"} <= checked


def test_directions_go_by_the_metrics_names_unless_they_are_given() -> None:
    assert directions_of(compose().cfg) == ["minimize"]
    both = compose("sweep.objective=[val/accuracy,cost/usd]").cfg
    assert directions_of(both) == ["maximize", "minimize"]
    assert directions_of(compose("sweep.objective=val/score", "sweep.direction=minimize").cfg) == ["minimize"]
    with pytest.raises(UserError, match="for 1 objective it takes as many"):
        directions_of(compose("sweep.direction=[minimize,maximize]").cfg)


WHOLE = {"created": 1.0, "objectives": ["val/loss"], "directions": ["minimize"], "digest": "a", "command": []}


@pytest.mark.parametrize(
    "content",
    [
        *("", "null", "[]", '{"objectives": ["val/lo', '{"created": "x"}', "[" * 90_000),
        *(json.dumps(WHOLE | each) for each in ({"objectives": [5]}, {"directions": []}, {"created": 1e300})),
    ],
)
def test_a_damaged_sweep_is_said_and_harms_no_other(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("whole", "damaged"):
        SweepFolder(tmp_path / "mlruns" / "runs" / "sweeps" / name).keep(WHOLE)
    (tmp_path / "mlruns" / "runs" / "sweeps" / "damaged" / "sweep.json").write_text(content)
    assert main(["sweeps", "--json"]) == 0
    said = capsys.readouterr()
    assert [each["name"] for each in json.loads(said.out)] == ["whole"]
    assert main(["train", "sweep.resume=damaged"]) == 2
    assert "sweep.json is damaged" in capsys.readouterr().err


def test_a_trial_whose_state_is_damaged_is_run_again_and_a_damaged_point_is_named(tmp_path: Path) -> None:
    trial = SweepFolder(tmp_path).trial(0).plan(Point(("optimizer.lr=0.1",)))
    trial.keep(State(status="finished"))
    fields = ('"values": "x"', '"values": {"cost/usd": {}}', '"started": "x"', '"ended": 1e300', '"run_id": 5')
    damaged = [f'{{"status": "finished", {each}}}' for each in fields]
    for content in ("", "null", '{"status": 5}', *damaged):
        (trial.path / "state.json").write_text(content)
        assert trial.state() == State()
    (trial.path / "trial.json").write_text('{"overrides": "x"}')
    with pytest.raises(UserError, match=r"trial\.json is damaged\. Remove the folder"):
        _ = trial.point
