"""Checkpoints and servers of strangers: nothing they name is executed, and each is answered in a sentence."""

import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import lantu
from lantu.checkpoints.embedded_config import Recipe
from lantu.cli.main import main
from lantu.inference.rebuild import rebuild

Config = dict[str, Any]
CANARY = "CANARY"  # replaced by the path of a file that must not come to be
SHELL = f"touch {CANARY}"
WRITE = {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [CANARY]}, "x"]}
SYSTEM = {"_target_": "os.system", "command": SHELL}
PICKLE = {"_target_": "pandas.read_pickle", "filepath_or_buffer": "PICKLE"}


def _at(path: str, value: Any) -> Callable[[Config], None]:
    """Put a value at a dotted path of the config; mappings are made on the way."""

    def change(config: Config) -> None:
        *parents, last = path.split(".")
        node = config
        for name in parents:
            node = node.setdefault(name, {}) if isinstance(node.get(name, {}), dict) else node
        node[last] = value

    return change


def _both(*changes: Callable[[Config], None]) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for each in changes:
            each(config)

    return change


FORGED: dict[str, Callable[[Config], None]] = {
    # references that are worked out while building
    "interpolated source": _both(_at("evil", PICKLE), _at("data.source", "${evil}")),
    "interpolated target": _both(_at("evil", "os.system"), _at("model", {"_target_": "${evil}", "command": SHELL})),
    "oc.create": _at("data.source", "${oc.create:'{_target_: os.system, command: touch CANARY}'}"),
    "oc.select": _both(_at("evil", SYSTEM), _at("data.source", "${oc.select:evil}")),
    "oc.env": _at("data.source.path", "${oc.env:HOME}"),
    "oc.decode": _at("model.bias", "${oc.decode:'true'}"),
    "reference in a list": _both(_at("evil", SYSTEM), _at("data.classes", ["${evil}"])),
    "reference in a key": _at("data.rename", {"${evil}": 1}),
    "reference in a group that is not built": _at("callbacks.x", "${oc.env:HOME}"),
    "relative reference": _both(_at("model.evil", SYSTEM), _at("model.net", "${.evil}")),
    "hydra resolver": _at("data.source.name", "${now:%Y}"),
    "cwd resolver": _at("data.source.name", "${cwd:}"),
    # functions of the system and of libraries
    "os.system": _at("model", SYSTEM),
    "os.system as task": _at("task", SYSTEM),
    "os.system as data": _at("data", SYSTEM),
    "os.system as peft": _at("peft", SYSTEM),
    "subprocess": _at("model", {"_target_": "subprocess.run", "args": ["touch", CANARY]}),
    "subprocess shell": _at("model", {"_target_": "subprocess.getoutput", "cmd": SHELL}),
    "eval": _at("model", {"_target_": "builtins.eval", "_args_": [f"open('{CANARY}','w')"]}),
    "exec": _at("model", {"_target_": "builtins.exec", "_args_": [f"open('{CANARY}','w')"]}),
    "open": _at("model", {"_target_": "builtins.open", "file": CANARY, "mode": "w"}),
    "io.open": _at("model", {"_target_": "io.open", "file": CANARY, "mode": "w"}),
    "Path.write_text": _at("model", WRITE),
    "Path.touch": _at("model", {"_target_": "pathlib.Path.touch", "_args_": [CANARY]}),
    "shutil": _at("model", {"_target_": "shutil.copy", "src": "/etc/hostname", "dst": CANARY}),
    "importlib": _at("model", {"_target_": "importlib.import_module", "name": "this"}),
    "runpy": _at("model", {"_target_": "runpy.run_path", "path_name": "SCRIPT"}),
    "torch.load": _at("model", {"_target_": "torch.load", "f": "PICKLE", "weights_only": False}),
    "torch.save": _at("model", {"_target_": "torch.save", "obj": 1, "f": CANARY}),
    "torch.hub": _at("model", {"_target_": "torch.hub.load", "repo_or_dir": "FOLDER", "model": "x", "source": "local"}),
    "torch.jit": _at("model", {"_target_": "torch.jit.load", "f": "PICKLE"}),
    "joblib": _at("model", {"_target_": "joblib.load", "filename": "PICKLE"}),
    "pickle": _at("model", {"_target_": "pickle.loads", "_args_": ["x"]}),
    "numpy": _at("model", {"_target_": "numpy.load", "file": "PICKLE", "allow_pickle": True}),
    "numpy save": _at("model", {"_target_": "numpy.save", "file": CANARY, "arr": 1}),
    "read_pickle": _at("data.source", {**PICKLE, "_partial_": True}),
    "yaml": _at("model", {"_target_": "yaml.unsafe_load", "stream": f"!!python/object/apply:os.system ['{SHELL}']"}),
    "hydra": _at("model", {"_target_": "hydra.utils.instantiate", "config": SYSTEM}),
    "hydra get_method": _at("model", {"_target_": "hydra.utils.get_method", "path": "os.system"}),
    "functools.partial": _at("model", {"_target_": "functools.partial", "_args_": [SYSTEM]}),
    "operator": _at("model", {"_target_": "operator.methodcaller", "_args_": ["system", SHELL]}),
    "timeit": _at("model", {"_target_": "timeit.timeit", "stmt": f"open('{CANARY}','w')", "number": 1}),
    "multiprocessing": _at("model", {"_target_": "multiprocessing.Process", "target": "x"}),
    "transformers.pipeline": _at("model", {"_target_": "transformers.pipeline", "task": "x"}),
    "from_pretrained": _at("model", {"_target_": "transformers.AutoModel.from_pretrained", "_args_": ["FOLDER"]}),
    "datasets": _at("data.source", {"_target_": "datasets.load_dataset", "path": "FOLDER", "_partial_": True}),
    "lightning": _at("model", {"_target_": "pytorch_lightning.Trainer", "default_root_dir": CANARY}),
    "lightning module": _at("task", {"_target_": "pytorch_lightning.LightningModule.load_from_checkpoint"}),
    "torchmetrics that downloads": _at("task.extra_metrics.x._target_", "torchmetrics.text.BERTScore"),
    # walks over attributes of what is allowed
    "walk": _at("model", {"_target_": "torch.nn.modules.module.warnings.sys.modules", "_args_": []}),
    "walk to os": _at("model", {"_target_": "lantu.data.sources.os.system", "command": SHELL}),
    "walk through a class": _at("model", {"_target_": "lantu.models.Linear.__init__.__globals__.get", "_args_": ["x"]}),
    "walk through a subclass": _at("model", {"_target_": "lantu.models.cnn.CNN.load_state_dict"}),
    # our own functions that are not building blocks, or elsewhere than they belong
    "our loader": _at("model", {"_target_": "lantu.checkpoints.load.load", "checkpoint": "PICKLE"}),
    "our private function": _at("data.source", {"_target_": "lantu.data.sources._from_hub", "path": "x"}),
    "our private dataset": _at("data.source", {"_target_": "lantu.data.sources._load_dataset", "_args_": ["FOLDER"]}),
    "our build": _at("model", {"_target_": "lantu.config.build.build", "node": SYSTEM}),
    "our command": _at("model", {"_target_": "lantu.cli.main.main", "argv": ["train"]}),
    "our logger": _at("model", {"_target_": "lantu.tracking.RunLogger", "run_dir": CANARY}),
    "a source as a model": _at("model", {"_target_": "lantu.data.text_files", "path": "/etc"}),
    "a source inside the task": _at("task.x", {"_target_": "lantu.data.hub", "path": "owner/name"}),
    "a model as a source": _at("data.source", {"_target_": "lantu.models.gpt2", "folder": "FOLDER", "_partial_": True}),
    "a source that is read at once": _at("data.source._partial_", False),
    # nested in lists, partials and arguments
    "in a list": _at("model.net", [{"_target_": "torch.nn.ReLU"}, [SYSTEM]]),
    "in arguments": _at("model", {"_target_": "torch.nn.Sequential", "_args_": [{"a": [SYSTEM]}]}),
    "in a mapping of data": _at("data.split", {"val": SYSTEM}),
    "in extra metrics": _at("task.extra_metrics", {"kappa": SYSTEM}),
    "in metrics, as a partial": _at("task.extra_metrics", {"kappa": {**SYSTEM, "_partial_": True}}),
    "in peft": _at("peft", {"_target_": "lantu.models.lora", "target_modules": [SYSTEM], "_partial_": True}),
    "arguments of a source": _at("data.source._args_", ["/etc/passwd"]),
    "partial without a target": _at("model.net", {"_partial_": True}),
    "target that is a list": _at("model._target_", ["os.system"]),
    "target that is a mapping": _at("model._target_", {"_target_": "os.system"}),
    "not recursive": _at("model._recursive_", False),
    # options that load something
    "remote code": _at("model.trust_remote_code", True),
    "remote code in a config": _at(
        "model",
        {"_target_": "lantu.models.Transformer", "vocab_size": 9, "outputs": 2, "max_length": 4, "pad_id": 0,
         "config": {"model_type": "bert", "auto_map": {"AutoModel": "evil.Model"}}},
    ),
    "kernels of a hub": _at(
        "model",
        {"_target_": "lantu.models.Transformer", "vocab_size": 9, "outputs": 2, "max_length": 4, "pad_id": 0,
         "config": {"model_type": "bert", "attn_implementation": "evil/kernels"}},
    ),
    "a model type with a backbone": _at(
        "model",
        {"_target_": "lantu.models.Transformer", "vocab_size": 9, "outputs": 2, "max_length": 4, "pad_id": 0,
         "config": {"model_type": "timm_wrapper", "architecture": "resnet18"}},
    ),
    "timm checkpoint": _at(
        "model", {"_target_": "timm.create_model", "model_name": "resnet18", "checkpoint_path": "PICKLE"}
    ),
    "timm hub name": _at("model", {"_target_": "timm.create_model", "model_name": "hf-hub:evil/model"}),
    "timm local folder": _at("model", {"_target_": "timm.create_model", "model_name": "local-dir:FOLDER"}),
    "timm overlay": _at(
        "model",
        {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": True,
         "pretrained_cfg_overlay": {"file": "PICKLE"}},
    ),
    "torchvision weights": _at(
        "model", {"_target_": "torchvision.models.get_model", "name": "resnet18", "weights": "DEFAULT"}
    ),
    # sources that leave where they belong
    "address as a path": _at("data.path", "http://127.0.0.1:9/table.csv"),
    "address in a source": _at(
        "data.source", {"_target_": "lantu.data.table_file", "path": "https://example.org/x.csv", "_partial_": True}
    ),
    "hub path": _at("data.source", {"_target_": "lantu.data.hub", "path": "/etc", "_partial_": True}),
    "hub above": _at("data.source", {"_target_": "lantu.data.hub", "path": "../evil", "_partial_": True}),
    "mirror folder above": _at(
        "data.source",
        {"_target_": "lantu.data.hub", "path": "a/b", "mirror": "/", "mirror_folder": "../etc", "_partial_": True},
    ),
    "table above": _at(
        "data.source",
        {"_target_": "lantu.data.rdatasets", "package": "a/../../x", "item": "b", "_partial_": True},
    ),
    "option of a source": _at("data.source", {"_target_": "lantu.data.hub", "path": "a/b", "trust_remote_code": True,
                                              "_partial_": True}),
    # the newer rooms
    "a part of a fusion": _at("model", {"_target_": "lantu.models.Fusion", "image": SYSTEM, "outputs": 2}),
    "deep in a fusion": _at(
        "model", {"_target_": "lantu.models.Fusion", "image": {"_target_": "lantu.models.CNN", "norm": SYSTEM}}
    ),
    "condition of a vocoder": _at("model", {"_target_": "lantu.models.WaveNet", "condition": SYSTEM}),
    "backbone of a detector": _at(
        "model",
        {"_target_": "lantu.models.TransformersDetector", "classes": 2,
         "config": {"model_type": "rt_detr", "backbone_config": {"model_type": "timm_backbone", "backbone": "x"}}},
    ),
    "code of a speech model": _at(
        "model",
        {"_target_": "lantu.models.TransformersSpeech",
         "config": {"model_type": "whisper", "auto_map": {"AutoModel": "evil.M"}}},
    ),
    "calibration": _at("calibration", SYSTEM),
    "business": _at("business", {"_target_": "lantu.decisions.Decision", "price": SYSTEM}),
    "registry": _at("model", {"_target_": "lantu.registry.commands.job"}),
    "exported model": _at("model", {"_target_": "torch.export.load", "f": "PICKLE"}),
    "ONNX": _at("model", {"_target_": "onnxruntime.InferenceSession", "path_or_bytes": "PICKLE"}),
    "plan": _at("model", {"_target_": "lantu.planning.plan"}),
    "our writer of files": _at("model", {"_target_": "lantu.whole_files.write_whole", "path": CANARY, "text": "x"}),
    "MLflow model": _at("model", {"_target_": "mlflow.pyfunc.load_model", "model_uri": "FOLDER"}),
    "mirror table above": _at(
        "data.source",
        {"_target_": "lantu.data.mirror_table", "file": "../../etc/passwd", "mirror": "/tmp", "_partial_": True},
    ),
    "weights of equal shares": _at(
        "data.source", {"_target_": "lantu.data.equal_weight", "source": SYSTEM, "_partial_": True}
    ),
    "labels": _at("task", {"_target_": "lantu.tasks.MultiLabel", "label_names": SYSTEM}),
    "levels of risk": _at("task", {"_target_": "lantu.tasks.MarketRisk", "levels": SYSTEM}),
    "dots of another script": _at("model._target_", "os\u2024system"),
    "two lines": _at("model._target_", "lantu.models.Linear\nos.system"),
    "a number beyond all": _at("model.features", 10**30),
    # shapes that are none
    "no data": lambda config: config.pop("data"),
    "data that are text": _at("data", "os.system"),
    "model that is a list": _at("model", [SYSTEM]),
    "very deep": _at("model.net", json.loads('{"a":' * 200 + "1" + "}" * 200)),
    "bytes": _at("model.net", b"os.system"),
    "tensor": _at("model.features", torch.zeros(3)),
    "another size": _at("model.features", 3),
    "no options": _at("model", {"_target_": "lantu.models.GPT"}),
}  # fmt: skip
STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no data state": lambda loaded: loaded.pop("ImageDataModule"),
    "learned nothing": lambda loaded: loaded["ImageDataModule"].update(learned={}),
    "learned a list": lambda loaded: loaded["ImageDataModule"].update(learned=[1]),
    "learned a wrong shape": lambda loaded: loaded["ImageDataModule"]["learned"].update(shape="../../x"),
    "a spec that is text": lambda loaded: loaded["ImageDataModule"].update(spec="tokens"),
    "no weights": lambda loaded: loaded.pop("state_dict"),
    "weights that are none": lambda loaded: loaded.update(state_dict={"x": 1}),
    "callbacks that are a list": lambda loaded: loaded.update(callbacks=[1]),
    "no config": lambda loaded: loaded["callbacks"][Recipe.KEY].pop("config"),
    "config that is text": lambda loaded: loaded["callbacks"][Recipe.KEY].update(config="os.system"),
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a checkpoint of a short run on digits holds."""
    folder = tmp_path_factory.mktemp("honest")
    options = ("trainer.max_steps=2", "trainer.enable_progress_bar=false", "logger=none", "callbacks=checkpoint")
    result = lantu.run(lantu.compose("model=linear", *options, f"paths.root={folder}"))
    assert result.best_checkpoint is not None
    return torch.load(result.best_checkpoint, weights_only=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a hostile pickle, a script and a folder that a forged config may name."""
    import pickle

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    script = f"open({str(tmp_path / 'canary')!r}, 'w')"
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "folder" / "hubconf.py").write_text(script)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_Evil(str(tmp_path / "canary"))))
    return tmp_path


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def _placed(node: Any, place: Path) -> Any:
    """A forged node with the names of real files in it."""
    names = {CANARY: "canary", "PICKLE": "evil.pkl", "SCRIPT": "script.py", "FOLDER": "folder"}
    if isinstance(node, dict):
        return {_placed(key, place): _placed(each, place) for key, each in node.items()}
    if isinstance(node, list):
        return [_placed(each, place) for each in node]
    for name, file in names.items():
        node = node.replace(name, str(place / file)) if isinstance(node, str) else node
    return node


