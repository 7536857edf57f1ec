"""Snapshot the config files when a sweep starts, so that later edits do not affect its pending or resumed trials."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext, RunMode
from omegaconf import open_dict

from lantu.config.composing import Composition
from lantu.config.explain import leaves, readable_hydra_errors
from lantu.config.sweeping import Composer
from lantu.errors import UserError
from lantu.sweeps.state.request import OPERATIONAL, Point, Request
from lantu.sweeps.state.trial_loader import TrialLoader

_FILE = "file://"


def take_snapshot(context: HydraContext, target: Path) -> None:
    """Copy every config folder on the search path, replacing an earlier copy."""
    shutil.rmtree(target, ignore_errors=True)
    for number, element in enumerate(context.config_loader.get_search_path().get_path()):
        source = Path(element.path.removeprefix(_FILE))
        if "://" not in str(source) and source.is_dir():
            shutil.copytree(source, target / f"{number}", ignore=lambda _, names: [n for n in names if _other(n)])


def from_snapshot(context: HydraContext, snapshot: Path) -> HydraContext:
    """Return a Hydra context that reads the copies."""
    copied = ConfigSearchPathImpl()
    for number, element in enumerate(context.config_loader.get_search_path().get_path()):
        copy = snapshot / f"{number}"
        copied.append(element.provider, f"{_FILE}{copy}" if copy.is_dir() else element.path)
    return HydraContext(config_loader=TrialLoader(copied), callbacks=context.callbacks)


def settings(composer: Composer, request: Request, points: list[Point]) -> dict[str, dict[str, str]]:
    """Return the settings that determine the trials' results, for each combination of config files.

    Values that vary are left out. Comparing the settings tells whether two sweeps differ.
    """
    found: dict[str, dict[str, str]] = {}
    for chosen in dict.fromkeys(tuple(filter(composer.chooses, point.overrides)) for point in points):
        cfg = composer(chosen).cfg
        files = {override.partition("=")[0] for override in chosen}
        vary = {key.lstrip("+~") for key in request.keys if key not in files}
        found[" ".join(chosen)] = {
            name: str(value)
            for name, value in leaves(cfg).items()
            if not _is_below(name, vary) and not _is_below(name, {*OPERATIONAL, "hydra"})
        }
    return found


def refuse_difference(name: str, before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> None:
    """Refuse to resume a sweep whose new trials could not be compared with the old ones.

    Raises:
        UserError: names the settings that differ.
    """
    for chosen in before.keys() & now.keys():
        old, new = before[chosen], now[chosen]
        changed = [
            f"  {key}: {old.get(key, '(not there)')} -> {new.get(key, '(not there)')}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        if changed:
            shown = "\n".join([*changed[:10], *([f"  and {len(changed) - 10} more"] if len(changed) > 10 else [])])
            raise UserError(
                f"the sweep `{name}` cannot go on: its config has changed since it began, so that its trials could "
                f"not be compared.\n{shown}\nUndo the change, or begin another sweep: `sweep.name=...`."
            )


def composed(loader: ConfigLoader, overrides: Sequence[str]) -> Composition:
    """Compose a trial's config, without Hydra's own node."""
    with readable_hydra_errors(list(overrides), "train"):
        cfg = loader.load_configuration(config_name="train", overrides=list(overrides), run_mode=RunMode.RUN)
    chosen = cfg.hydra.runtime.choices
    choices = {str(group): file for group, file in chosen.items() if not str(group).startswith("hydra/")}
    with open_dict(cfg):
        del cfg["hydra"]
    return Composition(cfg, choices, list(overrides))


def _is_below(name: str, parents: set[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in parents)


def _other(name: str) -> bool:
    return "." in name and not name.endswith((".yaml", ".yml"))
