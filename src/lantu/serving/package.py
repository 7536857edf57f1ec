"""Write a trained model as an MLflow model: weights, config and learned preparation, without any pickled code."""

import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lantu.checkpoints.checkpoint_file import write_checkpoint
from lantu.checkpoints.digest import KEY, weights_digest
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.lazy_imports import gc_paused
from lantu.notices import warn_once
from lantu.tasks import Task

LOADER = "lantu.serving.model"
"""The module whose `_load_pyfunc` MLflow calls to load the model."""
KEPT = ("state_dict", "pytorch-lightning_version")
REQUIRED = ("lantu", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "pandas")


def write_model(folder: Path, *, checkpoint: Path, data: DataModule, task: Task, recipe_key: str) -> None:
    """Write a checkpoint as an MLflow model.

    Args:
        folder: to be made anew, such as `model` in the run's folder.
        checkpoint: of Lightning; optimizer and loop states are left out.
        data: which the model was trained on; tells the inputs' signature.
        task: tells the outputs' signature.
        recipe_key: the callback state under which the checkpoint holds the run's config.
    """
    with gc_paused():
        from mlflow.pyfunc import save_model

    shutil.rmtree(folder, ignore_errors=True)
    weights = folder.parent / "weights.ckpt"
    slim = _slim(checkpoint, data, recipe_key)
    try:
        write_checkpoint(slim, weights)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example was not provided.*")
            save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(weights),
                signature=signature(data, task),
                metadata={KEY: weights_digest(slim["state_dict"])},
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIRED],
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        weights.unlink(missing_ok=True)


def signature(data: DataModule, task: Task) -> Any:
    """MLflow's schemas of a request and of an answer; None where the data module or the task does not tell them."""
    from mlflow.models import ModelSignature

    try:
        return ModelSignature(inputs=task.input_signature(data), outputs=task.output_signature())
    except UserError as error:
        warn_once(f"the MLflow model has no signature, so its clients are not told what to send: {error}")
        return None


def _slim(checkpoint: Path, data: DataModule, recipe_key: str) -> dict[str, Any]:
    """What rebuilding needs of a checkpoint."""
    from lantu.checkpoints.load import load

    whole = load(checkpoint)
    preparation = type(data).__qualname__
    kept = {name: whole[name] for name in (*KEPT, preparation)}
    return {**kept, "callbacks": {recipe_key: whole["callbacks"][recipe_key]}}
