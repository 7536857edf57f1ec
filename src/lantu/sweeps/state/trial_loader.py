"""Compose the trials of a sweep: their config files once, and values in a copy of what they give."""

from copy import deepcopy
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

COMPOSED = 16
"""Combinations of config files whose composition is kept."""


class TrialLoader(ConfigLoaderImpl):
    """Hydra's loader, which composes forty files for each trial, although most trials differ in a number.

    The files do not change while it lives: they are a sweep's snapshot.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Workers compose for themselves."""
        return {name: value for name, value in vars(self).items() if name not in ("_composed", "_parsed")}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A trial's config, with the same content as Hydra's own loader gives it."""
        parsed = [self._parse(each) for each in sweep_overrides]
        files = [each for each in parsed if self._chooses(each)]
        if any(each.is_sweep_override() or isinstance(each.value(), dict) for each in files) or any(
            each.is_sweep_override() for each in parsed
        ):
            return super().load_sweep_config(master_config, sweep_overrides)
        base = self._base(master_config, [str(each.input_line) for each in files])
        if base.hydra.searchpath:  # further folders, whose groups are not known here
            return super().load_sweep_config(master_config, sweep_overrides)
        cfg = deepcopy(base)
        values = [each for each in parsed if each not in files]
        self._apply_overrides_to_config(values, cfg)
        task = [each for each in parsed if not each.is_hydra_override()]
        options = cfg.hydra.job.config.override_dirname
        with open_dict(cfg):
            cfg.hydra.overrides.task = [each.input_line for each in task]
            cfg.hydra.job.override_dirname = get_overrides_dirname(
                task, kv_sep=options.kv_sep, item_sep=options.item_sep, exclude_keys=options.exclude_keys
            )
        OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
        return cfg

    def _base(self, master: DictConfig, files: list[str]) -> DictConfig:
        """What the overrides compose to that choose files or set options of Hydra."""
        kept: dict[tuple[str, ...], DictConfig] = self.__dict__.setdefault("_composed", {})
        chosen = [*master.hydra.overrides.hydra, *files]
        key = (str(master.hydra.job.config_name), *chosen)
        if key not in kept:
            if len(kept) >= COMPOSED:
                kept.clear()
            kept[key] = self.load_configuration(master.hydra.job.config_name, chosen, run_mode=RunMode.RUN)
        return kept[key]

    def _parse(self, override: str) -> Override:
        kept: dict[str, Override] = self.__dict__.setdefault("_parsed", {})
        if override not in kept:
            if len(kept) >= 64 * COMPOSED:
                kept.clear()
            kept[override] = _parser().parse_overrides([override])[0]
        return kept[override]

    def _chooses(self, override: Override) -> bool:
        """Whether an override chooses a file, or sets an option of Hydra; the others set, add or remove a value."""
        key = override.key_or_group
        if override.is_hydra_override() or override.package is not None:
            return True
        return "." not in key and ("/" in key or self.repository.group_exists(key))


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
