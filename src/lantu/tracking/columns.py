"""Which parameters and metrics of a run become columns in MLflow; `further.py` keeps the others.

MLflow shows a column for everything that any run of a table has logged. A run of the command line has about 190
settings and up to 60 metrics, of which a person looks for some.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lantu.metric_direction import MAIN_MEASURES, SUFFIXES
from lantu.slice_names import SLICE, with_current_slice

MOST_PARAMS = 60
MOST_METRICS = 22
"""Of a run itself; the comparison of a sweep adds `score`, `rank` and `difference`."""
STAGES = ("train", "val", "test")
COSTS = ("cost/usd", "cost/kwh", "cost/co2e_kg", "cost/device_hours")
SIZES = ("model/parameters", "model/trained_parameters")
FIRST_PARAMS = (
    *("seed", "data.batch_size", "trainer.max_epochs", "trainer.max_steps", "trainer.precision", "trainer.devices"),
    *("trainer.strategy", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val"),
    "fairness.group",
    *("callbacks.checkpoint.monitor", "callbacks.checkpoint.mode"),
)
ROOMS = ("model", "optimizer", "scheduler", "data", "task", "augment", "init", "peft", "privacy")
"""Parts of the config whose settings are columns; the first have precedence."""
NO_CHOICES = ("paths", "hydra", "debug", "sweep", "logger", "callbacks", "economics")
"""Groups of config files whose choice makes no other model."""
_UNSET = ("", "None", "none", "{}", "[]")


def parameter_columns(parameters: Mapping[str, Any], asked: Iterable[str]) -> list[str]:
    """The parameters that are columns, at most `MOST_PARAMS`, the most telling first.

    First what was typed, then the choices of config files, then what every training has, then the settings of model,
    optimizer, data and task. What is not set, and class names, are columns only where they were typed.

    Args:
        parameters: all, by dotted name.
        asked: the names that were typed; a group stands for its choice.
    """
    asked = list(asked)
    typed = [name for each in asked for name in (each, f"choices.{each}") if name in parameters]
    told = [name for name, value in parameters.items() if str(value) not in _UNSET]
    chosen = [name for name in told if name.startswith("choices.") and name.split(".")[1] not in NO_CHOICES]
    ordinary = [name for name in told if name.rpartition(".")[2] not in ("_target_", "_partial_")]
    rooms = [name for room in ROOMS for name in ordinary if name == room or name.startswith(f"{room}.")]
    first = [name for name in FIRST_PARAMS if name in told]
    return list(dict.fromkeys([*typed, *chosen, *first, *rooms]))[:MOST_PARAMS]


class MetricColumns:
    """Decides by its name whether a metric is a column, at its first value, when later ones are not known yet.

    Columns are the metric that decides and the loss in each stage, the main further measures of validation and test,
    cost, speed, size, learning rate, and two others. Slices and values of the best epoch are none.

    Args:
        monitor: the metric that decides, such as "val/loss".
        shown: metrics that are columns already.
    """

    def __init__(self, monitor: str, shown: Iterable[str] = ()) -> None:
        self._own = monitor.partition("/")[2]
        self._places = {"speed": 3, "measure": 3 if self._own == "loss" else 2, "other": 2}
        self._taken: dict[str, set[str]] = {kind: set() for kind in self._places}
        self._decided: dict[str, bool] = {}
        for name in shown:
            self.admit([name])

    def admit(self, names: Iterable[str]) -> set[str]:
        """Those of some metrics that are columns, where all are seen at once."""
        names = list(names)
        for name in sorted((each for each in names if each not in self._decided), key=_rank):
            self._decided[name] = self._decide(name)
        return {name for name in names if self._decided[name]}

    def _decide(self, name: str) -> bool:
        stage, _, measure = name.partition("/")
        if SLICE in with_current_slice(name) or name.endswith(SUFFIXES) or stage in ("system", "preflight"):
            return False
        if name in (*COSTS, *SIZES, "train/lr"):
            return True
        if stage in STAGES:
            if measure in (self._own, "loss"):
                return True
            return stage != "train" and self._takes("measure", measure)
        if stage == "speed":
            return name.endswith(("_per_second", "/latency_ms")) and self._takes("speed", name)
        return stage != "cost" and name != "epoch" and self._takes("other", name)

    def _takes(self, kind: str, what: str) -> bool:
        taken = self._taken[kind]
        if what not in taken and len(taken) < self._places[kind]:
            taken.add(what)
        return what in taken


def _rank(name: str) -> int:
    measure = name.partition("/")[2]
    return MAIN_MEASURES.index(measure) if measure in MAIN_MEASURES else len(MAIN_MEASURES)
