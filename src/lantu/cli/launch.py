"""Hand a checked command to Hydra: one run, or a sweep on any launcher."""

import os
import sys
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lantu.config.accelerators import check_hardware
from lantu.config.checking import check
from lantu.config.composing import HYDRA_VERSION, compose, normalised
from lantu.config.locations import add_user_conf, shipped_conf
from lantu.config.output_paths import check_writable
from lantu.config.ranges import complaint
from lantu.config.sweeping import check_sweep, parsed
from lantu.data.table_header import check_table
from lantu.errors import Fault, UserError, disk_complaint, store_complaint
from lantu.lazy_imports import import_permanently
from lantu.redaction import redact

JOBS = {
    "train": "lantu.training.train_command",
    "evaluate": "lantu.inference.evaluate",
    "predict": "lantu.inference.predict",
    "compare": "lantu.compare.compare_command",
    "explain": "lantu.responsible.explain.explain_command",
    "card": "lantu.responsible.card.card_command",
    "monitor": "lantu.monitoring.monitor_command",
    "export": "lantu.serving.export.export_command",
    "serve": "lantu.serving.serve_command",
    "load": "lantu.serving.load.load_command",
    "register": "lantu.registry.commands",
    "launch": "lantu.registry.launch_page",
    "promote": "lantu.registry.commands",
    "rollback": "lantu.registry.commands",
}
"""The module whose `job(cfg)` does the work of a command; imported when the work starts, since it imports torch."""

APPLIED = ("evaluate", "predict", "explain", "card", "monitor", "export", "serve", "load")
"""Commands that rebuild a run's model from its checkpoint."""

SPELLED = {"compare": {"experiment": "experiments", "sweep": "sweeps"}}
"""Options that are typed by the name of a config group, which Hydra would take for a choice of a file."""


def launch(command: str, arguments: list[str]) -> int:
    """Check a command's overrides, every point of a sweep included, then run it.

    Hydra's own flags (`-m`, `--cfg job`, `--info`, ...) work as everywhere; `--config-dir` names a folder that is
    searched before ours.

    Raises:
        UserError: an override cannot work.
    """
    arguments = [normalised(_spelled(each, SPELLED.get(command, {}))) for each in arguments]
    options = get_args_parser().parse_intermixed_args(arguments)
    resumed = next((each for each in options.overrides if each.startswith("sweep.resume=")), None)
    if command == "train" and resumed and not options.multirun:
        arguments = ["--multirun", *arguments]
    if command == "train" and resumed and len(options.overrides) == 1:
        from lantu.sweeps.state.resume_command import command_of

        arguments += command_of(resumed.partition("=")[2])
    if arguments:
        options = get_args_parser().parse_intermixed_args(arguments)
    if options.multirun and "TORCHELASTIC_RUN_ID" in os.environ:
        raise UserError(
            "torchrun trains one run, and `-m` asks for a sweep. Leave torchrun out: `lantu train -m trainer=ddp ...` "
            "starts a trial's processes itself, and `hydra/launcher=slurm_node` does on a cluster."
        )
    # Hydra itself refuses overrides on both sides of a flag, as in `lr=1 -m seed=0,1`
    arguments = [*(each for each in arguments if each not in options.overrides), *options.overrides]
    if options.config_dir:
        add_user_conf(options.config_dir)
        arguments = _without_option(arguments, "--config-dir", "-cd")
    if not (options.config_name or options.info or options.hydra_help or options.shell_completion):
        arguments = _checked(command, arguments, options)
    sys.argv = [sys.argv[0], *arguments]
    try:
        hydra.main(config_path=str(shipped_conf()), config_name=command, version_base=HYDRA_VERSION)(run_job)()
    except SystemExit as end:  # how a job or a sweep inside Hydra says its exit status
        return end.code if isinstance(end.code, int) else 1
    return 0