def _answer(arguments: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says; it ends with status 2 in a sentence, and nothing foreign has been executed."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert not (place / "canary").exists()
    assert said.count("\n") <= 2
    return said


def _sentence(place: Path) -> str:
    """What rebuilding the forged checkpoint says."""
    with pytest.raises(lantu.UserError) as refusal:
        rebuild(place / "forged.ckpt")
    assert not (place / "canary").exists()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_config_executes_nothing_and_is_answered_in_a_sentence(
    forgery: str, honest: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = deepcopy(honest)
    FORGED[forgery](loaded["callbacks"][Recipe.KEY]["config"])
    state = loaded["callbacks"][Recipe.KEY]
    state["config"] = _placed(state["config"], place)
    torch.save(loaded, place / "forged.ckpt")
    if forgery in ("interpolated source", "os.system", "remote code", "no data"):
        said = _answer(["evaluate", "run=forged.ckpt"], place, capsys)
    else:  # the same without composing a command each time, which takes most of a second
        said = _sentence(place)
    for module in ("os", "subprocess", "builtins", "torch", "pandas", "joblib", "transformers", "hydra", "pickle"):
        assert f"LANTU_TRUSTED={module}" not in said


@pytest.mark.parametrize("forgery", STATES)
def test_a_forged_state_executes_nothing_and_is_answered_in_a_sentence(
    forgery: str, honest: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = deepcopy(honest)
    STATES[forgery](loaded)
    torch.save(loaded, place / "forged.ckpt")
    Image.new("L", (8, 8)).save(place / "folder" / "new.png")
    _answer(["predict", "run=forged.ckpt", "input=folder"], place, capsys)


def test_an_honest_checkpoint_is_still_measured(honest: dict[str, Any], place: Path) -> None:
    torch.save(honest, place / "honest.ckpt")
    assert main(["evaluate", "run=honest.ckpt"]) == 0


def test_a_cache_folder_that_a_config_names_is_not_written_to(
    honest: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = deepcopy(honest)
    loaded["callbacks"][Recipe.KEY]["config"]["data"]["cache"] = str(place / "elsewhere")
    torch.save(loaded, place / "forged.ckpt")
    assert main(["evaluate", "run=forged.ckpt"]) == 0
    assert not (place / "elsewhere").exists()


class _Hostile(BaseHTTPRequestHandler):
    """An MLflow server that offers a forged checkpoint, under a run id or a name that leaves the cache folder."""

    checkpoint: Path
    run_id: str
    run_dir: str
    artifact_uri = "mlflow-artifacts:/0/x/artifacts"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/runs/get"):
            self._say(json.dumps({"run": self._run()}).encode())
        elif path.endswith("/artifacts/list") or path.endswith("/mlflow-artifacts/artifacts"):
            at = "" if "mlflow-artifacts" in path else "checkpoints/"
            files = [{"path": f"{at}best.ckpt", "is_dir": False, "file_size": 1}]
            self._say(json.dumps({"root_uri": "mlflow-artifacts:/0/x/artifacts", "files": files}).encode())
        elif path.endswith("best.ckpt"):
            self._say(self.checkpoint.read_bytes())
        else:
            self._say(b"{}")

    do_POST = do_GET

    def _run(self) -> dict[str, Any]:
        info = {
            "run_id": self.run_id,
            "run_uuid": self.run_id,
            "run_name": "[/x]\x1b[2J",
            "experiment_id": "0",
            "status": "FINISHED",
            "lifecycle_stage": "active",
            "artifact_uri": self.artifact_uri,
        }
        return {"info": info, "data": {"tags": [{"key": "lantu.run_dir", "value": self.run_dir}]}, "inputs": {}}

    def _say(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real HTTP server on loopback."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("run_id", ["0123456789abcdef0123456789abcdef", "../../../escaped", "/escaped", ""])
def test_a_hostile_server_executes_nothing_and_writes_only_into_the_cache(
    run_id: str, hostile: str, honest: dict[str, Any], place: Path, *,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("LANTU_CACHE")  # the cache of the store, where all that is written can be found
    loaded = deepcopy(honest)
    FORGED["os.system"](loaded["callbacks"][Recipe.KEY]["config"])
    state = loaded["callbacks"][Recipe.KEY]
    state["config"] = _placed(state["config"], place)
    torch.save(loaded, place / "forged.ckpt")
    _Hostile.checkpoint, _Hostile.run_id, _Hostile.run_dir = place / "forged.ckpt", run_id, "/nowhere"
    said = _answer(["evaluate", "run=0123456789abcdef", f"paths.tracking_uri={hostile}"], place, capsys)
    assert "\x1b" not in said
    written = {file for file in place.rglob("*.ckpt") if file.name != "forged.ckpt"}
    assert all((place / "mlruns" / "cache" / "downloads") in file.parents for file in written)
    assert not (place.parent / "escaped").exists()


@pytest.fixture
def private(honest: dict[str, Any], place: Path) -> Path:
    """A folder with a checkpoint that no server has a right to."""
    (place / "private" / "checkpoints").mkdir(parents=True)
    torch.save(honest, place / "private" / "checkpoints" / "best.ckpt")
    return place / "private"


@pytest.mark.parametrize("named", ["run_dir", "artifact_uri"])
def test_a_server_cannot_name_a_folder_of_this_machine_to_be_read(
    named: str, hostile: str, private: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Hostile, "run_id", "0123456789abcdef0123456789abcdef", raising=False)
    monkeypatch.setattr(_Hostile, "checkpoint", private / "nothing.ckpt", raising=False)
    monkeypatch.setattr(_Hostile, "run_dir", str(private) if named == "run_dir" else "/nowhere", raising=False)
    if named == "artifact_uri":
        monkeypatch.setattr(_Hostile, "artifact_uri", f"file://{private}")
    (private / "nothing.ckpt").write_bytes(b"PK, and no archive")
    assert main(["evaluate", "run=0123456789abcdef", f"paths.tracking_uri={hostile}"]) == 2
    said = capsys.readouterr().err
    assert "is read from" not in said
    if named == "artifact_uri":
        assert f"lie in {private} on this machine" in said


def test_no_forgery_is_listed_twice_and_there_are_at_least_sixty() -> None:
    base = {"data": {}, "model": {}, "task": {}}
    made = []
    for forge in FORGED.values():
        config = deepcopy(base)
        if forge.__name__ != "<lambda>":
            forge(config)
            made.append(repr(config))
    assert len(set(made)) == len(made) >= 60
    assert OmegaConf.create(base) == base
