"""Write a trained model as an MLflow model: weights, config and learned preparation, without any pickled code."""

import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lantu.data import DataModule
from lantu.lazy_imports import gc_paused

LOADER = "lantu.serving.model"
"""The module whose `_load_pyfunc` MLflow calls to load the model."""
KEPT = ("state_dict", "pytorch-lightning_version")
REQUIRED = ("lantu", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "pandas")


def write_model(folder: Path, *, checkpoint: Path, data: DataModule, recipe_key: str) -> None:
    """Write a checkpoint as an MLflow model.

    Args:
        folder: to be made anew, such as `model` in the run's folder.
        checkpoint: of Lightning; optimizer and loop states are left out.
        data: which the model was trained on; tells the inputs' signature.
        recipe_key: the callback state under which the checkpoint holds the run's config.
    """
    with gc_paused():
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model

    shutil.rmtree(folder, ignore_errors=True)
    weights = folder.parent / "weights.ckpt"
    torch.save(_slim(checkpoint, data, recipe_key), weights)
    inputs, outputs = signature(data)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example was not provided.*")
            save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(weights),
                signature=ModelSignature(inputs=inputs, outputs=outputs),
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIRED],
            )
    finally:
        weights.unlink()


def signature(data: DataModule) -> tuple[Any, Any]:
    """MLflow schemas of what goes in and what comes out."""
    import numpy as np
    from mlflow.types import ColSpec, Schema, TensorSpec

    spec = data.spec
    if spec["kind"] == "image":
        shape = (-1, spec["height"], spec["width"], spec["channels"])
        inputs = Schema([TensorSpec(np.dtype("uint8"), shape, name=None)])
    elif spec["kind"] == "tokens":
        inputs = Schema([ColSpec("string", "prompt")])
    else:
        # a value may be missing: preparation fills it in
        inputs = Schema([ColSpec(each["type"], each["name"], required=False) for each in data.schema()])
    if spec["kind"] == "tokens":
        return inputs, Schema([ColSpec("string", "text")])
    if spec["task"] in ("classification", "question_answering"):
        return inputs, Schema([ColSpec("string", "prediction"), ColSpec("double", "probability")])
    return inputs, Schema([ColSpec("double", "prediction")])


def _slim(checkpoint: Path, data: DataModule, recipe_key: str) -> dict[str, Any]:
    """What rebuilding needs of a checkpoint."""
    from lantu.checkpoints.load import load

    whole = load(checkpoint)
    preparation = type(data).__qualname__
    kept = {name: whole[name] for name in (*KEPT, preparation)}
    return {**kept, "callbacks": {recipe_key: whole["callbacks"][recipe_key]}}
