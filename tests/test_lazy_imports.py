"""Starting sooner changes when things are imported, and nothing else."""

import gc
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from lantu.lazy_imports import gc_paused
from tests.warm import run_warm

LIST = """
import importlib, json, pkgutil, sys
LATE = ["matplotlib", "scipy.signal", "scipy.stats", "sklearn", "sympy", "torchvision", "transformers"]
loaded = [name for name in LATE if name in sys.modules]
asked = json.load(sys.stdin)
import torchmetrics
packages = [each.name for each in pkgutil.walk_packages(torchmetrics.__path__, "torchmetrics.") if each.ispkg]
found = {}
for package in map(importlib.import_module, ["torchmetrics", *packages]):
    names = asked.get(package.__name__) or [
        each for each in dir(package) if each[0] != "_" and each != "scipy"  # which one package lets show through
    ]
    things = [(name, getattr(package, name)) for name in names]
    found[package.__name__] = {name: getattr(it, "__qualname__", getattr(it, "__name__", "")) for name, it in things}
print(json.dumps([loaded, found]))
"""


OFF = """
from lantu import lazy_dynamo, lazy_imports
assert not [each for each in sys.meta_path if type(each).__module__.startswith("lantu.lazy")]
import torch._dynamo, torchmetrics.utilities
assert "torch._dynamo.eval_frame" in sys.modules and lazy_dynamo.is_loaded()
assert "accuracy" in vars(torchmetrics.functional)
"""
OTHER_VERSIONS = """
from lantu import lazy_dynamo, lazy_imports
lazy_dynamo.TESTED = newer = ((90, 0), (91, 0))
lazy_imports.TESTED.update(torchmetrics=newer, timm=newer)
import torch._dynamo, torchmetrics.utilities, timm.optim
assert "timm.models" in sys.modules
assert "torch._dynamo.eval_frame" in sys.modules and lazy_dynamo.is_loaded()
assert "accuracy" in vars(torchmetrics.functional)
"""


def said_by(program: str, *, switch: str = "1", standard_input: str = "") -> str:
    """What a fresh process says."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], input=standard_input, capture_output=True, text=True,
        check=False, env={**os.environ, "LANTU_LAZY_IMPORTS": switch},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(
    before: str, asked: dict[str, dict[str, str]], *, switch: str = "1"
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Of a fresh process: which of the heavy modules it has loaded, and torchmetrics' names and what they stand for."""
    loaded, found = json.loads(said_by(before + LIST, switch=switch, standard_input=json.dumps(asked)).splitlines()[-1])
    return loaded, found


def test_torchmetrics_means_the_same_by_every_name_but_loads_it_when_asked() -> None:
    _, without = listed(OFF, {}, switch="0")  # the switch leaves every import as it is
    loaded, found = listed("import lantu.training, lantu.data, lantu.models", without)
    assert loaded == []
    assert len(without) > 30
    assert found == without


OPTIMIZERS = """
import json, sys, timm.optim
names = NAMES or [each for each in dir(timm.optim) if each[0] != "_"]
alone = not any(each.startswith("timm.models") for each in sys.modules)
things = {name: getattr(getattr(timm.optim, name), "__module__", name) for name in names}
import timm
print(json.dumps([alone, things, [timm.__version__, timm.create_model("resnet18", num_classes=2).num_classes]]))
"""


def test_an_optimizer_of_timm_loads_no_models_and_they_are_there_when_asked_for() -> None:
    eager, expected, same = json.loads(said_by(OPTIMIZERS.replace("NAMES", "[]"), switch="0"))
    lazily = OPTIMIZERS.replace("NAMES", repr(list(expected)))
    alone, found, made = json.loads(said_by(f"import lantu.training, lantu.optim.muon\n{lazily}"))
    assert (alone, eager) == (True, False)
    assert found == expected
    assert made == same


def test_a_metric_that_needs_transformers_works_when_it_is_asked_for() -> None:
    import torch
    from torchmetrics.text import BERTScore
    from transformers import BertConfig, BertModel

    class Tokenizer:
        def __call__(self, texts: list[str], *_: object, **__: object) -> dict[str, object]:
            rows = torch.tensor([[2, *(4 + ord(sign) % 30 for sign in text[:6].ljust(6)), 3] for text in texts])
            return {"input_ids": rows, "attention_mask": torch.ones_like(rows)}

    torch.manual_seed(0)
    form = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    score = BERTScore(model=BertModel(form), user_tokenizer=Tokenizer(), num_layers=1, max_length=8)
    assert score(["a cat sat"], ["a cat sat"])["f1"].item() == pytest.approx(1, abs=1e-4)


COMPILED = """
import sys
import lantu.training, torch, torchvision
from lantu.cost.work import forward_flops
from lightning_fabric.wrappers import OptimizedModule, _unwrap_compiled
from torch import nn
assert "torch._dynamo.eval_frame" not in sys.modules
net = nn.Linear(3, 2)
optimizer = torch.optim.AdamW(net.parameters())
def step(module):
    optimizer.zero_grad()
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
step(net)
assert forward_flops(net, torch.ones(1, 3)) == 12
assert not isinstance(net, OptimizedModule)
assert "torch._dynamo.eval_frame" not in sys.modules, "a step or its measuring has loaded the compiler"
FIRST_USE
import torch._dynamo.eval_frame as parts
assert sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
assert parts is sys.modules["torch._dynamo.eval_frame"] is torch._dynamo.eval_frame
compiled = torch.compile(net, backend="eager")
assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch._dynamo.OptimizedModule)
assert not isinstance(net, OptimizedModule)
assert _unwrap_compiled(compiled)[0] is net
step(compiled)
expected = net(torch.ones(1, 3))
assert forward_flops(compiled, torch.ones(1, 3)) == 12
torch.testing.assert_close(compiled(torch.ones(1, 3)), expected)
counted = torch._dynamo.utils.counters["stats"]["calls_captured"]
assert counted > 0, "nothing was compiled"
"""


@pytest.mark.parametrize(
    "first_use",
    [
        "import torch._dynamo.eval_frame",
        "torch.compile(net)",
        'assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") is True',
        "from torch._dynamo.utils import counters",
    ],
)
def test_the_compiler_is_loaded_when_something_is_compiled_and_works_as_usual(first_use: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(COMPILED.replace("FIRST_USE", first_use))
    done = run_warm([sys.executable, program], cwd=tmp_path)  # after all that a training imports
    assert done.returncode == 0, done.stderr


def test_other_versions_import_as_usual() -> None:
    said_by(OTHER_VERSIONS)


def test_a_metric_still_plots_itself() -> None:
    import matplotlib.pyplot as plt
    import torch
    from torchmetrics import MeanMetric

    metric = MeanMetric()
    metric.update(torch.ones(3))
    figure, _ = metric.plot()
    assert figure.axes
    plt.close(figure)


def test_a_function_goes_before_the_module_of_its_name() -> None:
    import_module("torchmetrics.functional.text.squad")
    from torchmetrics.functional import text

    assert callable(text.squad)


def test_speech_metrics_still_mend_scipy_for_old_packages() -> None:
    import_module("torchmetrics.audio")
    import_module("torchmetrics.functional.audio")
    assert hasattr(import_module("scipy.signal"), "hamming")


def test_the_garbage_collector_is_as_it_was_after_imports() -> None:
    assert gc.isenabled()
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.parametrize(
    "package", ["lantu", "lantu.cost", "lantu.data", "lantu.decisions", "lantu.models", "lantu.tasks", "lantu.tracking"]
)
def test_every_name_that_a_package_exports_can_be_imported(package: str) -> None:
    module = import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
