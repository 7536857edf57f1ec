"""Several optimizers stepped by hand, inputs by name, and fewer outputs than classes train like any other task."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer

import lantu
from lantu.inference.rebuild import rebuild

Train = Callable[..., lantu.Result]
QUICK = ("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1",
         "logger.mlflow.ship=false", "save_model=false")  # fmt: skip
CONF = {
    "task/gan.yaml": "_target_: own_tasks.Adversarial\nfeatures: ${spec.features}\n",
    "model/critic.yaml": "_target_: lantu.models.Linear\nfeatures: ${spec.features}\noutputs: 1\n",
    "model/towers.yaml": "_target_: own_tasks.TwoTowers\nfeatures: ${spec.features}\noutputs: ${spec.outputs}\n",
}
GAN = ("data=digits", "model=critic", "task=gan", "scheduler=cosine", *QUICK)
NAMED = ("data=breast_cancer", "data._target_=own_tasks.NamedTables", "model=towers")


@pytest.fixture(autouse=True)
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config files of the user's own, in a folder that is searched before Lantu's."""
    for name, text in CONF.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(f"# Of a user's own.\n{text}")
    monkeypatch.setenv("LANTU_CONF", str(tmp_path / "conf"))


def series(result: lantu.Result, name: str) -> list[tuple[int, float]]:
    lines = map(json.loads, (result.run_dir / "journal" / "records.jsonl").read_text().splitlines())
    return [(line["step"], line["values"][name]) for line in lines
            if line["kind"] == "metrics" and name in line["values"]]  # fmt: skip


def test_two_optimizers_stepped_by_hand_train_and_are_recorded_at_every_batch(train: Train) -> None:
    result = train(*GAN, "trainer.max_epochs=2", pictures=True)
    steps = [step for step, _ in series(result, "train/loss")]
    assert steps == list(range(len(steps))), "a batch is one step, however many optimizers step"
    assert len(series(result, "train/generator_loss")) == len(steps)
    assert len(series(result, "train/lr")) == len(series(result, "train/lr_2")) == len(steps)
    assert series(result, "train/lr_2")[-1][1] < series(result, "train/lr_2")[0][1], "its schedule is stepped"
    assert list((result.run_dir / "samples").glob("digit*.png")), "what is shown while it trains"


def test_a_task_with_two_optimizers_resumes_to_the_same_weights(train: Train, tmp_path: Path) -> None:
    whole = train(*GAN, "trainer.max_epochs=2", "test=false", f"paths.run={tmp_path}/whole", "scheduler=constant")
    options = ("test=false", f"paths.run={tmp_path}/cut", "scheduler=constant")
    train(*GAN, "trainer.max_epochs=1", *options)
    cut = train(*GAN, "trainer.max_epochs=2", *options, f"resume={tmp_path}/cut")
    for name, weight in whole.module.state_dict().items():
        assert torch.equal(weight, cut.module.state_dict()[name]), name


@pytest.mark.parametrize(
    ("option", "said"),
    [("trainer.gradient_clip_val=1.0", "clip_gradients"), ("trainer.accumulate_grad_batches=2", "data.batch_size")],
)
def test_what_such_a_task_has_to_do_itself_is_refused_with_what_to_do_instead(
    option: str, said: str, train: Train
) -> None:
    with pytest.raises(lantu.UserError, match=f"{option}.*Adversarial steps its optimizers itself.*{said}"):
        train(*GAN, "trainer.max_epochs=1", option)


def test_inputs_by_name_train_and_predict(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    result = train(*NAMED, *QUICK, "trainer.max_epochs=2", pictures=True)
    assert series(result, "speed/latency_ms"), "one example was taken out of a dictionary"
    assert (result.run_dir / "figures" / "roc.png").is_file()
    monkeypatch.setenv("LANTU_TRUSTED", "own_tasks")
    rebuilt = rebuild(result.best_checkpoint)  # type: ignore[arg-type]
    rows: pd.DataFrame = load_breast_cancer(as_frame=True).data.head(5)
    assert set(rebuilt.task.respond(rebuilt.data, rows)["prediction"]) <= {"benign", "malignant"}


def test_a_task_may_ask_the_network_for_another_number_of_outputs_than_the_data_have_classes(train: Train) -> None:
    result = train("data=digits", "model=linear", "task._target_=own_tasks.Ordinal", *QUICK, "trainer.max_epochs=1",
                   pictures=True)  # fmt: skip
    assert result.cfg.spec.outputs == 9
    task: Any = result.module
    probabilities = task.probabilities(task(torch.zeros(2, 1, 8, 8)))
    assert probabilities.shape == (2, 10)
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert (result.run_dir / "figures" / "confusion.png").is_file()


def test_what_a_class_lacks_is_named_with_what_it_is_needed_for() -> None:
    from lantu.data import DataModule
    from lantu.tasks import Task

    class Mine(DataModule):
        pass

    class MyTask(Task):
        pass

    with pytest.raises(lantu.UserError, match=r"Mine` has no method `examples_of`, which is needed to predict"):
        Mine().batches_of([])
    with pytest.raises(lantu.UserError, match=r"MyTask` has no method `predictions`, which is needed to predict"):
        MyTask(torch.nn.Linear(2, 2)).predict_step(torch.zeros(1, 2))
