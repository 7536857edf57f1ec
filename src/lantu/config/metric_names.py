"""The metrics that each task logs, so that an unknown monitor or objective is refused before torch is imported.

Which of them a run logs can depend on its data (AUROC of boxes, scripts of a text), so these are all that a task may
log; `training.monitors` checks the exact names once the task is built.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.errors import UserError
from lantu.metric_direction import known_direction
from lantu.slice_names import whole_metric
from lantu.suggestions import did_you_mean

_STAGES = ("train", "val", "test")
_CLASSES = (
    "accuracy precision recall f1 auroc average_precision gini ks ece brier threshold auroc_low auroc_high "
    "sensitivity_at_*_specificity"
)
_CLASSES_TEST = (
    "ece_low ece_high ece_if_perfect ece_uncalibrated loss_uncalibrated acceptance_rate positives_among_accepted "
    "profit profit_low profit_high profit_if_all_accepted froc_score froc_low froc_high sensitivity_at_*_per_scan"
)
_NUMBERS = "mse rmse mae r2"
_TEXT = "perplexity bits_per_byte"
_FORECAST = "mae rmse mase pinball coverage crps"
_OF_ANY_RUN = (
    "cost/usd cost/kwh cost/co2e_kg cost/device_hours cost/flops cost/samples cost/peak_memory_gib model/parameters "
    "model/trained_parameters speed/latency_ms speed/step_ms speed/samples_per_second speed/tokens_per_second "
    "speed/waiting_for_data progress/* privacy/* fairness/*"
)
"""What a sweep may aim at besides."""
_LOGGED: dict[str, tuple[str, str, str]] = {
    "Classification": ("accuracy", _CLASSES, _CLASSES_TEST),
    "Regression": ("", _NUMBERS, ""),
    "Identification": ("accuracy", f"{_CLASSES} accuracy_of_code", _CLASSES_TEST),
    "LanguageModeling": ("", _TEXT, "distinct_* novel_*grams repetition"),
    "Answering": ("", _TEXT, "chrf exact_match token_f1 distinct_* novel_*grams repetition"),
    "MaskedLanguageModeling": ("", "accuracy perplexity", ""),
    "QuestionAnswering": ("", "exact_match f1", ""),
    "SpeechRecognition": ("", "wer cer", ""),
    "SpeechSynthesis": (
        "alignment durations mels nats_per_sample",
        "alignment durations mels nats_per_sample bits_per_sample",
        "mcd_db",
    ),
    "SlotFilling": (
        "",
        "slot_f1 slot_precision slot_recall exact_match accuracy_*",
        "answer_latency_ms snr_*_db_exact_match snr_*_db_slot_*",
    ),
    "Contrastive": (
        "",
        "mean_recall image_to_text_median_rank text_to_image_median_rank image_to_text_recall_* "
        "text_to_image_recall_* zero_shot_accuracy",
        "zero_shot_accuracy_low zero_shot_accuracy_high",
    ),
    "Forecasting": ("", _FORECAST, ""),
    "MarketRisk": (
        "",
        f"{_FORECAST} pinball_* fz0_*",
        "christoffersen_p_* conditional_p_* dq_p_* es_p_* kupiec_p_* violations_*",
    ),
    "Detection": ("*_loss", "*_loss ap_* map map_50 map_75 map_* mar_*", ""),
    "MultiLabel": ("", "accuracy auroc f1 f1_micro map exact_match auroc_* ap_* f1_*", ""),
    "Verification": ("", "eer rank1_accuracy tar_at_far_*", ""),
    "Adversarial": (
        "generator_loss",
        "fid_* kid_* precision_* recall_* class_accuracy least_class_share",
        "fid_floor_* nearest_ratio",
    ),
}
"""By a task of `lantu.tasks`: what is logged of training, of validation and test, and of test alone, beside the loss.

A star stands for what the data or an option decide.
"""


def is_logged(metric: str, task: str) -> bool:
    """Return whether a task, by its `_target_`, may log a metric such as `val/accuracy`; True for a task of others."""
    patterns = _patterns([task])
    return patterns is None or any(fnmatchcase(whole_metric(metric), each) for each in patterns)


def check_monitored(cfg: DictConfig) -> None:
    """Raise a `UserError` for a callback that monitors, or a sweep that aims at, what the task never logs."""
    node: Any = OmegaConf.to_container(cfg.task, resolve=False)
    extra = node.get("extra_metrics")
    automatic = ["lantu.tasks.Classification", "lantu.tasks.Regression", "lantu.tasks.MultiLabel"]
    tasks = automatic if "auto" in node else [str(node.get("_target_"))]
    known = _patterns(tasks)
    if known is None or any("${" in task for task in tasks):
        return
    own = [f"{stage}/{name}*" for stage in ("val", "test") for name in extra] if isinstance(extra, dict) else []
    known = [*known, *own]
    callbacks: Any = OmegaConf.to_container(cfg.callbacks, resolve=False) if cfg.get("callbacks") else {}
    nodes = {name: node for name, node in callbacks.items() if isinstance(node, dict)}
    if not all(str(node.get("_target_")).startswith("lantu.") for node in nodes.values()):
        return  # others may log what they monitor
    for name, node in nodes.items():
        monitor = node.get("monitor")
        if isinstance(monitor, str) and "${" not in monitor:
            _check(f"callbacks.{name}.monitor={monitor}", monitor, known)
            _check_mode(f"callbacks.{name}.mode", monitor, node.get("mode"))
    objective = OmegaConf.select(cfg, "sweep.objective")
    for each in objective if OmegaConf.is_list(objective) else [objective]:
        _check(f"sweep.objective={each}", str(each).removesuffix("_best"), [*known, *_OF_ANY_RUN.split()])


def _patterns(tasks: Iterable[str]) -> list[str] | None:
    """What any of the tasks logs, with the stage in front; None where one of them is not of `lantu.tasks`."""
    found = [f"{stage}/loss" for stage in _STAGES] + ["train/loss_epoch"]
    for task in tasks:
        package, _, name = task.rpartition(".")
        if not package.startswith("lantu.tasks") or name not in _LOGGED:
            return None
        train, measured, test = (names.split() for names in _LOGGED[name])
        found += [f"train/{each}" for each in train]
        found += [f"{stage}/{each}" for stage in ("val", "test") for each in measured]
        found += [f"test/{each}" for each in test]
    return list(dict.fromkeys(found))


def _check_mode(option: str, metric: str, mode: Any) -> None:
    better = known_direction(metric)
    if better is not None and mode in ("min", "max") and mode != better:
        raise UserError(
            f"`{option}={mode}`: {'more' if better == 'max' else 'less'} of `{metric}` is better. Leave the option out."
        )


def _check(option: str, metric: str, known: list[str]) -> None:
    whole = whole_metric(metric)
    if any(fnmatchcase(whole, each) for each in known):
        return
    family = whole.partition("/")[0]
    family = family if any(each.startswith(f"{family}/") for each in known) else "val"
    shown = sorted(each for each in known if each.startswith(f"{family}/"))
    fixed = [each for each in known if "*" not in each]
    raise UserError(
        f"`{option}`: this run does not log that metric.{did_you_mean(metric, fixed)} What it may log: "
        f"{', '.join(shown)}."
    )
