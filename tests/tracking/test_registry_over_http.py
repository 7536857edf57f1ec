"""The registry works over an MLflow server, whose artifacts are reached through it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from lantu.config.composing import compose
from lantu.registry.commands import promote, rollback
from lantu.registry.evidence import Evidence, gather
from lantu.registry.mlflow_registry import Registry
from tests.tracking.conftest import Server


@pytest.mark.slow
def test_versions_are_registered_promoted_and_rolled_back_over_http(server: Server, tmp_path: Path) -> None:
    client = MlflowClient(server.uri)
    experiment, registry = client.create_experiment("registered over http"), Registry(client, server.uri)
    for number, loss in enumerate((0.5, 0.4), start=1):
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "test/loss", loss)
        client.log_text(run.info.run_id, f"metadata:\n  weights: digest{number}\n", "model/MLmodel")
        client.set_terminated(run.info.run_id)
        run = client.get_run(run.info.run_id)
        evidence = gather(client, run, tracking_uri=server.uri)
        assert evidence.weights == f"digest{number}"  # as the MLflow model in the artifacts states it
        version = registry.register("over http", run, evidence)
        assert registry.register("over http", run, Evidence(run.info.run_id)) == version
        registry.set_alias("over http", "candidate", version.version)
        cfg = compose("name='over http'", "force='no champion yet'", f"paths.tracking_uri={server.uri}",
                      f"paths.root={tmp_path}", command="promote").cfg  # fmt: skip
        promote(cfg)
        assert registry.aliases("over http")["champion"] == version.version
    back = compose("name='over http'", f"paths.tracking_uri={server.uri}", f"paths.root={tmp_path}", command="rollback")
    rollback(back.cfg)
    assert registry.aliases("over http")["champion"] == "1"
    assert [each["what"] for each in registry.history("over http")] == ["promote", "promote", "rollback"]
    assert {each.path.split("/")[1].split("-")[0] for each in client.list_artifacts(version.run_id, "registry")} == {
        "promote", "rollback",
    }  # fmt: skip
