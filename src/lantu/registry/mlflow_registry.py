"""MLflow's model registry: versions, aliases, and the history of decisions that rollback reads."""

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.registry.evidence import Evidence
from lantu.registry.evidence_files import Move, what_is_wrong
from lantu.tracking.artifacts import artifacts_of
from lantu.tracking.mlflow_client import FAILED
from lantu.tracking.registered import RegisteredVersion
from lantu.tracking.store import turn

HISTORY = "lantu.history"
"""The tag of a registered model that holds its decisions, the newest last."""
WEIGHTS = "lantu.weights"
"""The tag of a version with the digest of its weights."""
MOST_CHARACTERS = 4500
"""Of that tag, within MLflow's limit of 5,000; older decisions stay with their runs."""


class Registry:
    """The registry of one tracking store.

    Args:
        client: MLflow's.
        uri: of the store; writes to SQLite take turns.
    """

    def __init__(self, client: Any, uri: str) -> None:
        self.client = client
        self.uri = uri

    def register(self, name: str, run: Any, evidence: Evidence) -> RegisteredVersion:
        """A new version of a model from a run, or the one that the run has already with these weights.

        Raises:
            UserError: the run kept no model.
        """
        from mlflow.exceptions import MlflowException

        run_id = run.info.run_id
        for each in self.client.search_model_versions(f"name='{_quoted(name)}'") if self._exists(name) else []:
            if each.run_id == run_id and not self._differ(each.tags.get(WEIGHTS), evidence.weights):
                return RegisteredVersion(name, str(each.version), run_id)
        source = self._source(run, evidence)
        tags = {f"lantu.{label.replace(', ', '_').replace(' ', '_')}": v for label, v in evidence.lineage.items()}
        with self._turn():
            if not self._exists(name):
                self.client.create_registered_model(name)
            try:
                made = self.client.create_model_version(name, source, run_id=run_id, tags=tags)
            except MlflowException as error:
                raise UserError(f"MLflow refuses the model of run {run_id}: {error.message}") from error
        return RegisteredVersion(name, str(made.version), run_id)

    def changed(self, version: RegisteredVersion, evidence: Evidence) -> str:
        """The digest of the weights that a version was registered with, where its run has others now; else empty."""
        registered = self.client.get_model_version(version.name, version.version).tags.get(WEIGHTS)
        return str(registered) if self._differ(registered, evidence.weights) else ""

    @staticmethod
    def _differ(one: str | None, two: str | None) -> bool:
        return one is not None and two is not None and one != two

    def aliases(self, name: str) -> dict[str, str]:
        """Version by alias."""
        return {alias: str(version) for alias, version in self.client.get_registered_model(name).aliases.items()}

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a version."""
        with self._turn():
            self.client.set_registered_model_alias(name, alias, version)

    def promoted(self, name: str) -> set[str]:
        """The aliases that are given by promotion alone: champion, and those that a version was promoted to."""
        history = self.history(name) if self._exists(name) else []
        return {"champion", *(str(each.get("alias")) for each in history if each["what"] in ("promote", "rollback"))}

    def history(self, name: str) -> list[dict[str, Any]]:
        """The decisions about a model, oldest first.

        Raises:
            UserError: the tag that holds them was edited, so that what it says is not to be trusted.
        """
        text = self.client.get_registered_model(name).tags.get(HISTORY, "[]")
        try:
            found = json.loads(text)
            wrong = None if isinstance(found, list) else "it is no list"
        except (ValueError, RecursionError) as error:
            wrong = str(error)
        wrong = wrong or next((reason for each in found if (reason := what_is_wrong(Move, each)) is not None), None)
        if wrong is not None:
            raise UserError(
                f"the history of `{name}`, its tag {HISTORY} in MLflow, is damaged or was edited ({wrong[:200]}). "
                "Set the tag to a copy of before, or delete it: then nothing is known of earlier promotions."
            )
        return list(found)

    def lost(self, name: str, alias: str) -> str | None:
        """The version that had an alias last, where it was deleted since, and the alias with it; None: no such one."""
        if alias in self.aliases(name):
            return None
        moves = [each for each in self.history(name) if each["what"] in ("promote", "rollback")]
        last = next((str(each["version"]) for each in reversed(moves) if each.get("alias") == alias), None)
        there = {str(each.version) for each in self.client.search_model_versions(f"name='{_quoted(name)}'")}
        return last if last is not None and last not in there else None

    def note(self, name: str, decision: dict[str, Any], *, run_id: str, evidence: dict[str, Any]) -> None:
        """Keep a decision: shortly with the model, and with its evidence among the artifacts of its run."""
        decision = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "by": getpass.getuser(), **decision}
        stamp = decision["at"].replace(":", "-")
        self.client.log_dict(run_id, {**decision, **evidence}, f"registry/{decision['what']}-{name}-{stamp}.json")
        with self._turn():
            kept = [*self.history(name), decision]
            while len(json.dumps(kept)) > MOST_CHARACTERS and len(kept) > 1:
                # refusals first: rollback needs the promotions
                kept.pop(next((place for place, each in enumerate(kept[:-1]) if each["what"] == "refuse"), 0))
            self.client.set_registered_model_tag(name, HISTORY, json.dumps(kept))

    def _exists(self, name: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == FAILED:  # nothing is known: an alias that promotion alone gives is not given away
                raise
            return False
        return True

    def _source(self, run: Any, evidence: Evidence) -> str:
        """Where the model's files are: among the run's artifacts."""
        there = {each.path for each in artifacts_of(self.client, run.info.run_id)}
        if "model" not in there:
            raise UserError(
                f"the run {run.info.run_id} has no model among its artifacts: train with `save_model=true` and `test` "
                "or checkpoints on; `lantu sync` uploads what has not arrived yet."
            )
        return f"{run.info.artifact_uri}/model"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with turn(self.uri):
            yield


def open_registry(cfg: Any) -> Registry:
    """The registry that a command's `paths` name."""
    from lantu.tracking.mlflow_runs import open_client
    from lantu.tracking.store import embedded_uri

    client = open_client(str(cfg.get("run") or cfg.get("name")), Path(cfg.paths.store), cfg.paths.tracking_uri)
    return Registry(client, cfg.paths.tracking_uri or embedded_uri(cfg.paths.store))


def _quoted(name: str) -> str:
    return name.replace("'", "\\'")
