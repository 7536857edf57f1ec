"""A model becomes the champion by gates, or by a reason that is kept; and one command takes it back."""

import json
import threading
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import lantu
from lantu.cli.main import main
from lantu.config.composing import compose
from lantu.errors import UserError
from lantu.inference.evaluate import job as evaluate
from lantu.registry.baseline_line import judge_with_baselines
from lantu.registry.commands import promote, register, rollback
from lantu.registry.evidence import Evidence, _content, _newest_report, gather
from lantu.registry.evidence_files import EqualityOfExport, Fairness, Load, Monitoring, Privacy
from lantu.registry.frozen_limits import freeze, frozen
from lantu.registry.gates import judge, verdict_of
from lantu.registry.launch_lines import lines_of
from lantu.registry.launch_page import _name_of, launch
from lantu.registry.mlflow_registry import Registry
from lantu.tracking.find import find_checkpoint
from tests.stores import uploaded

QUIET = [
    "trainer.enable_progress_bar=false",
    "++callbacks.figures=null",
    "experiment_name=people",
    "logger.mlflow.ship=false",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def runs(root: Path, own_data: dict[str, list[str]]) -> list[str]:
    """MLflow's ids of a good and of a bad model on the same split."""
    found = []
    for options in (["trainer.max_steps=60", "optimizer.lr=0.05"], ["trainer.max_steps=2", "optimizer.lr=1e-6"]):
        composed = lantu.compose(f"paths.root={root}", "data=csv", "model=linear", *own_data["csv"], *options, *QUIET)
        found.append(uploaded(lantu.run(composed), root / "mlruns"))
    return found


FIRST = "force='the first version'"


def command(root: Path, name: str, *overrides: str) -> Any:
    return compose(f"paths.root={root}", *overrides, command=name).cfg


def test_promotion_by_gates_by_force_and_back(root: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = runs
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    register(command(root, "register", "run=best:people", "name=credit"))
    assert client.get_model_version_by_alias("credit", "candidate").run_id == good
    with pytest.raises(UserError, match=r"version 1 is not promoted \(not yet\): baseline"):
        promote(command(root, "promote", "name=credit"))
    promote(command(root, "promote", "name=credit", FIRST))
    register(command(root, "register", f"run={bad[:12]}", "name=credit"))
    with pytest.raises(UserError, match=r"version 2 is not promoted \(no-go\): quality"):
        promote(command(root, "promote", "name=credit"))
    assert client.get_model_version_by_alias("credit", "champion").run_id == good
    with pytest.raises(UserError, match="say why"):
        promote(command(root, "promote", "name=credit", "force=' '"))
    promote(command(root, "promote", "name=credit", "force='a demonstration'"))
    assert client.get_model_version_by_alias("credit", "champion").run_id == bad
    said = capsys.readouterr().out
    main(["models", "--store", str(root / "mlruns"), "--json"])
    newest = json.loads(capsys.readouterr().out)[0]
    assert (newest["version"], newest["aliases"], newest["run"]) == ("2", ["candidate", "champion"], bad)
    assert newest["last decision"]["reason"] == "a demonstration"
    rollback(command(root, "rollback", "name=credit"))
    assert client.get_model_version_by_alias("credit", "champion").run_id == good
    with pytest.raises(UserError, match="no version had that alias before it"):
        rollback(command(root, "rollback", "name=credit"))
    with pytest.raises(UserError, match="is given by `lantu promote`"):
        register(command(root, "register", f"run={bad}", "name=credit", "alias=champion"))
    assert client.get_model_version_by_alias("credit", "champion").run_id == good
    history = Registry(client, "").history("credit")
    assert [each["what"] for each in history] == [
        "register", "refuse", "promote", "register", "refuse", "promote", "rollback",
    ]  # fmt: skip
    assert history[5]["reason"] == "a demonstration"
    kept = [each.path for each in client.list_artifacts(bad, "registry") if "promote-credit" in each.path]
    content = json.loads(Path(client.download_artifacts(bad, kept[0], str(root))).read_text())
    assert content["lines"][0]["verdict"] == "not met"
    assert any(name.startswith("data") for name in content["lineage"])
    assert "rollback name=credit" in said


def test_a_registered_model_is_found_by_its_alias_and_loads_with_mlflow_alone(
    root: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, own_data: dict[str, list[str]]
) -> None:
    register(command(root, "register", f"run={runs[0]}", "name=loads", "alias=first"))
    checkpoint = find_checkpoint("models:/loads@first", store=root / "mlruns")
    assert checkpoint.is_file()
    with pytest.raises(UserError, match="its aliases are: @first"):
        find_checkpoint("models:/loads@nobody", store=root / "mlruns")
    with pytest.raises(UserError, match="Did you mean `loads`"):
        find_checkpoint("models:/load@first", store=root / "mlruns")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlruns/mlflow.db")
    rows = pd.read_csv(own_data["csv"][0].partition("=")[2]).drop(columns="repaid").head(3)
    assert len(mlflow.pyfunc.load_model("models:/loads@first").predict(rows)) == 3


def test_no_answer_is_lost_or_wrong_while_a_promotion_is_followed(root: Path, runs: list[str]) -> None:
    pytest.importorskip("multipart", reason="needs the extra `serve`")
    from starlette.testclient import TestClient

    from lantu.serving.http.app import build_app
    from lantu.serving.serve_command import make_server

    for run, alias in zip(runs, ("first", "second"), strict=True):
        register(command(root, "register", f"run={run}", "name=swapped", f"alias={alias}"))
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    client.set_registered_model_alias("swapped", "champion", "1")
    cfg = command(root, "serve", "run=models:/swapped@champion", "reload_every=0.2", "log=false")
    row = {"age": 60, "income": 3000, "home": "own"}
    replies: list[Any] = []
    with TestClient(build_app(make_server(cfg, None)), base_url="http://localhost") as http:
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                replies.append(http.post("/predict", json=row))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for each in clients:
            each.start()
        client.set_registered_model_alias("swapped", "champion", "2")
        while "swapped/2" not in {each.json().get("model") for each in replies[-3:]} or len(replies) < 40:
            stop.wait(0.05)
        stop.set()
        for each in clients:
            each.join()
    assert {each.status_code for each in replies} == {200}
    by_model: dict[str, set[float]] = {}
    for each in replies:
        by_model.setdefault(each.json()["model"], set()).add(round(each.json()["predictions"][0]["probability_yes"], 5))
    assert by_model.keys() == {"swapped/1", "swapped/2"}
    assert all(len(found) == 1 for found in by_model.values())  # of one model one answer, of two models two
    assert by_model["swapped/1"] != by_model["swapped/2"]


def test_differences_between_groups_that_evaluate_measured_are_evidence_of_the_run(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    run = client.get_run(runs[0])
    file = Path(run.data.tags["lantu.run_dir"]) / "fairness.json"
    content = {"group": ["home"], "metrics": {"fairness/home/accuracy_difference": 0.1}}
    file.write_text(json.dumps({"weights": gather(client, run).weights, **content}))
    found = gather(client, run)
    file.unlink()
    assert found.groups == ["home"]
    assert found.metrics["fairness/home/accuracy_difference"] == 0.1
    assert "test/loss" in found.metrics


def test_a_run_chosen_from_a_sweep_has_spent_what_the_whole_sweep_has(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    experiment = client.create_experiment("private", artifact_location=str(root / "artifacts"))
    sweep = client.create_run(experiment).info.run_id
    trial = client.create_run(experiment, tags={"mlflow.parentRunId": sweep}).info.run_id
    client.log_param(trial, "privacy.delta", "1e-05")
    gates = {"privacy": {"metric": "privacy/epsilon", "most": 3}}
    client.log_metric(trial, "privacy/epsilon", 2.0)
    (unfinished,) = judge(gather(client, client.get_run(trial)), None, gates)
    assert unfinished.verdict == "not known"
    client.log_metric(sweep, "privacy/epsilon", 4.0)
    (line,) = judge(gather(client, client.get_run(trial)), None, gates)
    assert (line.verdict, line.value) == ("not met", 4.0)
    assert "at delta 1e-05" in line.claim


def test_a_launch_compares_a_registered_run_with_the_champion_of_its_model(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    assert _name_of(client, "0" * 32) is None
    for name in ("one", "two"):
        register(command(root, "register", f"run={runs[0]}", f"name={name}"))
    with pytest.raises(UserError, match=r"registered as .*one, .*two"):
        _name_of(client, runs[0])


def evidence(shift: float, *, rows: int = 400, load: dict[str, Any] | None = None) -> Evidence:
    """Of a model whose loss is larger by `shift`, with the noise of examples."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"row": range(rows), "target": "a", "prediction": "a"})
    noise = random.normal(0, 0.3, rows) * (shift != 0)
    frame["loss"] = 0.5 + random.normal(0, 0.2, rows) + shift + noise
    return Evidence("run", predictions={"test": frame}, load=load)


QUALITY = {"quality": {"metric": "loss", "split": "test", "worse_by": 0.01, "level": 0.95}}


def test_the_quality_gate_tells_worse_from_unknown_and_says_how_many_examples_decide() -> None:
    champion = evidence(0.0)
    verdicts = {shift: judge(evidence(shift), champion, QUALITY)[0] for shift in (-0.2, 0.2, 1e-9)}
    assert {shift: each.verdict for shift, each in verdicts.items()} == {
        -0.2: "met", 0.2: "not met", 1e-9: "not known",
    }  # fmt: skip
    assert "better" in verdicts[-0.2].claim
    unsure = verdicts[1e-9]
    assert unsure.low is not None
    assert unsure.low < -0.01 < unsure.high  # type: ignore[operator]
    assert verdict_of([verdicts[-0.2], unsure]) == "not yet"
    assert verdict_of([verdicts[0.2], unsure]) == "no-go"


def test_a_limit_without_its_evidence_is_not_known_and_names_the_command_that_measures_it() -> None:
    gates = {"latency": {"p99_ms": 50}, "errors": {"share": 0.0}, "cost": {"usd_per_thousand": None}}
    lines = judge(evidence(0.0), None, gates)
    assert [(each.gate, each.verdict) for each in lines] == [("latency", "not known"), ("errors", "not known")]
    assert "lantu load run=run" in lines[0].remedy
    measured = {"open": {"ms": {"p99": 61.0}, "requests": 10, "errors": {}}, "closed": {"requests": 9, "errors": {}}}
    assert [each.verdict for each in judge(evidence(0.0, load=measured), None, gates)] == ["not met", "met"]
    with pytest.raises(UserError, match="Did you mean `latency`"):
        judge(evidence(0.0), None, {"latncy": {"p99_ms": 50}})


def test_refusals_crowd_no_promotion_out_of_the_history(root: Path, runs: list[str]) -> None:
    uri = f"sqlite:///{root}/mlruns/mlflow.db"
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("many", artifact_location=str(root / "artifacts")))
    client.create_registered_model("crowded")
    registry = Registry(client, uri)
    registry.note("crowded", {"what": "promote", "alias": "champion"}, run_id=run.info.run_id, evidence={})
    for _ in range(12):
        decision = {"what": "refuse", "alias": "champion", "reason": "x" * 600}
        registry.note("crowded", decision, run_id=run.info.run_id, evidence={})
    kept = [each["what"] for each in registry.history("crowded")]
    assert kept[0] == "promote"
    assert 1 < len(kept) < 13


def test_the_registry_works_over_postgresql(postgresql: str, tmp_path: Path) -> None:
    client = MlflowClient(postgresql, postgresql)
    experiment = client.create_experiment("registered", artifact_location=str(tmp_path / "artifacts"))
    registry = Registry(client, postgresql)
    for _ in range(2):
        run = client.create_run(experiment)
        client.log_text(run.info.run_id, "weights", "model/weights.txt")
        made = registry.register("credit", run, Evidence(run.info.run_id, lineage={"code": "abc"}))
        assert registry.register("credit", run, Evidence(run.info.run_id)) == made  # twice is the same as once
        registry.set_alias("credit", "champion", made.version)
        registry.note("credit", {"what": "promote"}, run_id=run.info.run_id, evidence={})
    assert registry.aliases("credit") == {"champion": "2"}
    assert client.get_model_version("credit", "2").tags["lantu.code"] == "abc"
    assert len(registry.history("credit")) == 2


@pytest.mark.parametrize("losses", [None, np.nan])
def test_a_first_version_is_not_promoted_on_a_metric_that_nobody_measured(losses: float | None) -> None:
    frames = {} if losses is None else {"test": pd.DataFrame({"row": range(20), "loss": losses})}
    (line,) = judge(Evidence("run", predictions=frames), None, QUALITY)
    assert line.verdict == "not known"


def test_losses_that_are_not_finite_are_not_known_to_be_better() -> None:
    broken = evidence(-0.2)
    broken.predictions["test"].loc[3, "loss"] = np.nan
    (line,) = judge(broken, evidence(0.0), QUALITY)
    assert line.verdict == "not known"


def test_without_any_limit_nothing_is_a_go() -> None:
    assert verdict_of(judge(evidence(0.0), None, {"quality": {"worse_by": None}, "drift": {"most": None}})) == "not yet"


GAP = "demographic_parity_difference"


def fair(**gaps: tuple[float, float, float]) -> dict[str, float]:
    ends = ("", "_low", "_high")
    return {
        f"fairness/{name}/{GAP}{end}": value
        for name, found in gaps.items()
        for end, value in zip(ends, found, strict=True)
    }


@pytest.mark.parametrize(
    ("gaps", "groups", "verdict"),
    [
        ({}, ["race"], "not known"),
        ({"race": (0.02, 0.01, 0.04)}, ["race"], "met"),
        ({"race": (0.04, 0.01, 0.08)}, ["race"], "not known"),
        ({"race": (0.02, 0.01, 0.04), "sex": (0.1, 0.06, 0.2)}, ["race", "sex"], "not met"),
        ({"race": (0.02, 0.01, 0.04)}, ["race", "sex"], "not known"),  # sex has too few examples in a group
    ],
)
def test_the_fairness_gate_reads_the_differences_of_every_column_with_their_intervals(
    gaps: dict[str, tuple[float, float, float]], groups: list[str], verdict: str
) -> None:
    candidate = Evidence("run", metrics=fair(**gaps), groups=groups)
    (line,) = judge(candidate, None, {"fairness": {"metric": GAP, "most": 0.05}})
    assert line.verdict == verdict


def test_a_ratio_between_groups_has_a_limit_from_below() -> None:
    name = "fairness/race/demographic_parity_ratio"
    candidate = Evidence("run", metrics={name: 0.75, f"{name}_low": 0.7, f"{name}_high": 0.79})
    gate = {"metric": "demographic_parity_ratio", "least": 0.8}
    assert [each.verdict for each in judge(candidate, None, {"fairness": gate})] == ["not met"]
    with pytest.raises(UserError, match=r"set `gate\.fairness\.least`"):
        judge(candidate, None, {"fairness": {"metric": "demographic_parity_ratio", "most": 0.8}})


def test_the_drift_gate_reads_the_newest_report_of_the_monitor(tmp_path: Path) -> None:
    gates = {"drift": {"most": 0}}
    assert judge(Evidence("run", folder=tmp_path), None, gates)[0].verdict == "not known"
    for day, drifted in (("2026-01-01_00-00-00", ["age (KS)"]), ("2026-01-02_00-00-00", [])):
        report = tmp_path / "monitoring" / day / "monitoring.json"
        report.parent.mkdir(parents=True)
        report.write_text(json.dumps({"drifted": drifted, "findings": [{}, {}], "rows": 90, "new": "week.csv"}))
        (line,) = judge(Evidence("run", folder=tmp_path, monitoring=_newest_report(tmp_path)), None, gates)
        assert line.verdict == ("not met" if drifted else "met")
        assert f"{len(drifted)} of 2 comparisons" in line.claim


LOADED = {"open": {"ms": {"p99": 1.0}, "requests": 10, "errors": {}}, "closed": {"requests": 9, "errors": {}}}
FORCE = "force='it converged before'"


def test_a_measurement_of_other_weights_is_stale_and_opens_its_gate(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    run = client.get_run(runs[0])
    folder = Path(run.data.tags["lantu.run_dir"])
    now, other = gather(client, run).weights, gather(client, client.get_run(runs[1])).weights
    assert None not in (now, other)
    assert now != other
    gates = {"latency": {"p99_ms": 50}, "errors": {"share": 0}, "export": {"format": "onnx"}, "drift": {"most": 0}}
    gates |= {"fairness": {"metric": "accuracy_difference", "most": 0.5}}
    equality, day = folder / "export" / "onnx" / "equality.json", folder / "monitoring" / "2026-01-01_00-00-00"
    day.mkdir(parents=True)
    equality.parent.mkdir(parents=True)
    gap = {f"fairness/home/accuracy_difference{end}": 0.1 for end in ("", "_low", "_high")}
    files: dict[Path, dict[str, Any]] = {
        folder / "load.json": LOADED,
        equality: {"largest": {"value": 0.0}, "equal": True, "examples": 8},
        day / "monitoring.json": {"drifted": [], "findings": [{}], "rows": 9, "new": "week.csv"},
        folder / "fairness.json": {"group": ["home"], "metrics": gap},
    }
    try:
        for weights, verdict in ((now, "met"), (other, "not known"), (None, "not known")):
            for path, content in files.items():
                path.write_text(json.dumps({"weights": weights, **content}))
            lines = judge(gather(client, run), None, gates)
            assert {each.gate: each.verdict for each in lines} == dict.fromkeys(gates, verdict)
            assert all("stale" in each.claim for each in lines) == (verdict != "met")
    finally:
        for path in files:
            path.unlink()


def test_stored_predictions_of_the_test_name_the_weights_that_made_them(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    run = client.get_run(runs[0])
    path = Path(run.data.tags["lantu.run_dir"]) / "predictions" / "test.parquet"
    found, before = gather(client, run), pd.read_parquet(path)
    assert before.attrs["weights"] == found.weights == found.lineage["weights"]
    assert "test" in found.predictions
    changed = before.copy()
    changed.attrs["weights"] = "0" * 16
    changed.to_parquet(path)
    stale = gather(client, run)
    before.to_parquet(path)
    assert "test" not in stale.predictions
    (line,) = judge(stale, found, QUALITY)
    assert (line.verdict, "00000000" in line.claim) == ("not known", True)


def test_examples_without_targets_are_the_same_only_if_the_digest_of_the_split_is() -> None:
    one, two = evidence(-0.2), evidence(0.0)
    for each in (one, two):
        each.predictions["test"] = each.predictions["test"].drop(columns="target")
    assert judge(one, two, QUALITY)[0].verdict == "not known"
    one.lineage = two.lineage = {"data, test": "abc"}
    assert judge(one, two, QUALITY)[0].verdict == "met"
    two.lineage = {"data, test": "xyz"}
    assert judge(one, two, QUALITY)[0].verdict == "not known"


def test_a_run_that_has_not_finished_is_registered_only_with_a_reason(
    root: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    client.set_terminated(runs[1], "FAILED")
    try:
        with pytest.raises(UserError, match="is FAILED and not FINISHED"):
            register(command(root, "register", f"run={runs[1]}", "name=broken"))
        with pytest.raises(UserError, match="say why"):
            register(command(root, "register", f"run={runs[1]}", "name=broken", "force=no"))
        register(command(root, "register", f"run={runs[1]}", "name=broken", FORCE))
    finally:
        client.set_terminated(runs[1], "FINISHED")
    (noted,) = Registry(client, "").history("broken")
    assert (noted["status"], noted["reason"]) == ("FAILED", "it converged before")


def test_a_run_that_was_trained_on_after_registering_must_be_registered_again(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    register(command(root, "register", f"run={runs[0]}", "name=resumed"))
    client.set_model_version_tag("resumed", "1", "lantu.weights", "0" * 16)
    with pytest.raises(UserError, match="it was trained on since"):
        promote(command(root, "promote", "name=resumed"))
    register(command(root, "register", f"run={runs[0]}", "name=resumed"))
    promote(command(root, "promote", "name=resumed", FIRST))
    assert Registry(client, "").aliases("resumed") == {"candidate": "2", "champion": "2"}


def test_a_promotion_that_is_cut_off_leaves_its_record_and_the_old_champion(
    root: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    register(command(root, "register", f"run={runs[0]}", "name=cut"))
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(command(root, "promote", "name=cut", FIRST))
    registry = Registry(client, "")
    assert [each["what"] for each in registry.history("cut")] == ["register", "promote"]
    assert registry.aliases("cut") == {"candidate": "1"}
    promote(command(root, "promote", "name=cut", FIRST))
    assert registry.aliases("cut") == {"candidate": "1", "champion": "1"}


def test_simple_models_that_evaluate_compared_are_evidence_of_promote_and_launch_alike(
    root: Path, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    register(command(root, "register", f"run={runs[0]}", "name=simple"))
    _, before = judge_with_baselines(gather(client, client.get_run(runs[0])), None, QUALITY)
    assert before.verdict == "not known"
    assert before.remedy == f"lantu evaluate run={runs[0]} baselines=true"
    evaluate(command(root, "evaluate", f"run={runs[0]}", "baselines=true"))
    candidate = gather(client, client.get_run(runs[0]))
    (Path(client.get_run(runs[0]).data.tags["lantu.run_dir"]) / "baselines.json").unlink()
    _, after = judge_with_baselines(candidate, None, QUALITY)
    assert after == next(each for each in lines_of(candidate, None, QUALITY, history=[], business={})
                         if each.gate == "baseline")  # fmt: skip
    assert after.low is not None
    assert "than that of the" in after.claim


@pytest.mark.parametrize("content", [b"null", b"[1]", b'{"a": "', b"\xff\xfe\0", b"[" * 100_000, b"3"])
def test_damaged_evidence_counts_as_none_and_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "load.json").write_bytes(content)
    candidate = Evidence("run", weights="abc")
    assert candidate.fresh("load.json", _content(tmp_path / "load.json"), Fairness) is None
    assert "damaged or was edited" in candidate.stale["load.json"]


EDITED: list[tuple[type[Any], dict[str, Any]]] = [
    (Load, {"open": {"ms": {"p99": -7.0}, "requests": 1, "errors": {}}}),
    (Load, {"open": {"ms": {"p99": "5"}, "requests": 1, "errors": {}}}),
    (Load, {"open": {"requests": "9", "errors": [1]}}),
    (Load, {"usd_per_thousand": float("nan")}),
    (Fairness, {"group": "home", "metrics": {}}),
    (Fairness, {"group": [], "metrics": ["x"]}),
    (EqualityOfExport, {"equal": "false", "largest": {}, "examples": 8}),
    (Monitoring, {"drifted": 5, "findings": None, "rows": "many", "new": []}),
    (Privacy, {"epsilon": None, "delta": "x"}),
]


@pytest.mark.parametrize(("form", "content"), EDITED, ids=[str(number) for number in range(len(EDITED))])
def test_evidence_that_was_edited_counts_as_none_and_says_so(form: type[Any], content: dict[str, Any]) -> None:
    candidate = Evidence("run", weights="abc")
    assert candidate.fresh("FILE", {**content, "weights": "abc"}, form) is None
    assert "damaged or was edited" in candidate.stale["FILE"]


@pytest.mark.parametrize("edited", ["{not json", '["a"]', '[{"x": 1}]', '[{"what": "rollback", "at": null}]', "5"])
def test_a_history_that_was_edited_decides_nothing(
    edited: str, root: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    register(command(root, "register", f"run={runs[0]}", "name=edited"))
    kept = client.get_registered_model("edited").tags["lantu.history"]
    client.set_registered_model_tag("edited", "lantu.history", edited)
    try:
        for act, name, options in ((promote, "promote", [FORCE]), (launch, "launch", ["run=models:/edited@candidate"])):
            with pytest.raises(UserError, match="is damaged or was edited"):
                act(command(root, name, "name=edited", *options))
        assert Registry(client, "").aliases("edited") == {"candidate": "1"}
    finally:
        client.set_registered_model_tag("edited", "lantu.history", kept)


def test_limits_that_were_edited_say_nothing(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    record = freeze(client, "limited", {"quality": {"worse_by": 0.1}})
    number = client.get_experiment_by_name("limited").experiment_id
    assert frozen(client, number) == record
    looser = {**record, "gates": {"quality": {"worse_by": 9.0}}}
    for text in ("{", "null", json.dumps({**record, "at": "yesterday"}), json.dumps(looser)):
        client.set_experiment_tag(number, "lantu.limits", text)
        with pytest.raises(UserError, match="are damaged or were edited"):
            frozen(client, number)


def test_a_deleted_run_is_not_launched_and_a_deleted_champion_is_said(
    root: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    for run in runs:
        register(command(root, "register", f"run={run}", "name=gone"))
        promote(command(root, "promote", "name=gone", FORCE))
    register(command(root, "register", f"run={runs[0]}", "name=gone"))
    client.delete_model_version("gone", "2")
    client.delete_run(runs[0])
    try:
        for act, name in ((register, "register"), (promote, "promote"), (launch, "launch")):
            options = [] if act is promote else [f"run={runs[0]}"]
            with pytest.raises(UserError, match="was deleted in MLflow"):
                act(command(root, name, "name=gone", *options))
    finally:
        client.restore_run(runs[0])
    launch(command(root, "launch", f"run={runs[0]}", "name=gone", "output=gone.html"))
    assert "version 2, the last champion, is not registered any more" in (root / "gone.html").read_text()
    promote(command(root, "promote", "name=gone", FORCE))
    assert "version 2, which was @champion, is not registered any more" in capsys.readouterr().out


def test_predictions_that_were_changed_or_damaged_are_no_evidence(root: Path, runs: list[str]) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    run = client.get_run(runs[0])
    path = Path(run.data.tags["lantu.run_dir"]) / "predictions" / "test.parquet"
    content, whole = path.read_bytes(), pd.read_parquet(path)
    flipped = bytearray(content)
    flipped[len(flipped) // 3] ^= 0xFF
    try:
        for changed in (whole.assign(loss=0.0), whole.head(3), whole.assign(loss="x"), flipped, content[:90], b""):
            if isinstance(changed, pd.DataFrame):
                changed.attrs = whole.attrs
                changed.to_parquet(path)
            else:
                path.write_bytes(bytes(changed))
            found = gather(client, run)
            assert "test" not in found.predictions
            assert "test.parquet" in found.stale["predictions/test.parquet"]
    finally:
        path.write_bytes(content)
    assert "test" in gather(client, run).predictions
