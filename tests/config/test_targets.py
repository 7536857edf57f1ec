"""What a stored config may name, and what building says of options that cannot be."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lantu.config import allowed_targets
from lantu.config.allowed_targets import (
    ADAPTERS,
    AUGMENTATIONS,
    DATA,
    LAYERS,
    LOSSES,
    METRICS,
    MODELS,
    SOURCES,
    TASKS,
    TRANSFORMS,
)
from lantu.config.build import build
from lantu.config.composing import compose
from lantu.config.foreign import BUILT, closed
from lantu.errors import UserError

EVERY = sorted(DATA | SOURCES | MODELS | LAYERS | ADAPTERS | TASKS | LOSSES | METRICS)
READS = SOURCES | {"lantu.models.gpt2"}
"""Entries that read plain data by design."""
CONF = Path(__file__).resolve().parents[2] / "conf"


def test_the_list_of_what_a_stored_config_may_build_is_read_in_one_screen() -> None:
    assert inspect.getsource(allowed_targets).count("\n") <= 120


def test_every_entry_is_a_class_or_a_function_under_its_public_name() -> None:
    from hydra.utils import get_object
    from pytorch_lightning import LightningDataModule
    from torch import nn
    from torchmetrics import Metric

    for target in EVERY:
        found = get_object(target)
        assert not any(part.startswith("_") for part in target.split(".")), target
        assert found.__module__.split(".")[0] == target.split(".")[0], f"{target} is {found.__module__}'s"
        if isinstance(found, type):
            # torchmetrics' front classes choose one of their kind in `__new__` and are no modules themselves
            assert issubclass(found, nn.Module | Metric | LightningDataModule) or target in METRICS, target
        else:
            assert target in SOURCES | ADAPTERS | {"timm.create_model", "torchvision.models.get_model", *READS}, target


@pytest.mark.slow
def test_building_the_entries_opens_no_file_starts_no_process_and_unpickles_nothing() -> None:
    """Python's audit hooks see every `open`, connection, process and pickle, also inside libraries."""
    program = """
import sys
from inspect import signature
from hydra.utils import get_object
from lantu.config.allowed_targets import ADAPTERS, CALIBRATIONS, DATA, DECISIONS, LAYERS, LOSSES, METRICS, MODELS, TASKS
import torch, pytorch_lightning, torchmetrics, transformers.models.bert.modeling_bert, lantu.data, lantu.tasks
VALUES = dict(task="multiclass", num_classes=3, num_labels=3, num_bins=3, normalized_shape=4, kernel_size=1,
              num_groups=1, unflattened_size=(1, 1), dim=1, padding_idx=None, vocab_size=9, channels=1, outputs=2,
              features=4, pad_id=0, context=4, model_name="resnet18", name="resnet18", min_size=4, max_length=4,
              per_token=False, config={"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2},
              classes=2, delta=1.0, p=1, beta=1.0, target="y", path="x.csv", text="t", question="q", answer="a",
              places=8, nhead=1, d_model=1, embed_dim=1, num_heads=1, num_features=1, bands=40, kind="fcos",
              class_names=["a", "b"], characters=["a", "b"], slot_sizes=[3, 2],
              slots=[{"name": "a", "values": ["", "b"], "prefixes": []}], modalities=["image"], end_id=1, size=8)
TOWER = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
CLIP = {"model_type": "clip", "text_config": TOWER, "vision_config": {**TOWER, "patch_size": 8}}
DETR = {"model_type": "detr", "num_queries": 5, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "backbone_config": {
            "model_type": "resnet", "layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8],
            "depths": [1, 1, 1, 1], "out_features": ["stage4"]}}
GAN = dict(channels=1, height=32, width=32, classes=2, pixel_mean=[0.5], pixel_std=[0.5])
SPEECH = {"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
          "intermediate_size": 16, "conv_dim": [8], "conv_stride": [2], "conv_kernel": [3],
          "num_conv_pos_embeddings": 4,
          "num_conv_pos_embedding_groups": 2, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
SPECIAL = {
    "lantu.data.SynthesisDataModule": {"path": "x"}, "lantu.models.DCGAN": GAN, "lantu.models.R3GAN": GAN,
    "lantu.models.WaveNet": {"characters": 4}, "lantu.tasks.MarketRisk": {"horizon": 1, "target_names": ["a"]},
    "lantu.tasks.Forecasting": {"target_names": ["a"]}, "lantu.tasks.Verification": {"class_counts": [2, 2]},
    "lantu.models.TransformersSpeech": {"config": SPEECH},
    "lantu.models.SeriesTransformer": {"steps": 8, "config": {"model_type": "patchtst", "patch_length": 4,
        "patch_stride": 4, "d_model": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "ffn_dim": 8}},
}
built = {}
def make(target):
    found = get_object(target)
    wanted = signature(found).parameters.values()
    given = {each.name: VALUES[each.name] if each.name in VALUES else 4 for each in wanted
             if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.default is each.empty}
    if "path" in signature(found).parameters: given["path"] = "x.csv"
    if target.startswith("lantu.models") and "config" in signature(found).parameters: given["config"] = VALUES["config"]
    if target.endswith("TransformersDetector"): given["config"] = DETR
    if target.endswith("ImageTextModel"): given["config"] = CLIP
    if target.endswith("MultimodalDataModule"): given["text"] = "t"
    if target.endswith("Scorecard"): given["columns"] = [dict(name="a", bins=["b"], woe=[0.1], rows=[9], positives=[3])]
    if target.endswith("Decision"): given["profit"] = dict.fromkeys(("false_negative", "false_positive"), 0.0) | {
        "true_negative": 1.0, "true_positive": 1.0}
    given.update(SPECIAL.get(target, {}))
    if target.endswith("tasks.Adversarial"): given["net"] = get_object("lantu.models.DCGAN")(**GAN)
    if target.endswith("models.Fusion"): given["image"] = torch.nn.Linear(4, 2)
    if "task" in given or "Multiclass" in target: given.update(num_classes=3)
    if target.endswith("ExactMatch"): given.update(num_labels=3)
    if target in ("torch.nn.RNN", "torch.nn.GRU", "torch.nn.LSTM"): given = {"input_size": 4, "hidden_size": 4}
    if target == "lantu.tasks.Answering": given.update(bytes_per_token=1.0, context=4, net=torch.nn.Linear(4, 2))
    for name in ("net", "module"):
        if name in given and not target.endswith("Adversarial"): given[name] = torch.nn.Linear(4, 2)
    try:
        found(**given)
        built[target] = True
    except Exception as error:
        built[target] = repr(error)[:80]
targets = sorted((MODELS | LAYERS | LOSSES | METRICS | TASKS | DATA | CALIBRATIONS | DECISIONS) - {"lantu.models.gpt2"})
for target in targets: make(target)    # whatever is imported late is imported now
seen = []
def hook(event, args):
    if not watching: return
    writes = event == "open" and not (isinstance(args[1], str) and set(args[1]) <= set("rbt"))
    if event == "open" and not writes and str(args[0]).endswith((".py", ".pyc")): return
    if event in ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
                 "os.posix_spawn", "pickle.find_class", "shutil.copyfile", "urllib.Request", "os.mkdir", "os.remove"):
        seen.append((event, str(args)[:120]))
sys.addaudithook(hook)
watching = False
for target in targets:
    before = len(seen); watching = True; make(target); watching = False
    if len(seen) > before: print(target, seen[before:])
unbuilt = {target: why for target, why in built.items() if why is not True}
print("UNBUILT", len(unbuilt), unbuilt, file=sys.stderr)
sys.exit(bool(seen) or len(unbuilt) > 3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_whatever_is_shipped_in_conf_may_be_rebuilt() -> None:
    data = DATA | SOURCES | AUGMENTATIONS | TRANSFORMS
    for part, entries in {"data": data, "augment": data, "model": MODELS, "task": TASKS, "peft": ADAPTERS}.items():
        for file in (CONF / part).glob("*.yaml"):
            named = re.findall(r"_target_: *([\w.]*\w)(?!\.)", file.read_text())
            assert set(named) <= entries, f"{file.name} names something that src/lantu/config/allowed_targets.py lacks"


def test_the_source_of_every_shipped_data_set_may_be_rebuilt_with_all_its_options() -> None:
    for file in (CONF / "data").glob("*.yaml"):
        node = OmegaConf.create(re.sub(r"\$\{[^}]*\}", "folder/file", file.read_text()))
        source = OmegaConf.to_container(node).get("source")  # type: ignore[union-attr]
        found = closed({"data": {"source": source}})["data"]["source"]
        assert {**(found or {}), "make": None} == {**(source or {}), "make": None}, file.name


@pytest.mark.parametrize("source", ["spoken_sentences", "joined_recordings"])
def test_a_stored_config_never_starts_the_program_that_speaks(source: str) -> None:
    stored = {"_target_": f"lantu.data.{source}", "_partial_": True, "path": "x", "spoken": "~/.config", "make": True}
    assert closed({"data": {"source": stored}})["data"]["source"]["make"] is False


def test_what_is_checked_is_what_is_built() -> None:
    stored = {"model": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]}, "seed": 3}
    plain = closed(stored)
    stored["model"]["_args_"][0]["_target_"] = "os.system"  # type: ignore[index]
    assert plain["model"]["_args_"][0]["_target_"] == "torch.nn.ReLU"
    assert set(BUILT) <= set(plain)
    assert plain["seed"] == 3


def test_published_weights_are_not_fetched_again() -> None:
    network = {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": True}
    plain = closed({"model": {"_target_": "lantu.models.Upscale", "net": network, "min_size": 4}})
    assert plain["model"]["net"]["pretrained"] is False


def test_a_user_can_trust_a_package_of_their_own_but_not_what_is_reached_through_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my_networks.py").write_text("import os\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="If `my_networks` is your own package, type `LANTU_TRUSTED=my_networks`"):
        closed({"model": {"_target_": "my_networks.Mine"}})
    monkeypatch.setenv("LANTU_TRUSTED", "my_networks")
    closed({"model": {"_target_": "my_networks.Mine"}})
    with pytest.raises(UserError, match="may not build there"):
        closed({"model": {"_target_": "my_networks.os.system"}})


@pytest.mark.parametrize("name", ["os", "subprocess", "builtins", "sys", "os.path"])
def test_python_itself_cannot_be_trusted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANTU_TRUSTED", name)
    with pytest.raises(UserError, match="part of Python"):
        closed({"model": {"_target_": "os.system"}})


@pytest.mark.parametrize(
    "target", ["os.system", "torch.load", "joblib.load", "yaml.unsafe_load", "lantu.run", "no.such"]
)
def test_trust_is_not_suggested_for_python_or_for_libraries(target: str) -> None:
    with pytest.raises(UserError) as refusal:
        closed({"model": {"_target_": target}})
    assert "LANTU_TRUSTED" not in str(refusal.value)


def test_a_local_config_may_name_anything() -> None:
    assert build(OmegaConf.create({"_target_": "fractions.Fraction", "numerator": 3})) == 3
    assert compose("model=linear", "model._target_=torch.nn.Linear").cfg.model._target_ == "torch.nn.Linear"


def test_a_constructor_that_refuses_its_options_is_quoted() -> None:
    with pytest.raises(UserError, match=r"`torch.nn.Dropout` refuses its options: .*between 0 and 1"):
        build(OmegaConf.create({"_target_": "torch.nn.Dropout", "p": 3.0}))


def test_an_empty_node_builds_nothing() -> None:
    assert build(OmegaConf.create({})) is None
    assert build(None) is None


def test_given_objects_reach_the_constructor() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = build({"_target_": "torch.optim.SGD", "lr": 0.5}, params=[parameter])
    assert optimizer.param_groups[0]["lr"] == 0.5
