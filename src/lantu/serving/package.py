"""Write a trained model as an MLflow model: weights, config and learned preparation, without any pickled code."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

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
WEIGHTS = "data/weights.ckpt"
REQUIRED = ("mlflow", "lantu", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "pandas")


def write_model(folder: Path, *, checkpoint: Path, data: DataModule, task: Task, recipe_key: str) -> None:
    """Write a checkpoint as an MLflow model.

    `mlflow.pyfunc.save_model` would write the same files, after a look at everything that is installed, which takes
    longer than all else here.

    Args:
        folder: to be made anew, such as `model` in the run's folder.
        checkpoint: of Lightning; optimizer and loop states are left out.
        data: which the model was trained on; tells the inputs' signature.
        task: tells the outputs' signature.
        recipe_key: the callback state under which the checkpoint holds the run's config.
    """
    with gc_paused():
        from mlflow.models import Model
        from mlflow.pyfunc import add_to_model

    shutil.rmtree(folder, ignore_errors=True)
    slim = _slim(checkpoint, data, recipe_key)
    try:
        (folder / WEIGHTS).parent.mkdir(parents=True)
        write_checkpoint(slim, folder / WEIGHTS)
        model = Model(signature=signature(data, task), metadata={KEY: weights_digest(slim["state_dict"])})
        add_to_model(
            model, LOADER, data=WEIGHTS, conda_env="conda.yaml", python_env="python_env.yaml", streamable=False
        )
        model.model_size_bytes = (folder / WEIGHTS).stat().st_size
        model.save(str(folder / "MLmodel"))
        _write_environment(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_environment(folder: Path) -> None:
    """What MLflow and its servers install to load the model: for pip, virtualenv and conda."""
    packages = [f"{name}=={version(name)}" for name in REQUIRED]
    python, pip, setuptools, wheel = platform.python_version(), *map(_installed, ("pip", "setuptools", "wheel"))
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", pip.replace("==", "<="), {"pip": packages}],
    }
    virtualenv = {
        "python": python,
        "build_dependencies": [pip, setuptools, wheel],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "requirements.txt").write_text("\n".join(packages), encoding="utf-8")
    for name, content in {"conda.yaml": conda, "python_env.yaml": virtualenv}.items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _installed(package: str) -> str:
    """A requirement of the version that is here, or of any where none is."""
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError:
        return package


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
