"""The `register`, `promote` and `rollback` commands."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lantu.errors import UserError, is_full_disk
from lantu.log_noise import without_noise
from lantu.redaction import redact
from lantu.registry.baseline_line import judge_with_baselines
from lantu.registry.evidence import Evidence, gather
from lantu.registry.gates import check_gates, verdict_of
from lantu.registry.line import Line
from lantu.registry.mlflow_registry import Registry, open_registry
from lantu.tracking.find import find_run
from lantu.tracking.registered import RegisteredVersion, find

MARKS = {"met": "[green]met[/]      ", "not met": "[red]not met[/]  ", "not known": "[yellow]not known[/]"}

FINISHED = "FINISHED"
"""MLflow's word for a run that ended well."""
LONGEST_REASON = 1000
"""Characters: the history of decisions is one tag of MLflow."""


def job(cfg: DictConfig) -> None:
    """Run the command that Hydra was started for."""
    command = str(HydraConfig.get().job.config_name)
    run: dict[str, Callable[[DictConfig], None]] = {"register": register, "promote": promote, "rollback": rollback}
    without_noise()
    try:
        run[command](cfg)
    except UserError as error:
        print(f"lantu {command}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except Exception as error:
        if is_full_disk(error) or type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3"):
            raise
        reason = redact(next(iter(str(error).splitlines()), "") or type(error).__name__)[:300]
        print(
            f"lantu {command}: MLflow's store could not be read or written ({reason}). What was done before stands; "
            "mend the store, then type the same command again.",
            file=sys.stderr,
        )
        sys.exit(1)


def register(cfg: DictConfig) -> None:
    """Register a run's model, and point an alias to it.

    Raises:
        UserError: there is no such run, it kept no model or has not finished, or the alias is given by `promote` alone.
    """
    name = _name(cfg)
    client, run = find_run(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
    registry = open_registry(cfg)
    if cfg.alias in registry.promoted(name):
        raise UserError(
            f"`alias={cfg.alias}` is given by `lantu promote`, which checks the gates: register with "
            f"`alias=candidate`, then `lantu promote name={name} to={cfg.alias}`."
        )
    evidence = gather(client, run, tracking_uri=cfg.paths.tracking_uri)
    _check_reason(cfg.force, "the run was stopped when it had converged")
    if cfg.force is None:
        refuse_deleted(run)
    if evidence.status != FINISHED and cfg.force is None:
        raise UserError(
            f"the run {run.info.run_name} is {evidence.status or 'of unknown state'} and not {FINISHED}: its model may "
            "be half trained and untested. Let it finish (`lantu train resume=...`), or give a reason that is kept: "
            '--force "..."'
        )
    version = registry.register(name, run, evidence)
    what = {"what": "register", "version": version.version, "alias": cfg.alias, "run": version.run_id}
    if cfg.force is not None:
        what |= {"status": evidence.status, "reason": cfg.force}
    registry.note(name, what, run_id=version.run_id, evidence={"lineage": evidence.lineage})
    if cfg.alias:
        registry.set_alias(name, str(cfg.alias), version.version)
    print(
        f"{name} version {version.version}"
        + (f" @{cfg.alias}" if cfg.alias else "")
        + f"  from run {run.info.run_name}"
    )
    for label, value in evidence.lineage.items():
        print(f"  {label:<18} {value}")
    print(f"next     lantu promote name={name} from={cfg.alias or 'candidate'} to=champion")


def promote(cfg: DictConfig) -> None:
    """Point an alias to a version that meets the gates.

    Raises:
        UserError: a gate is not met or not known, and no reason is given to go on all the same.
    """
    name, gates = _name(cfg), plain(cfg.gate)
    check_gates(gates)
    _check_reason(cfg.force, "the champion leaks a column")
    registry = open_registry(cfg)
    candidate = find(registry.client, name, alias=str(cfg["from"]))
    champion = _version_at(registry, name, str(cfg.to))
    if champion is not None and champion.version == candidate.version:
        raise UserError(f"{name} version {candidate.version} is @{cfg.to} already.")
    if cfg.force is None:
        refuse_deleted(registry.client.get_run(candidate.run_id))
    if champion is None and (lost := registry.lost(name, str(cfg.to))):
        print(f"version {lost}, which was @{cfg.to}, is not registered any more: nothing is compared with it")
    one, two = evidence_of(registry, candidate), evidence_of(registry, champion) if champion else None
    if (changed := registry.changed(candidate, one)) and cfg.force is None:
        raise UserError(
            f"{name} version {candidate.version} was registered with the weights {changed[:8]}, and its run has the "
            f"weights {(one.weights or '')[:8]} now: it was trained on since. Register it again: `lantu register "
            f"run={candidate.run_id} name={name}`."
        )
    lines = judge_with_baselines(one, two, gates)
    verdict = verdict_of([each for each in lines if each.limit])
    _show(lines)
    decision: dict[str, Any] = {
        "what": "promote", "version": candidate.version, "alias": cfg.to, "verdict": verdict,
        "previous": champion.version if champion else None, "reason": cfg.force,
    }  # fmt: skip
    kept = {
        "gates": gates,
        "lines": [each.as_dict() for each in lines],
        "lineage": one.lineage,
        "run": candidate.run_id,
    }
    if verdict != "go" and cfg.force is None:
        registry.note(name, {**decision, "what": "refuse"}, run_id=candidate.run_id, evidence=kept)
        broken = ", ".join(each.gate for each in lines if each.limit and each.verdict != "met") or "no gate has a limit"
        raise UserError(
            f"{name} version {candidate.version} is not promoted ({verdict}): {broken}. Meet the gates, or give a "
            'reason that is kept: --force "..."'
        )
    registry.note(name, decision, run_id=candidate.run_id, evidence=kept)  # first: no move without a record
    registry.set_alias(name, str(cfg.to), candidate.version)
    was = f", was version {champion.version}" if champion else ""
    forced = f" ({verdict}, by force: {cfg.force})" if verdict != "go" else ""
    print(f"{name} @{cfg.to} is version {candidate.version}{was}{forced}")
    print(f"back     lantu rollback name={name} alias={cfg.to}")


def rollback(cfg: DictConfig) -> None:
    """Point an alias to the version that had it before the last promotion.

    Raises:
        UserError: there was none, or it was deleted.
    """
    name = _name(cfg)
    registry = open_registry(cfg)
    now = find(registry.client, name, alias=str(cfg.alias))
    moves = [each for each in registry.history(name) if each["what"] in ("promote", "rollback")]
    before = next(
        (
            each.get("previous")
            for each in reversed(moves)
            if each["what"] == "promote" and each.get("alias") == cfg.alias and each.get("version") == now.version
        ),
        None,
    )
    if before is None:
        raise UserError(f"{name} @{cfg.alias} is version {now.version}, and no version had that alias before it.")
    find(registry.client, name, version=str(before))  # it can have been deleted
    decision = {
        "what": "rollback", "version": before, "alias": cfg.alias, "previous": now.version, "reason": cfg.reason,
    }  # fmt: skip
    registry.note(name, decision, run_id=now.run_id, evidence={})
    registry.set_alias(name, str(cfg.alias), before)
    print(f"{name} @{cfg.alias} is version {before} again, was version {now.version}")


def evidence_of(registry: Registry, version: RegisteredVersion) -> Evidence:
    """What the run of a registered version has left."""
    run = registry.client.get_run(version.run_id)
    return gather(registry.client, run, version, tracking_uri=registry.uri)


def refuse_deleted(run: Any) -> None:
    """Raise a `UserError` where a run was deleted in MLflow, which its registered version outlives."""
    if run.info.lifecycle_stage == "deleted":
        raise UserError(
            f"the run {run.info.run_name} ({run.info.run_id}) was deleted in MLflow. Restore it there (`mlflow runs "
            f"restore --run-id {run.info.run_id}`), or take another."
        )


def _check_reason(reason: Any, example: str) -> None:
    if reason is not None and len(str(reason).strip()) < 5:
        raise UserError(f'`force`: say why, as in --force "{example}"; the reason is kept.')
    if reason is not None and len(str(reason)) > LONGEST_REASON:
        raise UserError(f"`force`: a reason has {LONGEST_REASON} characters at most; this one has {len(str(reason))}.")


def _version_at(registry: Registry, name: str, alias: str) -> RegisteredVersion | None:
    return find(registry.client, name, alias=alias) if alias in registry.aliases(name) else None


def _show(lines: list[Line]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for each in lines:
        limit = f"limit: {each.limit}" if each.limit else "no limit"
        console.print(f"{MARKS[each.verdict]}  {each.gate:<9} {escape(each.claim)}  ({escape(limit)})")
        if each.remedy and each.verdict != "met":
            console.print(f"                      {escape(each.remedy)}")


def _name(cfg: DictConfig) -> str:
    if not cfg.name:
        raise UserError("say which registered model: add `name=...`, such as `name=credit`.")
    if any(sign in str(cfg.name) for sign in "/:@"):
        raise UserError(f"`name={cfg.name}`: a registered model's name has no /, : or @.")
    return str(cfg.name)


def plain(node: Any) -> dict[str, Any]:
    """A node of a config as a dictionary, resolved; an empty one for none."""
    found = OmegaConf.to_container(node, resolve=True) if node else {}
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items()}
