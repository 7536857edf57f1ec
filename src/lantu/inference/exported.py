"""Use an exported network in the place of the trained one, so that one code prepares inputs and reads answers."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lantu.checkpoints.weights import check_types
from lantu.errors import UserError
from lantu.extras import require
from lantu.inference.exported_program import load_program
from lantu.models.pretrained_detectors import Detections

PREPARATION = "preparation.ckpt"
"""Beside an exported network: config, learned preparation and the task's own state, as in a checkpoint."""
FILES = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": "model.safetensors"}
"""The network's file in each format."""
KEY = "lantu.exported"
"""Where the preparation describes the network: format, inputs, outputs, structure, attributes."""


ATTRIBUTES = ("context", "needs_nms", "channels", "noise", "conditional", "objective", "penalty")
"""Plain attributes of a network that tasks ask for: a language model's context, whether a detector's boxes need
non-maximum suppression, what a GAN's task asks of it."""


def digests(folder: Path, form: str) -> dict[str, str]:
    """SHA-256 of the files that hold the network of an export, by name."""
    found = {}
    for path in sorted(folder.glob(f"{FILES[form]}*")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def refuse_changed(folder: Path, about: dict[str, Any]) -> None:
    """Refuse an export whose network is not the one that was compared; exports made before say nothing of it.

    Raises:
        UserError: a file is damaged, was changed, or is gone.
    """
    kept = about.get("files") or {}
    there = digests(folder, about["format"]) if kept else {}
    if wrong := next((name for name, digest in kept.items() if there.get(name) != digest), None):
        what = "is damaged or was changed after the export" if wrong in there else "is gone"
        raise UserError(f"{folder / wrong} {what}. Export the run again with `format={about['format']}`.")


class ExportedNetwork(nn.Module):
    """Answers what the trained network does, from a file of one of `FILES`; `generator` where that is what it holds.

    Args:
        folder: holds the network's file.
        about: what the export wrote under `KEY`.
    """

    takes_batches = True

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        super().__init__()
        self.about = about
        self.has_score = "score" in about["predictions"]
        for name, value in about["attributes"].items():
            if name in ATTRIBUTES:
                setattr(self, name, value)
        path = folder / FILES[about["format"]]
        if not path.is_file():
            raise UserError(f"{folder} holds no {path.name}: export the run again with `format={about['format']}`.")
        self._run = _onnx(path) if about["format"] == "onnx" else _torch(path)
        if about["inputs"] == ["noise", "class"]:
            self.generator, self.discriminator = _ExportedGenerator(self._run), nn.Identity()

    def score(self, x: Any) -> Tensor:
        """The score (N,) of a scorecard."""
        return self._run(x, self.about["inputs"])[len(self.about["outputs"]) + self.about["predictions"].index("score")]

    def forward(self, x: Any) -> Any:
        """The trained network's output, of the same structure."""
        padded = self.about.get("padded")
        found = self._run(pad(x, padded) if padded else x, self.about["inputs"])
        if padded and found[0].ndim == 3:  # an answer for each token
            found = [each[:, : x.shape[-1]] for each in found]
        return restored(self.about["structure"], found[: len(self.about["outputs"])], self.about["outputs"])


class _ExportedGenerator(nn.Module):
    """The generator of a GAN, with the arguments of `lantu.models.gan`."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self._run({"noise": z, "class": y}, ["noise", "class"])[0]
        return found


def flatten(value: Any) -> dict[str, Tensor]:
    """The tensors of a network's input or output, by name.

    Raises:
        UserError: it holds something else than tensors.
    """
    if isinstance(value, Tensor):
        return {"value": value}
    if isinstance(value, Detections):
        return {"boxes": value.boxes, "scores": value.scores}
    if isinstance(value, dict) and all(isinstance(each, Tensor) for each in value.values()):
        return dict(value)
    raise UserError(f"a network that takes or gives a {type(value).__name__} cannot be exported: only tensors can.")


def pad(tokens: Tensor, padded: dict[str, int]) -> Tensor:
    """Fill texts (N, ..., L) up on the right to the length that a network was traced with."""
    return torch.nn.functional.pad(tokens, (0, padded["length"] - tokens.shape[-1]), value=padded["id"])


def structure_of(value: Any) -> str:
    """What `restored` needs to know of an output: tensor, dict or detections."""
    return "tensor" if isinstance(value, Tensor) else "detections" if isinstance(value, Detections) else "dict"


def restored(structure: str, found: list[Tensor], names: list[str]) -> Any:
    """The inverse of `flatten`."""
    if structure == "tensor":
        return found[0]
    if structure == "detections":
        return Detections(found[0], found[1], None)
    return dict(zip(names, found, strict=True))


def load_weights(net: nn.Module, folder: Path) -> None:
    """Fill a network with the weights of an export in safetensors."""
    from safetensors.torch import load_file, load_model

    file = folder / FILES["safetensors"]
    check_types(load_file(file), net)
    load_model(net, file)


def _onnx(path: Path) -> Any:
    require("onnxruntime", "format=onnx", "export")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(x: Any, inputs: list[str]) -> list[Tensor]:
        tensors = flatten(x)
        fed = {name: tensors[each].detach().contiguous().numpy() for name, each in zip(names, inputs, strict=True)}
        return [torch.from_numpy(each) for each in session.run(None, fed)]

    return run


def _torch(path: Path) -> Any:
    module = load_program(path)

    return lambda x, inputs: module(x)
