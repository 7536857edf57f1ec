"""Trace a task's network with torch.export: real examples in, raw outputs and predictions out."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lantu.errors import UserError
from lantu.inference.exported import ATTRIBUTES, flatten, pad, structure_of
from lantu.tasks import Task


@dataclass(frozen=True)
class Graph:
    """A traced network."""

    program: ExportedProgram
    inputs: list[str]
    outputs: list[str]
    """Of the network itself; the task reads them."""
    predictions: list[str]
    """Further outputs, such as probabilities, for programs that have no Lantu."""
    structure: str
    dynamic: dict[str, list[int]]
    """For each input, the dimensions that may vary."""
    padded: dict[str, int] | None = None
    """Where the length of texts is fixed: `length` and the token `id` that fills them up on the right."""


class _Traced(nn.Module):
    """The network with flat outputs, and the task's predictions where these are tensors."""

    def __init__(self, task: Task, *, predicts: bool) -> None:
        super().__init__()
        self.net = task.deployed
        self._predictions = task.exported_predictions if predicts else None

    def forward(self, x: Any) -> tuple[Tensor, ...]:
        output = self.net(x)
        found = [*flatten(output).values()]
        if self._predictions is not None:
            found += self._predictions(x, output).values()
        return tuple(found)


def trace(task: Task, x: Any, spec: Mapping[str, Any]) -> Graph:
    """Trace a network on real inputs, with a batch of any size and texts and recordings of any length.

    A recurrent network is unrolled over a fixed number of steps: the longest text that the data allow. Shorter ones are
    padded on the right, which changes no answer: the network masks padding, or reads from the left alone.

    Args:
        task: in evaluation mode, on the CPU.
        x: a batch of at least two examples.
        spec: of the data.

    Raises:
        UserError: torch.export cannot trace it; the message says why.
    """
    graph = _trace(task, x)
    over_time = isinstance(x, Tensor) and len(_varying(x)) > 1
    longest = spec.get("max_length") or spec.get("context")
    if not over_time or longest is None or _takes_shorter(graph, x):
        return graph
    padded = {"length": int(longest), "id": int(spec.get("pad_id") or 0)}
    graph = _trace(task, pad(x, padded))
    return replace(graph, padded=padded, dynamic={"value": [0]})


def _trace(task: Task, x: Any) -> Graph:
    net = task.deployed
    refuse_without_graph(net)
    inputs = flatten(x)
    with torch.no_grad():
        output = net(x)
        predictions = _tensor_predictions(task, x, output)
    names = [*flatten(output)]
    traced = _Traced(task, predicts=bool(predictions)).eval()
    shapes = {name: dict.fromkeys(_varying(each), Dim.AUTO) for name, each in inputs.items()}
    shape = shapes["value"] if isinstance(x, Tensor) else shapes
    try:
        with warnings.catch_warnings(), torch.no_grad(), lengths_that_vary(net):
            warnings.simplefilter("ignore")
            program = torch.export.export(traced, (x,), dynamic_shapes=(shape,), strict=False)
    except Exception as error:  # torch raises many kinds for what it cannot trace
        raise UserError(
            f"{type(net).__name__} cannot be traced by torch.export ({_reason(error)}). "
            "`format=safetensors` keeps its weights, which need no trace."
        ) from error
    return Graph(program, [*inputs], names, [*predictions], structure_of(output), _dynamic(program, [*inputs]))


@contextmanager
def lengths_that_vary(net: nn.Module) -> Iterator[None]:
    """Let transformers' networks ask for `len(x)` in a trace: Python's must be a number, and would fix the batch."""
    names = {type(part).__module__ for part in net.modules()}
    places = [vars(sys.modules[name]) for name in names if name.startswith("transformers.models.")]
    for place in places:
        place["len"] = _length
    try:
        yield
    finally:
        for place in places:
            del place["len"]


def _length(of: Any) -> Any:
    return of.shape[0] if isinstance(of, Tensor) else len(of)


def refuse_without_graph(net: nn.Module) -> None:
    """Raise a `UserError` where a network says that a graph cannot hold it."""
    for part in net.modules():
        if reason := getattr(part, "no_graph", None):
            raise UserError(
                f"`format=onnx` and `format=torch` cannot hold a {type(part).__name__}: {reason}. `format=safetensors` "
                "keeps its weights, and `lantu predict` and `lantu serve` answer from the run or from that export."
            )


def _takes_shorter(graph: Graph, x: Tensor) -> bool:
    """Whether texts may really be shorter: torch.export can take a length for variable and then guard it."""
    if x.shape[-1] < 4:
        return x.ndim - 1 in graph.dynamic["value"]
    try:
        with torch.no_grad():
            graph.program.module()(x[..., : x.shape[-1] // 2])
    except Exception:  # whatever a guard raises
        return False
    return True


def attributes_of(net: nn.Module) -> dict[str, Any]:
    """What a task asks of its network beside answers."""
    found = {name: getattr(net, name, None) for name in ATTRIBUTES}
    return {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}


def _tensor_predictions(task: Task, x: Any, output: Any) -> dict[str, Tensor]:
    """A task's predictions of an output, where they are tensors that are one function of it."""
    if getattr(task, "tta", False):
        return {}
    try:
        found = task.exported_predictions(x, output)
    except (UserError, AttributeError, TypeError, KeyError):
        return {}
    return found if all(isinstance(each, Tensor) for each in found.values()) else {}


def _varying(tensor: Tensor) -> list[int]:
    """The batch, and the time of tokens and of recordings that are padded to the longest."""
    over_time = tensor.ndim >= 2 and not tensor.is_floating_point()
    return [0, tensor.ndim - 1] if over_time or tensor.ndim == 3 else [0]


def _dynamic(program: ExportedProgram, inputs: list[str]) -> dict[str, list[int]]:
    named = [each.name for each in program.graph.nodes if each.op == "placeholder"]
    users = set(program.graph_signature.user_inputs)
    shapes = [each.meta["val"].shape for each in program.graph.nodes if each.op == "placeholder" and each.name in users]
    assert named
    return {
        name: [place for place, size in enumerate(shape) if not isinstance(size, int)]
        for name, shape in zip(inputs, shapes, strict=True)
    }


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
