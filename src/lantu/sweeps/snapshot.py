"""Config files as they were when a sweep began: later edits reach neither its waiting trials nor its resumed ones."""

import shutil
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from lantu.config.explain import explained, leaves
from lantu.errors import UserError
from lantu.sweeps.request import OPERATIONAL, Point, Request

_FILE = "file://"


def take_snapshot(context: HydraContext, target: Path) -> None:
    """Copy every config folder on the search path, in place of an earlier copy."""
    shutil.rmtree(target, ignore_errors=True)
    for number, element in enumerate(context.config_loader.get_search_path().get_path()):
        source = Path(element.path.removeprefix(_FILE))
        if "://" not in str(source) and source.is_dir():
            shutil.copytree(source, target / f"{number}", ignore=lambda _, names: [n for n in names if _other(n)])


def from_snapshot(context: HydraContext, snapshot: Path) -> HydraContext:
    """The same context, reading the copies."""
    copied = ConfigSearchPathImpl()
    for number, element in enumerate(context.config_loader.get_search_path().get_path()):
        copy = snapshot / f"{number}"
        copied.append(element.provider, f"{_FILE}{copy}" if copy.is_dir() else element.path)
    return HydraContext(config_loader=ConfigLoaderImpl(copied), callbacks=context.callbacks)


def settings(loader: ConfigLoader, request: Request, points: list[Point]) -> dict[str, dict[str, str]]:
    """What decides the result of trials, by the files that they choose: for telling whether two sweeps differ.

    Values that vary are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for chosen in dict.fromkeys(choices(loader, point) for point in points):
        cfg = composed(loader, [*request.fixed, *chosen])
        files = {override.partition("=")[0] for override in chosen}
        vary = {key.lstrip("+~") for key in request.keys if key not in files}
        found[" ".join(chosen)] = {
            name: str(value)
            for name, value in leaves(cfg).items()
            if not _is_below(name, vary) and not _is_below(name, {*OPERATIONAL, "hydra"})
        }
    return found


def refuse_difference(name: str, before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> None:
    """Raise when trials of now could not be compared with those of before.

    Raises:
        UserError: names what differs.
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


def composed(loader: ConfigLoader, overrides: list[str]) -> DictConfig:
    """A trial's config, without Hydra's own part."""
    from hydra.types import RunMode

    with explained(overrides, "train"):
        cfg = loader.load_configuration(config_name="train", overrides=overrides, run_mode=RunMode.RUN)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def choices(loader: ConfigLoader, point: Point) -> tuple[str, ...]:
    """The overrides of a point that choose files or add and remove keys; the others only set values."""
    groups = set(loader.get_group_options("", results_filter=None))

    def chooses(override: str) -> bool:
        key = override.partition("=")[0]
        return key.startswith(("+", "~")) or "/" in key or "@" in key or key in groups

    return tuple(each for each in point.overrides if chooses(each))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain dictionaries, interpolations as they are."""
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _is_below(name: str, parents: set[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in parents)


def _other(name: str) -> bool:
    return "." in name and not name.endswith((".yaml", ".yml"))
