"""Names that say what ran."""

from lantu.config.composing import Composition

UNNAMED = (
    *("name", "experiment_name", "tags", "paths", "logger", "hydra", "debug", "save_model", "test"),
    *("data.path", "data.workers", "trainer.enable_progress_bar", "trainer.devices", "trainer.accelerator"),
    *("economics", "budget", "resume", "callbacks.resume"),
)
"""Options that do not change what is learned, with those below them."""


LONGEST = 120
"""Characters of a name that is made from what was typed; what is cut stands among the run's overrides."""


def run_name(composition: Composition) -> str:
    """Architecture, data, and whatever else was typed: "cnn digits lr=0.01 seed=1"; cut after `LONGEST` characters."""
    typed = [each.lstrip("+~") for each in composition.overrides]
    further = []
    for override in typed:
        key, _, value = override.partition("=")
        if key in ("data", "model") or any(key == each or key.startswith(f"{each}.") for each in UNNAMED):
            continue
        further.append(f"{key.rpartition('.')[2]}={value}")
    recipe = composition.choices.get("experiment")
    start = [str(recipe)] if recipe and not any(each.startswith("model=") for each in typed) else []
    start = start or [str(composition.choices.get("model")), str(composition.choices.get("data"))]
    name = " ".join([*start, *(each for each in further if each != f"experiment={recipe}")])
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 4]} ..."


def experiment_name(composition: Composition) -> str:
    """The recipe's name, or the data set's: runs on the same data are compared with each other."""
    return str(composition.choices.get("experiment") or composition.choices.get("data"))
