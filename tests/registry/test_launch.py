"""The launch page: go, no-go or not yet, each line with what would turn it green."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.registry.evidence import Evidence
from lantu.registry.gates import judge, verdict_of
from lantu.registry.launch_lines import cheapest, lines_of
from lantu.registry.launch_page import page, seal_of
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
    return found


def lines(candidate: Evidence, **options: Any) -> Any:
    return lines_of(candidate, None, GATES, **{"history": [], "business": {}, **options})


def test_not_yet_names_the_cheapest_evidence_and_what_was_measured_besides() -> None:
    found = lines(evidence(None))
    assert verdict_of([each for each in found if each.limit]) == "not yet"
    nearest = cheapest(found)
    assert nearest is not None
    assert nearest.remedy.startswith("lantu load run=0123456789ab")
    measured = {each.gate: each for each in found if not each.limit}
    assert measured["measured"].low < 0.8 < measured["measured"].high + 0.05
    assert measured["calibration"].verdict == "met"
    assert {name for name, each in measured.items() if each.verdict == "not known"} == {"money", "rollback", "card"}


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