def _checked(command: str, arguments: list[str], options: Namespace) -> list[str]:
    """Refuse what cannot run; returns the arguments, with `-m` where a recipe is a sweep by itself."""
    typed_values = [each for each in parsed(options.overrides, command) if not each.is_sweep_override()]
    for each in typed_values:  # the rest of the config is checked once it is composed, without Hydra's own part
        if each.key_or_group.startswith("hydra.") and (wrong := complaint(each.key_or_group, each.value())):
            raise UserError(wrong)
    fixed = [each.input_line for each in typed_values]
    shared = compose(*(fixed if options.multirun else options.overrides), command=command)
    if command == "train" and not options.cfg:
        check_writable(shared.cfg.paths.store)
        typed = [
            each.partition("=")[2]
            for each in map(str, fixed)
            if each.startswith(("hydra.run.dir=", "hydra.sweep.dir="))
        ]
        for folder in [*typed, *([] if options.multirun else [str(OmegaConf.select(shared.cfg, "paths.run"))])]:
            if "${" not in folder:
                check_writable(folder)
        check_table(shared.cfg)
    if not options.multirun and not shared.cfg.get("sweep", {}).get("always"):
        if not options.cfg:
            check(shared)
            # of a sweep the workers ask: its command may be typed on a machine without a GPU
            if command == "train":
                check_hardware(shared.cfg)
            _check_named(command, shared.cfg)
        return arguments
    if not shared.sweeper.startswith("hydra_plugins.lantu_sweepers."):  # ours check their trials themselves
        check_sweep(options.overrides, command=command)
    return arguments if options.multirun or options.cfg else ["--multirun", *arguments]


def _check_named(command: str, cfg: DictConfig) -> None:
    """Refuse runs and files that are not there, before a folder is made for a run that cannot begin."""
    if command == "train" and cfg.resume:
        from lantu.tracking.find import AUTO, place_to_resume

        if cfg.resume == AUTO and "${now:" in str(cfg.paths._get_node("run")._value()):
            raise UserError(
                "`resume=auto` looks for a checkpoint in the run's own folder, which is a new one at every start: add "
                "`paths.run=FOLDER`, or name the run that is to go on: `resume=FOLDER`, or `resume=ID` of MLflow."
            )
        paths = cfg.paths
        place_to_resume(str(cfg.resume), store=Path(paths.store), tracking_uri=paths.tracking_uri, fetch=False)
    if command in APPLIED:
        from lantu.inference.arguments import validate_arguments

        validate_arguments(cfg)
    if command == "compare":
        from lantu.compare.arguments import check_files

        check_files(cfg)


def run_job(cfg: DictConfig) -> Any:
    """Hydra's task function. A function of a light module, so that every launcher can send it to its workers."""
    command = str(HydraConfig.get().job.config_name)
    job = import_permanently(JOBS[command]).job
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return job(cfg)
    try:
        return job(cfg)
    except Exception as error:  # a checkpoint or a file from elsewhere can be wrong in unforeseen ways
        if sentence := disk_complaint(error):
            print(f"lantu {command}: {redact(sentence)}", file=sys.stderr)
            sys.exit(UserError.status)
        if command == "train":
            raise
        if command not in APPLIED:
            _say_unforeseen(command, error)
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        print(
            f"lantu {command}: the run's model cannot be applied to these data: {type(error).__name__}: "
            f"{redact(reason)[:300]} (HYDRA_FULL_ERROR=1 shows where).",
            file=sys.stderr,
        )
        sys.exit(UserError.status)


def _say_unforeseen(command: str, error: Exception) -> NoReturn:
    """End a command, without the credentials that Hydra would print with its options, or a traceback with an address.

    What MLflow and its database raise is a sentence: a server or a file is not as it should be.
    """
    if sentence := store_complaint(error):
        print(f"lantu {command}: {redact(sentence)}", file=sys.stderr)
        sys.exit(UserError.status)
    print(redact("".join(traceback.format_exception(error))), file=sys.stderr)
    sys.exit(Fault.status)


def _spelled(argument: str, names: dict[str, str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{names.get(key, key)}{equals}{value}"


def _without_option(arguments: list[str], *names: str) -> list[str]:
    kept: list[str] = []
    skip = False
    for each in arguments:
        if skip:
            skip = False
        elif each in names:
            skip = True
        elif not each.startswith(tuple(f"{name}=" for name in names)):
            kept.append(each)
    return kept
