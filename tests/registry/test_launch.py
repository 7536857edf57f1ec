"""The launch page: go, no-go or not yet, each line with what would turn it green."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from lantu.errors import UserError
from lantu.registry.constraint_prices import ConstraintPrice, prices_of
from lantu.registry.evidence import Evidence
from lantu.registry.frozen_limits import freeze, limits_line
from lantu.registry.gates import judge, verdict_of
from lantu.registry.launch_lines import lines_of
from lantu.registry.launch_page import page, seal_of
from lantu.registry.missing_evidence import cheapest, with_prices
from tests.registry.test_registry import QUALITY

LOADED = {
    "open": {"ms": {"p50": 3.0, "p99": 9.0}, "rate": 50.0, "requests": 500, "errors": {}},
    "closed": {"requests": 900, "errors": {}},
    "usd_per_thousand": 0.0004,
    "server_per_hour": 0.1,
}
GATES: dict[str, Any] = {**QUALITY, "latency": {"p99_ms": 20}, "cost": {"usd_per_thousand": 0.01}}


def evidence(load: dict[str, Any] | None, folder: Path | None = None) -> Evidence:
    random = np.random.default_rng(0)
    right = random.random(300) < 0.8
    frame = pd.DataFrame(
        {
            "row": range(300), "target": "yes", "prediction": np.where(right, "yes", "no"), "probability": 0.8,
            "loss": random.gamma(2, 0.2, 300),
        }
    )  # fmt: skip
    found = Evidence("0123456789ab", name="<b>mlp</b>", predictions={"test": frame}, load=load, folder=folder)
    found.metrics, found.lineage = {"test/accuracy": 0.8, "cost/kwh": 0.001}, {"data, test": "abc"}
    found.metrics |= ahead(trivial=(0.2, 0.15, 0.25), linear=(0.04, 0.01, 0.07))
    return found


def ahead(**of: tuple[float, float, float]) -> dict[str, float]:
    """By how much a run is better than each baseline, with the interval, as it logs that."""
    ends = ("", "_low", "_high")
    return {
        f"baseline/{name}_loss_ahead{end}": value
        for name, values in of.items()
        for end, value in zip(ends, values, strict=True)
    }


def lines(candidate: Evidence, **options: Any) -> Any:
    return lines_of(candidate, None, GATES, **{"history": [], "business": {}, **options})


def test_not_yet_names_the_cheapest_evidence_and_what_was_measured_besides() -> None:
    found = lines(evidence(None))
    assert verdict_of([each for each in found if each.limit]) == "not yet"
    nearest = cheapest(with_prices(found, evidence(None), None, None, usd_per_label=None))
    assert nearest is not None
    assert nearest.remedy.startswith("lantu load run=0123456789ab")
    measured = {each.gate: each for each in found if not each.limit}
    assert measured["measured"].low < 0.8 < measured["measured"].high + 0.05
    assert measured["calibration"].verdict == "met"
    assert {name for name, each in measured.items() if each.verdict == "not known"} == {
        "money",
        "risk",
        "rollback",
        "card",
        "use",
    }


@pytest.mark.parametrize(
    ("others", "verdict", "claim"),
    [
        ({"linear": (0.04, 0.01, 0.07)}, "go", "test/loss is 0.04 better than that of the linear model"),
        ({"boosted": (-0.04, -0.07, -0.01)}, "no-go", "0.04 worse than that of the boosted model"),
        ({"linear": (0.04, 0.01, 0.07), "boosted": (0.01, -0.02, 0.04)}, "not yet", "that of the boosted model"),
        ({}, "not yet", "no simple model was fitted on the same rows"),
    ],
)
def test_a_first_launch_is_a_go_only_if_it_beats_the_simple_models(
    others: dict[str, tuple[float, float, float]], verdict: str, claim: str
) -> None:
    candidate = evidence(LOADED)
    candidate.metrics = {"test/accuracy": 0.8, **ahead(**others)}
    found = lines(candidate)
    assert verdict_of([each for each in found if each.limit]) == verdict
    written = page(candidate, None, found, verdict=verdict, seal="", gates=GATES)
    assert claim in written
    assert "compared with simple models" in written


def test_a_task_without_simple_models_is_not_held_back_by_them() -> None:
    candidate = evidence(LOADED)
    candidate.metrics, candidate.tried_baselines = {"test/accuracy": 0.8}, True
    found = lines(candidate)
    assert verdict_of([each for each in found if each.limit]) == "go"
    assert "its task has no simple models" in next(each.claim for each in found if each.gate == "baseline")


def test_go_needs_every_limit_met_and_money_is_only_stated_by_the_users_own_figures(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "card.md").write_text("# Card")
    history = [{"what": "rollback", "at": "2026-01-02T03:04:05Z"}]
    found = lines(evidence(LOADED, tmp_path), history=history, business={"value_per_thousand": [0.2, 0.5]})
    assert verdict_of([each for each in found if each.limit]) == "go"
    told = {each.gate: each for each in found}
    assert (told["money"].low, told["money"].high) == (0.1996, 0.4996)
    assert told["rollback"].claim == "was rehearsed on 2026-01-02"
    assert told["card"].verdict == "met"


def test_a_wrong_decision_is_priced_at_the_upper_end_of_the_assumptions() -> None:
    candidate, champion = evidence(LOADED), evidence(LOADED)
    business = {"value_per_quality": [1.0, 4.0], "predictions_per_month": [1000, 3000]}
    found = lines_of(candidate, champion, GATES, history=[], business=business)
    told = {each.gate: each for each in found}
    assert told["quality"].low is not None
    assert told["risk"].value == pytest.approx(max(0.0, -told["quality"].low) * 4 * 3)


def test_the_page_is_one_file_that_asks_nothing_of_the_network_and_escapes_names() -> None:
    candidate = evidence(LOADED)
    found = lines(candidate)
    seal = seal_of(candidate, GATES)
    html = page(candidate, None, found, verdict="no-go", seal=seal, gates=GATES)
    assert ">No-go</h1>" in html
    assert "&lt;b&gt;mlp" in html
    assert not any(word in html for word in ("<script", "http:", "https:", "<link", "@import"))
    assert all(each.claim.split("'")[0] in html for each in judge(candidate, None, GATES))
    assert seal in html
    assert seal != seal_of(candidate, {**GATES, "latency": {"p99_ms": 21}})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('launched')}/mlflow.db")


def a_run(client: MlflowClient, experiment: str, metrics: dict[str, float], **params: Any) -> Any:
    run = client.create_run(experiment, run_name=f"run {metrics}")
    batch = [Metric(name, value, int(time.time() * 1000), 0) for name, value in metrics.items()]
    client.log_batch(run.info.run_id, batch, [Param(name, str(value)) for name, value in params.items()])
    data = Dataset(name="loans", digest="abc", source_type="local", source="{}")
    client.log_inputs(run.info.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "test")])])
    client.set_terminated(run.info.run_id)
    return client.get_run(run.info.run_id)


def of(run: Any, **options: Any) -> Evidence:
    return Evidence(run.info.run_id, metrics=run.data.metrics, lineage={"data, test": "abc"}, **options)


def test_the_price_of_each_constraint_is_what_its_limit_costs_over_the_experiments_runs(client: MlflowClient) -> None:
    experiment = client.create_experiment("priced")
    gap = "fairness/home/demographic_parity_difference"
    found = [
        a_run(client, experiment, {"test/profit": profit, "privacy/epsilon": epsilon, gap: 0.1, "cost/co2e_kg": co2e})
        for profit, epsilon, co2e in ((0.5, 1.0, 2.0), (0.4, 2.0, 3.0), (0.7, 3.0, 1.0), (0.8, 9.0, 5.0))
    ]
    gates = {"quality": {"metric": "loss"}, "privacy": {"most": 3}}
    candidate = of(found[2])
    prices = {each.constraint: each for each in prices_of(client, found[2], candidate, gates)}
    assert set(prices) == {"privacy/epsilon", "cost/co2e_kg"}  # every run has the same gap: nothing to trade
    epsilon = prices["privacy/epsilon"]
    assert epsilon.runs["on"].tolist() == [True, False, True, True]
    assert epsilon.claim == (
        "within the limit of 3 the best test/profit is 0.7; without it 0.8 at 9: the limit costs 0.1"
    )
    best_is_least = ConstraintPrice("cost/co2e_kg", "test/profit", epsilon.runs.iloc[[2]], None)
    assert best_is_least.claim.endswith("is reached at the least, 3: more buys nothing")
    html = page(candidate, None, lines(candidate), verdict="go", seal="", gates=gates, prices=list(prices.values()))
    assert html.count("<figure>") == 2
    assert "the limit costs 0.1" in html


def test_limits_count_as_frozen_only_if_they_stood_before_the_first_test_and_are_the_same(client: MlflowClient) -> None:
    experiment = client.create_experiment("frozen")
    early = a_run(client, experiment, {"test/loss": 0.5})
    assert limits_line(client, early, GATES).verdict == "not known"
    time.sleep(1.1)  # times are of whole seconds
    record = freeze(client, "frozen", GATES)
    assert limits_line(client, early, GATES).verdict == "not known"
    assert "after the test split was read" in limits_line(client, early, GATES).claim
    time.sleep(1.1)
    late = a_run(client, experiment, {"test/loss": 0.5})
    again = limits_line(client, late, GATES)
    assert (again.verdict, "of this experiment had read the same test split" in again.claim) == ("not known", True)
    fresh = client.create_experiment("fresh")
    freeze(client, "fresh", GATES)
    time.sleep(1.1)
    assert limits_line(client, a_run(client, fresh, {"test/loss": 0.5}), GATES).verdict == "met"
    changed = {**GATES, "latency": {"p99_ms": 21}}
    assert limits_line(client, late, changed).verdict == "not met"
    assert freeze(client, "frozen", GATES) == record
    with pytest.raises(UserError, match="cannot be changed"):
        freeze(client, "frozen", changed)


def test_the_cheapest_evidence_is_priced_in_labels_or_in_further_seeds(client: MlflowClient) -> None:
    experiment = client.create_experiment("seeds")
    ours, theirs = (
        [
            a_run(client, experiment, {"test/loss": loss + step, "cost/usd": 0.05}, seed=seed, width=width)
            for seed, step in enumerate((-0.01, 0.01))
        ]
        for width, loss in ((8, 0.495), (16, 0.5))
    )
    random = np.random.default_rng(0)
    noise = [pd.DataFrame({"row": range(400), "target": "a", "loss": random.gamma(2, 0.25, 400)}) for _ in range(2)]
    candidate = of(ours[0], predictions={"test": noise[0]})
    champion = of(theirs[0], predictions={"test": noise[1]})
    for each in (candidate, champion):
        each.predictions["test"]["loss"] += 0.5 - each.predictions["test"]["loss"].mean()
    gates = {**QUALITY, "latency": {"p99_ms": 20}}
    found = with_prices(judge(candidate, champion, gates), candidate, champion, client, usd_per_label=0.5)
    quality, latency = found
    assert quality.examples is not None
    assert re.search(
        r"more test examples decide it, .* \(about \$[\d,.]+\); or \d+ more seeds of each for \$", quality.remedy
    )
    assert quality.usd is not None
    assert quality.usd < 0.5 * quality.examples
    assert cheapest(found) == latency  # half a minute of a machine
    unpriced = with_prices(judge(candidate, None, gates), candidate, None, client, usd_per_label=None)
    assert [each.gate for each in unpriced if each.verdict == "not known"] == ["latency"]
