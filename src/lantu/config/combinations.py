"""Options that are each possible and cannot work together, refused before anything heavy is imported."""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lantu.config.metric_names import check_monitored
from lantu.config.model_types import check_model_types
from lantu.config.privacy import check_privacy
from lantu.data_options import check_folds, check_share
from lantu.errors import UserError
from lantu.escaping import for_terminal
from lantu.redaction import redact
from lantu.suggestions import did_you_mean

LONGEST_NAME = 250
"""Characters of a run's or an experiment's name that every MLflow store keeps."""


WITHOUT_ATTENTION = frozenset(
    {
        *("CNN", "CTCNetwork", "CTCSpeechCNN", "FastText", "Linear", "MLP", "RNN", "Scorecard", "SlotNetwork"),
        *("SpeechCNN", "TCN", "TabM", "WaveNet"),
    }
)
"""Networks of `lantu.models` in which `peft=lora` finds no layers by itself."""


def check_combinations(cfg: DictConfig) -> None:
    """Raise a `UserError` for names that no store takes, folders that are files, options that exclude each other."""
    if "trainer" not in cfg or "optimizer" not in cfg:
        if _value(cfg, "business._target_"):
            raise UserError("`business` of `lantu compare` is `business=default`; a decision belongs to `lantu train`.")
        return
    for key in ("name", "experiment_name"):
        check_name(cfg.get(key), key=key)
    _check_places(cfg)
    _check_length_of_training(cfg)
    _check_validation(cfg)
    check_monitored(cfg)
    _check_shares(cfg)
    _check_folds(cfg)
    _check_devices(cfg)
    _check_metrics(cfg)
    check_model_types(cfg)
    check_uri(_value(cfg, "paths.tracking_uri"), key="paths.tracking_uri")
    _check_heads(cfg)
    check_privacy(cfg)
    _check_adapter(cfg)
    _check_decisions(cfg)


def check_name(name: Any, *, key: str) -> None:
    """Refuse a name of a run or an experiment that a store would not keep, or that leads out of its folder.

    Raises:
        UserError: saying what is wrong with it.
    """
    if name is None:
        return
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        raise UserError(f"`{key}` takes a text or null, and this is a {type(name).__name__}.")
    text = str(name)
    why = None
    if not text.strip():
        why = "a name is at least one character long"
    elif len(text) > LONGEST_NAME:
        why = f"a name is at most {LONGEST_NAME} characters long, and this one has {len(text):,}"
    elif not text.isprintable():
        why = "a name holds no control characters"
    elif key == "experiment_name" and {"..", "."} & set(re.split(r"[/\\]", text)):
        why = "an experiment's name does not lead to another folder"
    if why:
        shown = for_terminal(text)
        raise UserError(f"`{key}={shown[:60]}{'...' if len(shown) > 60 else ''}`: {why}.")


def _check_places(cfg: DictConfig) -> None:
    for name in ("root", "store", "cache", "run"):
        path = _value(cfg, f"paths.{name}")
        if path is None:
            raise UserError(f"`paths.{name}=null`: a run needs a folder there.")
        for place in (Path(str(path)).expanduser(), *Path(str(path)).expanduser().parents):
            if place.is_file():
                raise UserError(f"`paths.{name}={path}`: {place} is a file, and a folder is needed there.")


def _check_length_of_training(cfg: DictConfig) -> None:
    trainer = cfg.trainer
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    budget = any(_value(cfg, f"budget.{name}") is not None for name in ("usd", "kwh", "hours"))
    if epochs == -1 and steps == -1 and trainer.get("max_time") is None and not budget:
        raise UserError(
            "`trainer.max_epochs=-1 trainer.max_steps=-1` never ends: set one of them, `trainer.max_time=00:01:00:00` "
            "or `budget.hours=1`."
        )
    if trainer.get("overfit_batches") and trainer.get("limit_train_batches") not in (None, 1.0):
        raise UserError(
            "`trainer.overfit_batches` and `trainer.limit_train_batches` exclude each other: set one of them."
        )
    devices = trainer.get("devices")
    if OmegaConf.is_list(devices) and len(set(devices)) != len(devices):
        raise UserError(f"`trainer.devices={list(devices)}` names a device twice.")


def _check_validation(cfg: DictConfig) -> None:
    """What waits for a validation needs one, as often as it is asked."""
    validates = _value(cfg, "trainer.limit_val_batches") not in (0, 0.0)
    callbacks: Any = OmegaConf.to_container(cfg.callbacks, resolve=False) if cfg.get("callbacks") else {}
    for name, node in callbacks.items():
        monitor = node.get("monitor") if isinstance(node, dict) else None
        if not isinstance(monitor, str) or "${" in monitor:
            continue
        stage = monitor.partition("/")[0]
        if stage == "test":
            raise UserError(
                f"`callbacks.{name}.monitor={monitor}`: the test split is measured once, at the end. Use `val/loss`."
            )
        if stage == "val" and not validates and name == "early_stopping":
            raise UserError(
                f"`callbacks.{name}` waits for `{monitor}`, and `trainer.limit_val_batches=0` never validates. Leave "
                f"one of them out, or monitor `train/loss`."
            )
    scheduler = str(_value(cfg, "scheduler._target_") or "")
    every = _value(cfg, "trainer.check_val_every_n_epoch")
    if scheduler == "lantu.optim.plateau" and (every not in (1, None) or not validates):
        raise UserError(
            "`scheduler=plateau` looks at `val/loss` after every epoch, so it needs "
            "`trainer.check_val_every_n_epoch=1` and a validation. Other schedules (`scheduler=cosine`) do not."
        )


