"""Write a network in one of three formats, with its preparation beside it."""

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from lantu.checkpoints.embedded_config import Recipe
from lantu.checkpoints.load import load
from lantu.errors import UserError, is_full_disk
from lantu.extras import require
from lantu.inference.exported import FILES, KEY, PREPARATION, digests
from lantu.inference.rebuild import Rebuilt
from lantu.serving.export.graph import Graph, attributes_of

PRECISIONS = {"onnx": ("float32", "int8"), "torch": ("float32",), "safetensors": ("float32", "bf16")}
"""The number formats that each file format can be written in."""
LARGEST_ONNX = 1_800_000_000
"""Bytes of weights above which they go to a file of their own: a protocol buffer holds 2 GiB."""


def check_format(form: str, precision: str) -> None:
    """Raise a `UserError` unless the format is known, installed and can be written in that precision."""
    if form not in FILES:
        raise UserError(f"`format={form}`: the formats are {', '.join(FILES)}.")
    if precision not in PRECISIONS[form]:
        able = [f"`format={each}`" for each, known in PRECISIONS.items() if precision in known]
        instead = f"That precision is for {' and '.join(able)}." if able else ""
        raise UserError(
            f"`precision={precision}`: `format={form}` is written in {' or '.join(PRECISIONS[form])}. {instead}".strip()
        )
    if form == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "format=onnx", "export")


def write_network(rebuilt: Rebuilt, graph: Graph | None, folder: Path, *, form: str, precision: str) -> None:
    """Write the network's file into a folder.

    Args:
        graph: None for safetensors, which keeps weights alone.
        form: one of `FILES`; precision: one of its `PRECISIONS`.
    """
    path = folder / FILES[form]
    if graph is None:
        _write_weights(rebuilt, path, bf16=precision == "bf16")
    elif form == "torch":
        _write_through_memory(lambda file: torch.export.save(graph.program, file), path)
    else:
        _write_onnx(graph, path)
        if precision == "int8":
            _quantise(path)


def write_preparation(
    rebuilt: Rebuilt, graph: Graph | None, checkpoint: Path, folder: Path, *, form: str, precision: str
) -> None:
    """Write what prepares inputs and reads outputs: for Lantu as `preparation.ckpt`, for others as JSON."""
    about: dict[str, Any] = {
        "format": form,
        "precision": precision,
        "lantu": version("lantu"),
        "torch": version("torch"),
        "attributes": attributes_of(rebuilt.task.net),
        "files": digests(folder, form),
    }
    if graph is not None:
        about |= {
            "inputs": graph.inputs, "outputs": graph.outputs, "predictions": graph.predictions,
            "structure": graph.structure, "dynamic": graph.dynamic, "padded": graph.padded,
        }  # fmt: skip
    whole = load(checkpoint)
    state = {name: value for name, value in rebuilt.task.state_dict().items() if not name.startswith("net.")}
    module = type(rebuilt.data).__qualname__
    kept = {"state_dict": state, module: whole[module], "callbacks": _recipe(whole), KEY: about}
    _write_through_memory(lambda file: torch.save(kept, file), folder / PREPARATION)
    readable = {
        "network": about,
        "data": {"module": module, "learned": whole[module]["learned"], "spec": whole[module]["spec"]},
        "task": {name: value for name, value in _config(whole)["task"].items() if name != "net"},
    }
    text = json.dumps(readable, indent=1, ensure_ascii=False, default=str)
    (folder / "preparation.json").write_text(text, encoding="utf-8")


def _write_through_memory(write: Callable[[BytesIO], None], path: Path) -> None:
    """Write a file of torch's; on a full disk torch's own writer ends the process."""
    buffer = BytesIO()
    write(buffer)
    path.write_bytes(buffer.getbuffer())


def _recipe(whole: dict[str, Any]) -> dict[str, Any]:
    return {Recipe.KEY: whole["callbacks"][Recipe.KEY]}


def _config(whole: dict[str, Any]) -> dict[str, Any]:
    return Recipe.read(whole) or {}


def _write_weights(rebuilt: Rebuilt, path: Path, *, bf16: bool) -> None:
    from safetensors.torch import save_file, save_model

    if not bf16:
        save_model(rebuilt.task.net, str(path))
        return
    shared: dict[int, str] = {}
    kept = {}
    for name, value in rebuilt.task.net.state_dict().items():
        if value.data_ptr() and shared.setdefault(value.data_ptr(), name) != name:
            continue  # tied to one that is kept
        kept[name] = value.bfloat16() if value.is_floating_point() else value
    save_file({name: value.contiguous() for name, value in kept.items()}, str(path))


def _write_onnx(graph: Graph, path: Path) -> None:
    size = sum(each.numel() * each.element_size() for each in graph.program.state_dict.values())
    output = StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(output):
            warnings.simplefilter("ignore")
            logging.getLogger("onnxscript").setLevel(logging.ERROR)
            _use_translatable(graph.program)
            graph.program._guards_code = []  # ONNX has no guards, and torch 2.14 stumbles over those of lengths
            for optimized in (True, False):  # the optimizer can leave out a node that others need
                torch.onnx.export(
                    graph.program, (), str(path), dynamo=True, external_data=size > LARGEST_ONNX, verbose=False,
                    output_names=[*graph.outputs, *(f"prediction_{name}" for name in graph.predictions)],
                    optimize=optimized,
                )  # fmt: skip
                if _is_readable(path):
                    break
    except Exception as error:
        if is_full_disk(error):
            raise
        # the exporter raises many kinds for an operator that ONNX does not have
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        telling = next((line for line in lines if "No ONNX function" in line or "Error" in line), lines[0])
        raise UserError(
            f"torch's ONNX exporter cannot translate this network ({telling[:200]}). `format=torch` and "
            "`format=safetensors` need no translation."
        ) from error


def _is_readable(path: Path) -> bool:
    """Whether onnxruntime takes the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime's errors have no common class
        return False
    return True


def _use_translatable(program: ExportedProgram) -> None:
    """Replace operators that the ONNX exporter does not take by others with the same answer.

    A view is refused where its input has other strides after decomposition.
    """
    aten = torch.ops.aten
    others = {aten.view.default: aten.reshape.default, aten._is_all_true.default: aten.all.default}
    for node in program.graph.nodes:
        node.target = others.get(node.target, node.target)


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_suffix(".float32.onnx")
    path.rename(whole)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        # convolutions would need calibration data, and gain little on a CPU
        quantize_dynamic(str(whole), str(path), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    finally:
        root.setLevel(before)
        whole.unlink()
