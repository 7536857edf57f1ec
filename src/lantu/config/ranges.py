"""The values that each option of conf/ can take, in one place, checked before anything heavy is imported.

A rule belongs to a dotted path, in which `*` stands for any one name. The first rule whose path matches is used; an
option of a class of the user's own has none. `null` is allowed where the rule says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from lantu.suggestions import did_you_mean

LARGEST_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""
LARGEST = 2**53
"""Whole numbers beyond this are not exact as floats, and no count here comes near it."""


def _limits(kind: str, low: float, high: float, *, above: bool = False, below: bool = False) -> str:
    if low == high:
        return f"{low:g}"
    lower = f"above {low:g}" if above else f"{low:g} or more"
    upper = f"below {high:g}" if below else f"at most {high:.10g}"
    if math.isinf(low) and math.isinf(high):
        return kind
    if math.isinf(high):
        return f"{kind}, {lower}"
    return f"{kind} {lower} and {upper}" if above or below else f"{kind} from {low:g} to {high:.10g}"


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and int(value[:9]) > 0


def _is_share(value: Any) -> bool:
    return type(value) is float and 0 < value <= 1


def _is_clock(value: str) -> bool:
    parts = value.split(":")
    return 3 <= len(parts) <= 4 and all(part.isascii() and part.isdigit() for part in parts)


@dataclass(frozen=True)
class Rule:
    """What an option can be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(f"{self.words}, or {other.words}", lambda value: self.fits(value) or other.fits(value))


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number between two limits; `above` and `below` leave the limits themselves out."""

    def fits(value: Any) -> bool:
        return (
            _is_number(value)
            and (value > low if above else value >= low)
            and (value < high if below else value <= high)
        )

    return Rule(_limits("a number", low, high, above=above, below=below), fits)


def whole(low: int, high: int = LARGEST) -> Rule:
    """A whole number between two limits, both possible."""
    words = _limits("a whole number", low, math.inf if high == LARGEST else high)
    return Rule(words, lambda value: type(value) is int and low <= value <= high)


def words(*names: str) -> Rule:
    """One of some words."""
    return Rule(" or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0], names.__contains__)


def each(rule: Rule, *, length: int | None = None, least: int = 1) -> Rule:
    """A list whose items follow a rule."""
    size = f"{length} of them" if length is not None else f"at least {least}" if least else "any number of them"
    return Rule(
        f"a list ({size}) of which each is {rule.words}",
        lambda value: (
            isinstance(value, list)
            and (len(value) == length if length is not None else len(value) >= least)
            and all(map(rule.fits, value))
        ),
    )


NULL = Rule("null", lambda value: value is None)
TRUTH = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("text", lambda value: isinstance(value, str) and "\0" not in value)
SOME_TEXT = Rule("text", lambda value: isinstance(value, str) and value.strip() != "" and "\0" not in value)
MAPPING = Rule("a mapping such as {a: 1}", lambda value: isinstance(value, dict))
POSITIVE, NOT_NEGATIVE = number(0, above=True), number(0)
SHARE, PART = number(0, 1), number(0, 1, below=True)
COUNT = whole(1, 10**9)
BATCHES = whole(0) | Rule("a share of them from 0.0 to 1.0", lambda value: type(value) is float and 0 <= value <= 1)
CLOCK = Rule("a time such as 00:12:00:00", lambda value: isinstance(value, str) and _is_clock(value))
AMOUNT = NOT_NEGATIVE | each(NOT_NEGATIVE)

RULES: dict[str, Rule] = {
    # the run itself
    "seed": whole(0, LARGEST_SEED),
    "resume": SOME_TEXT | NULL,
    "notice": SOME_TEXT | NULL,
    "budget.*": POSITIVE | NULL,
    "sweep.budget.*": POSITIVE | NULL,
    "sweep.retries": whole(0, 1000),
    "sweep.name": SOME_TEXT | NULL,
    "sweep.resume": SOME_TEXT | NULL,
    "sweep.register": SOME_TEXT | NULL,
    "sweep.trial": whole(0) | NULL,
    "sweep.objective": SOME_TEXT | each(SOME_TEXT),
    "sweep.direction": words("minimize", "maximize") | each(words("minimize", "maximize")) | NULL,
    # optimizers
    "optimizer.lr": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.betas": each(PART, length=2),
    "optimizer.eps": POSITIVE,
    "optimizer.momentum": PART,
    "optimizer.alpha": PART,
    "optimizer.ns_steps": whole(1, 100),
    "optimizer.fallback_lr_scale": POSITIVE,
    "optimizer.amsgrad": TRUTH,
    "optimizer.nesterov": TRUTH,
    "optimizer.centered": TRUTH,
    "optimizer.caution": TRUTH,
    "optimizer.fused": TRUTH | NULL,
    # schedules
    "scheduler.warmup": PART | whole(0),
    "scheduler.min_lr_ratio": SHARE,
    "scheduler.start_lr_ratio": number(0, 1, above=True),
    "scheduler.factor": number(0, 1, above=True, below=True),
    "scheduler.patience": whole(0),
    "scheduler.threshold": NOT_NEGATIVE,
    "scheduler.cooldown": whole(0),
    "scheduler.min_lr": NOT_NEGATIVE,
    "scheduler.decay": SHARE,
    "init.gain": POSITIVE,
    "init.layer_decay": number(0, 1, above=True),
    "init.freeze_layers": whole(0),
    # the trainer
    "trainer.accelerator": words("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": words("auto") | COUNT | whole(-1, -1) | each(whole(0)) | Rule("", _is_count),
    "trainer.num_nodes": COUNT,
    "trainer.max_epochs": COUNT | whole(-1, -1) | NULL,
    "trainer.max_steps": COUNT | whole(-1, -1),
    "trainer.min_epochs": COUNT | NULL,
    "trainer.min_steps": COUNT | NULL,
    "trainer.max_time": CLOCK | MAPPING | NULL,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.memory": words("auto") | POSITIVE | NULL,
    "trainer.gradient_clip_val": NOT_NEGATIVE | NULL,
    "trainer.gradient_clip_algorithm": words("norm", "value"),
    "trainer.val_check_interval": (COUNT | Rule("a share of an epoch above 0.0, at most 1.0", _is_share))
    | CLOCK
    | NULL,
    "trainer.check_val_every_n_epoch": COUNT | NULL,
    "trainer.limit_train_batches": COUNT | Rule("a share above 0.0, at most 1.0", _is_share) | NULL,
    "trainer.limit_*_batches": BATCHES | NULL,
    "trainer.overfit_batches": BATCHES,
    "trainer.fast_dev_run": TRUTH | whole(0),
    "trainer.num_sanity_val_steps": whole(-1),
    "trainer.log_every_n_steps": COUNT,
    "trainer.deterministic": TRUTH | words("warn") | NULL,
    "trainer.benchmark": TRUTH | NULL,
    "trainer.precision": words(
        *("32-true", "bf16-mixed", "16-mixed", "64-true", "16-true", "bf16-true", "32", "64", "16", "bf16"),
        *("transformer-engine", "transformer-engine-float16"),
    )
    | Rule("32, 64, 16", lambda value: value in (16, 32, 64) and type(value) is int),
    "trainer.strategy": SOME_TEXT,
    "trainer.strategy.timeout.minutes": POSITIVE,
    "trainer.profiler": words("simple", "advanced", "pytorch") | NULL,
    "trainer.default_root_dir": SOME_TEXT,
    # callbacks
    "callbacks.*.monitor": SOME_TEXT,
    "callbacks.*.mode": words("min", "max", "auto"),
    "callbacks.*.dirpath": SOME_TEXT,
    "callbacks.*.filename": SOME_TEXT,
    "callbacks.*.folder": SOME_TEXT,
    "callbacks.checkpoint.save_top_k": whole(-1),
    "callbacks.early_stopping.patience": whole(0),
    "callbacks.early_stopping.min_delta": NOT_NEGATIVE,
    "callbacks.ema.decay": PART,
    "callbacks.ema.update_every_n_steps": COUNT,
    "callbacks.ema.update_starting_at_*": whole(0) | NULL,
    "callbacks.finite_loss.every": COUNT | NULL,
    "callbacks.progress.refresh_rate": whole(0),
    "callbacks.resume.minutes": NOT_NEGATIVE | NULL,
    "callbacks.resume.steps": COUNT | NULL,
    "callbacks.resume.keep": whole(1, 1000),
    "logger.mlflow.fsync_seconds": POSITIVE,
    "logger.mlflow.store": SOME_TEXT,
    "logger.*.run_dir": SOME_TEXT,
    "logger.*.save_dir": SOME_TEXT,
    # data
    "data.batch_size": whole(1, 10**9),
    "data.batch_seconds": POSITIVE | NULL,
    "data.segment": POSITIVE,
    "data.lead_in": NOT_NEGATIVE,
    "data.workers": whole(0, 1024) | NULL,
    "data.size": whole(1, 10**5) | each(whole(1, 10**5), length=2) | NULL,
    "data.split": MAPPING | NULL | words("time", "random", "walk_forward", "expanding"),
    "data.split.*": PART,
    "data.split_seed": whole(0, LARGEST_SEED),
    "data.seed": whole(0, LARGEST_SEED),
    "data.vocab_size": whole(2, 10**9),
    "data.min_count": COUNT,
    "data.max_length": whole(1, 10**8) | NULL,
    "data.max_question": whole(1, 10**8),
    "data.overlap": whole(0, 10**8),
    "data.context": whole(1, 10**8),
    "data.length": whole(1, 10**8),
    "data.shortest": whole(0),
    "data.alike": SHARE | NULL,
    "data.alpha": SHARE,
    "data.max_unreadable": SHARE,
    "data.background": whole(0, 255) | NULL,
    "data.levels": each(number(), length=2) | NULL,
    "data.fold": whole(0, 10**6) | NULL,
    "data.folds": whole(2, 10**6) | NULL,
    "data.horizon": whole(1, 10**5),
    "data.season": whole(1, 10**6),
    "data.decay": number(0, 1, above=True, below=True),
    "data.train_steps": whole(2, 10**9),
    "data.refit_every": COUNT,
    "data.val_share": PART,
    "data.embargo": whole(0, 10**6),
    "data.transform": words("none", "difference", "log_return"),
    "data.covariate_transform": words("none", "difference", "log_return"),
    "data.every": words("hour", "day", "week", "month", "quarter", "year") | NULL,
    "data.aggregate": words("mean", "sum", "count", "last") | NULL,
    "data.fill": words("none", "forward"),
    "data.scale": words("train", "window", "volatility", "gjr"),
    "augment.flip": SHARE,
    "augment.erase": SHARE,
    "augment.shift": PART,
    "augment.zoom": number(0, 1, above=True),
    "augment.magnitude": whole(0, 30),
    "augment.mixup": NOT_NEGATIVE,
    "augment.cutmix": NOT_NEGATIVE,
    "data.layout": words("coco", "yolo", "voc", "hub") | NULL,
    "data.box_format": words("xywh", "xyxy", "cxcywh"),
    "data.augment.mosaic": SHARE,
    "data.augment.mosaic_until": SHARE,
    "data.augment.visible": SHARE,
    "data.augment.transforms.*.p": SHARE,
    "data.augment.transforms.*.degrees": NOT_NEGATIVE | each(number(), length=2),
    "data.augment.transforms.*.brightness": NOT_NEGATIVE | each(NOT_NEGATIVE, length=2) | NULL,
    "data.augment.transforms.*.contrast": NOT_NEGATIVE | each(NOT_NEGATIVE, length=2) | NULL,
    "data.sample_rate": whole(100, 10**6) | NULL,
    "data.seconds": POSITIVE | NULL,
    "data.window": POSITIVE,
    "data.hop": POSITIVE,
    "data.mels": whole(1, 10**4),
    "data.longest": POSITIVE | NULL,
    "data.hide": PART,
    "data.source.shortest": COUNT,
    "data.source.longest": COUNT,
    "data.source.repeats": COUNT,
    "data.source.val": PART,
    "data.classes": each(TEXT | number() | TRUTH) | NULL,
    "data.tokenizer": SOME_TEXT | NULL,
    "data.path": SOME_TEXT | NULL,
    # networks
    "model.dropout": PART,
    "model.mc_dropout": TRUTH,
    "model.*_dropout": PART,
    "model.config.*dropout*": PART,
    "model.variables": COUNT | NULL,
    "model.steps": COUNT,
    "model.net.drop_rate": PART,
    "model.net.model_name": SOME_TEXT,
    "model.net.in_chans": COUNT,
    "model.net.num_classes": COUNT,
    "model.config.model_type": SOME_TEXT,
    "model.layers": whole(1, 10**5),
    "model.heads": whole(1, 10**5),
    "model.kv_heads": whole(1, 10**5) | NULL,
    "model.width": whole(1, 10**7) | Rule("a factor above 0.0", lambda v: type(v) is float and 0 < v < 100),
    "model.widths": each(whole(1, 10**7)),
    "model.hidden": whole(1, 10**8) | each(whole(1, 10**8), least=0) | NULL,
    "model.embedding": whole(1, 10**7),
    "model.convolutions": whole(1, 1000),
    "model.pool": whole(1, 10**4) | words("last", "mean", "max"),
    "model.min_size": whole(1, 10**5),
    "model.ngrams": whole(1, 100),
    "model.buckets": whole(1, 10**9),
    "model.rope_base": POSITIVE,
    "model.norm_eps": POSITIVE,
    "model.vocab_size": COUNT,
    "model.context": COUNT,
    "model.outputs": COUNT,
    "model.classes": COUNT,
    "model.features": COUNT,
    "model.channels": COUNT,
    "model.max_length": COUNT,
    "model.places": COUNT,
    "model.config.*_size": COUNT,
    "model.config.num_*": COUNT,
    "model.config.n_*": COUNT,
    "model.config.conv_dim": each(COUNT),
    "model.config.*dim": COUNT,
    "model.points": number(),
    "model.odds": POSITIVE,
    "model.pdo": POSITIVE,
    "data.woe": MAPPING,
    "data.woe.bins": whole(2, 1000),
    "data.woe.least": number(0, 0.5, above=True, below=True),
    "data.woe.monotone": TRUTH,
    "data.numbers": words("auto", "standard", "quantile", "woe"),
    "model.skip": COUNT,
    "model.condition": words("characters", "mels", "none"),
    "model.depth_factor": POSITIVE,
    "model.width_factor": POSITIVE,
    "model.most_channels": COUNT,
    "model.bins": whole(2, 1000),
    "model.topk": COUNT,
    "model.noise": COUNT,
    "model.channels_first": COUNT,
    "model.blocks": whole(0, 1000),
    "model.group": COUNT,
    "model.conditional": TRUTH,
    "model.*_weight": NOT_NEGATIVE,
    "model.members": whole(1, 10**4),
    "model.frequencies": whole(1, 10**5),
    "model.frequency_scale": POSITIVE,
    "model.hop": COUNT,
    "model.bands": COUNT,
    "model.characters": COUNT,
    "model.speakers": whole(0, 10**9),
    "model.dilations": whole(1, 30),
    "model.kernel": whole(1, 10**4),
    "model.size": COUNT,
    "model.height": COUNT,
    "model.pad_id": whole(0) | NULL,
    "model.end_id": whole(0) | NULL,
    "model.boundary_id": whole(0) | NULL,
    "model.config.patch_*": COUNT,
    "model.config.d_model": COUNT,
    "model.config.*.*_size": COUNT,
    "model.config.*.num_*": COUNT,
    "model.config.*.*dropout*": PART,
    "model.*.dropout": PART,
    "model.*.*_dropout": PART,
    "model.*.channels": COUNT,
    "model.*.outputs": COUNT,
    "model.*.convolutions": whole(1, 1000),
    "model.*.pool": whole(1, 10**4) | words("last", "mean", "max"),
    "model.*.vocab_size": COUNT,
    "model.*.pad_id": whole(0) | NULL,
    "model.*.ngrams": whole(1, 100),
    "model.*.buckets": whole(1, 10**9),
    "model.*.width": whole(1, 10**7),
    "peft.rank": whole(1, 10**6),
    "peft.alpha": POSITIVE,
    "peft.dropout": PART,
    "privacy.epsilon": POSITIVE,
    "privacy.delta": number(0, 1, above=True, below=True),
    "privacy.clip": POSITIVE,
    "privacy.noise": number(0.2, 1000) | NULL,
    "privacy.accountant": words("prv", "rdp"),
    "privacy.key": SOME_TEXT,
    # tasks
    "task.label_smoothing": PART,
    "task.l1": NOT_NEGATIVE,
    "task.class_weights": words("balanced") | each(NOT_NEGATIVE) | NULL,
    "task.positive_weight": words("balanced") | each(NOT_NEGATIVE) | NULL,
    "task.kind": words("point", "quantile", "student_t", "skewed_t", "var_es"),
    "task.levels": each(number(0, 1, above=True, below=True)),
    "task.max_answer": COUNT,
    "task.threshold": SHARE,
    "task.embedding": COUNT,
    "task.head": words("arcface", "cosface", "softmax"),
    "task.margin": number(0, 1.57, below=True) | NULL,
    "task.scale": POSITIVE,
    "task.false_identifications": PART | NULL,
    "task.mirror": TRUTH,
    "task.objective": words("non_saturating", "relativistic") | NULL,
    "task.penalty": NOT_NEGATIVE | NULL,
    "task.penalty_every": COUNT,
    "task.ema": PART,
    "task.feature_steps": COUNT,
    "task.compared": COUNT,
    "task.inception": SOME_TEXT | NULL,
    "task.min_score": SHARE,
    "task.overlap": SHARE,
    "task.most": COUNT,
    "task.sample_rate": COUNT,
    "task.bands": COUNT,
    "task.horizon": COUNT,
    "task.folds": COUNT,
    "task.season": COUNT,
    "task.classes": COUNT,
    "task.frame_seconds": POSITIVE,
    "task.beam": whole(1, 10**5),
    "task.top": COUNT,
    "task.classical_window": whole(2, 10**9) | NULL,
    "task.classical_refit": COUNT,
    "task.bytes_per_token": POSITIVE,
    "task.context": COUNT,
    "task.end_id": whole(0) | NULL,
    "task.sample_tokens": whole(0, 10**7),
    "task.front_weight": NOT_NEGATIVE,
    "task.sample_seconds": NOT_NEGATIVE,
    "task.sample_temperature": NOT_NEGATIVE,
    "task.test_samples": whole(0),
    "task.masked": number(0, 1, above=True),
    "task.replaced": SHARE,
    "task.kept": SHARE,
    # cost
    "economics.usd_per_device_hour.*": NOT_NEGATIVE,
    "economics.usd_per_kwh": NOT_NEGATIVE,
    "economics.pue": number(1),
    "economics.grams_co2e_per_kwh": NOT_NEGATIVE | NULL,
    "economics.country": SOME_TEXT,
    "business.growth_per_month": number(-1, above=True) | each(number(-1, above=True)) | NULL,
    "business.months": whole(1, 1200),
    "business.discount_per_year": number(-1, above=True),
    "business.utilisation": number(0, 1, above=True) | each(number(0, 1, above=True)) | NULL,
    "business.predictions_per_second": POSITIVE | NULL,
    "business.retrain_every_months": POSITIVE | NULL,
    "business.reference_quality": number() | NULL,
    "business.value_per_quality": number() | each(number()) | NULL,
    "fairness.group": each(SOME_TEXT, least=0) | NULL,
    "fairness.favourable": SOME_TEXT | NULL,
    "fairness.least": whole(1),
    "fairness.mitigation": words("reweighing", "constraint", "thresholds") | NULL,
    "fairness.constraint": words("demographic_parity", "equalized_odds", "equal_opportunity"),
    "fairness.strength": NOT_NEGATIVE,
    "fairness.tolerance": number(0, 1),
    "business._target_": SOME_TEXT,
    "business.profit.*": number(),
    "business.actions": each(TEXT, length=2),
    "business.threshold": words("validation", "theory") | SHARE,
    "business.reasons": whole(0, 100),
    "business.reason_texts": MAPPING,
    "business.reason_texts.*": SOME_TEXT,
    "business.columns": each(TEXT) | NULL,
    "business.profit": MAPPING,
    "business.*": AMOUNT | NULL,
    # evaluate and predict
    "batch_size": whole(1, 10**9),
    "tokens": COUNT,
    "count": COUNT,
    "classes": SOME_TEXT | whole(0) | each(SOME_TEXT | whole(0)) | NULL,
    "temperature": NOT_NEGATIVE,
    "top_k": COUNT | NULL,
    "top_p": number(0, 1, above=True) | NULL,
    "repetition_penalty": POSITIVE,
    "statistics.level": number(0, 1, above=True, below=True),
    "statistics.power": number(0, 1, above=True, below=True),
    "top": COUNT | NULL,
    "paths.*": SOME_TEXT | NULL,
}


@cache  # asked for every option at each check
def rule_for(path: str) -> Rule | None:
    """The rule of an option, by its dotted path."""
    if path in RULES:
        return RULES[path]
    depth = path.count(".")
    return next(
        (rule for pattern, rule in RULES.items() if pattern.count(".") == depth and fnmatchcase(path, pattern)), None
    )


def complaint(path: str, value: Any) -> str | None:
    """What is wrong with an option's value, as a sentence; None: nothing."""
    rule = rule_for(path)
    if rule is None or rule.fits(value):
        return None
    near = did_you_mean(value, rule.words.replace(",", "").split()) if isinstance(value, str) and value else ""
    return f"`{path}={shown(value)}`: `{path}` takes {rule.words.removesuffix(', or ')}.{near}"


def keeps_kind(default: Any, value: Any) -> str | None:
    """What a value must be instead, where an option without a rule gets another kind of value than its default's.

    Whether null is possible is not judged here: signatures say so.
    """
    if value is None or default is None or default == "???":
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        return None if _is_number(value) else "a finite number"
    if isinstance(default, str) and (isinstance(value, dict) or value is True or value is False):
        return "text"
    return "a list" if isinstance(default, list) and not isinstance(value, list) else None


def shown(value: Any) -> str:
    """A value as it is typed, on one line and not too long."""
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    text = text or str(value)
    return "".join(each if each.isprintable() else "?" for each in text)[:80]