def _check_shares(cfg: DictConfig) -> None:
    split = _value(cfg, "data.split")
    if OmegaConf.is_dict(split):
        if unknown := set(split) - {"val", "test"}:
            raise UserError(
                f"`data.split.{sorted(map(str, unknown))[0]}`: the parts that are cut off are `val` and `test`."
            )
        if sum(share for share in split.values() if isinstance(share, int | float)) >= 1:
            raise UserError(f"`data.split={dict(split)}`: the shares must leave something to train on.")


def _check_folds(cfg: DictConfig) -> None:
    fold, folds = (_value(cfg, f"data.{name}") for name in ("fold", "folds"))
    if all(each is None or type(each) is int for each in (fold, folds)):
        check_folds(fold, folds)


def _check_devices(cfg: DictConfig) -> None:
    """Several devices share a batch evenly."""
    devices, nodes, batch = (_value(cfg, name) for name in ("trainer.devices", "trainer.num_nodes", "data.batch_size"))
    count = len(devices) if OmegaConf.is_list(devices) else devices
    if type(count) is int and type(batch) is int and count > 1 and type(nodes) is int:
        check_share(batch, ranks=count * nodes)


def _check_metrics(cfg: DictConfig) -> None:
    """What a task measures besides is a node with a `_target_`."""
    extra = _value(cfg, "task.extra_metrics")
    for name, node in extra.items() if OmegaConf.is_dict(extra) else ():
        if not (OmegaConf.is_dict(node) and node.get("_target_")):
            raise UserError(
                f"`task.extra_metrics.{name}={node}` is no metric of torchmetrics: type "
                f"`task.extra_metrics.{name}._target_=torchmetrics.CohenKappa`, say."
            )


STORES = ("http", "https", "file", "sqlite", "mysql", "postgresql", "mssql", "databricks", "databricks-uc", "uc")
"""Schemes of the tracking stores that MLflow knows; a dialect may have a driver, as in postgresql+psycopg2."""


def check_uri(uri: Any, *, key: str) -> None:
    """Refuse an address that no tracking store of MLflow can have.

    Raises:
        UserError: its scheme is unknown, and no plugin brings it; or it names no server.
    """
    if not isinstance(uri, str) or "://" not in uri:
        return  # a folder, or a profile of Databricks
    address = urlsplit(uri)
    plugins = {each.name for each in entry_points(group="mlflow.tracking_store")}
    if address.scheme.partition("+")[0] not in STORES and address.scheme not in plugins:
        raise UserError(
            f"`{key}={redact(uri)}`: MLflow has no store of the kind `{address.scheme}`."
            f"{did_you_mean(address.scheme, STORES)} It has {', '.join(STORES[:7])}."
        )
    if address.scheme in ("http", "https") and not address.hostname:
        raise UserError(f"`{key}={redact(uri)}` names no server, as `{address.scheme}://HOST:PORT` does.")


def _check_heads(cfg: DictConfig) -> None:
    """Attention divides the width among its heads, and shares keys and values among them evenly."""
    for path, node in _nodes(cfg.get("model"), "model"):
        hidden, count = (node.get(name) for name in ("hidden_size", "num_attention_heads"))
        if type(hidden) is int and type(count) is int and hidden % count:
            raise UserError(f"`{path}.hidden_size={hidden}` is no multiple of `{path}.num_attention_heads={count}`.")
    if _value(cfg, "model._target_") != "lantu.models.GPT":
        return
    width, heads, shared = (_value(cfg, f"model.{name}") for name in ("width", "heads", "kv_heads"))
    if width % heads:
        raise UserError(f"`model.width={width}` is no multiple of `model.heads={heads}`.")
    if shared and heads % shared:
        raise UserError(f"`model.heads={heads}` is no multiple of `model.kv_heads={shared}`.")


def _check_adapter(cfg: DictConfig) -> None:
    """LoRA knows by itself where the attention of a transformer is; of other networks a person names the layers."""
    model = str(_value(cfg, "model._target_") or "")
    without = model == "timm.create_model" or model.removeprefix("lantu.models.") in WITHOUT_ATTENTION
    if _value(cfg, "peft._target_") != "lantu.models.lora" or not without or _value(cfg, "peft.target_modules"):
        return
    raise UserError(
        f"`peft=lora` finds the attention of transformers by itself, and {model.rpartition('.')[2]} has none: name the "
        "layers with `peft.target_modules=[...]`, or train all of it with `peft=none`."
    )


def _nodes(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping inside a node, with its dotted path."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from _nodes(value, f"{path}.{key}")


def _check_decisions(cfg: DictConfig) -> None:
    """Calibration and threshold are fitted on validation; the assumptions of `lantu compare` decide nothing."""
    if cfg.get("business") and not _value(cfg, "business._target_"):
        raise UserError(
            "`business` of a training is a decision, such as `business=credit`; the assumptions for the return on "
            "investment are an option of `lantu compare`."
        )
    options = [name for name in ("calibration", "business") if _value(cfg, f"{name}._target_")]
    if options and 0 in (_value(cfg, "trainer.limit_val_batches"), _value(cfg, "data.split.val")):
        raise UserError(
            f"`{options[0]}` is fitted on the validation split, and this run has none: leave it out "
            f"(`{options[0]}=none`), or validate (`data.split.val=0.2`)."
        )


def _value(cfg: DictConfig, path: str) -> Any:
    """The value at a dotted path; None where it is missing or cannot be worked out yet."""
    try:
        return OmegaConf.select(cfg, path)
    except OmegaConfBaseException:
        return None
