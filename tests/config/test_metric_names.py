"""A monitor or objective that no run of a task logs is refused with the near misses, before anything is imported."""

import pytest

import lantu.tasks
from lantu.config.checking import check
from lantu.config.composing import compose
from lantu.config.metric_names import _LOGGED, check_monitored, is_logged
from lantu.errors import UserError

STOPPING = "callbacks=[default,early_stopping]"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["callbacks.checkpoint.monitor=val/acuracy"], "Did you mean `val/accuracy`"),
        ([STOPPING, "callbacks.early_stopping.monitor=val_loss"], "Did you mean `val/loss`"),
        (
            ["data=ames", "model=mlp", "callbacks.checkpoint.monitor=val/accuracyy"],
            r"What it may log: val/loss, val/mae, val/mse",
        ),
        (["data=bccd", "model=yolo", "callbacks.checkpoint.monitor=val/map50"], "Did you mean `val/map_50`"),
        (["data=fsdd", "model=speech_cnn", STOPPING, "callbacks.early_stopping.monitor=cost/usd"], "does not log"),
        (["sweep.objective=val/acc_best"], "does not log that metric"),
        (["sweep.objective=[val/loss_best,cost/usdd]"], "Did you mean `cost/usd`"),
    ],
)
def test_what_is_never_logged_is_refused_with_the_near_misses(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(compose(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["callbacks.checkpoint.monitor=val/accuracy", "sweep.objective=[val/loss_best,cost/usd,speed/latency_ms]"],
        ["data=ames", "model=mlp", "callbacks.checkpoint.monitor=val/r2"],
        ["callbacks.checkpoint.monitor=val/f1/slice/region/north", "task.slices=[region]"],
        ["+task.extra_metrics.kappa._target_=torchmetrics.CohenKappa", "callbacks.checkpoint.monitor=val/kappa"],
        ["callbacks.checkpoint.monitor=val/own", "+callbacks.mine._target_=mine.Callback"],
        ["task._target_=mine.Task", "callbacks.checkpoint.monitor=val/own"],
    ],
)
def test_what_may_be_logged_is_not_refused(overrides: list[str]) -> None:
    check_monitored(compose(*overrides).cfg)


def test_every_task_that_a_config_names_has_its_metrics_listed() -> None:
    tasks = {name for name in lantu.tasks.__all__ if hasattr(getattr(lantu.tasks, name), "training_step")}
    assert tasks - {"Task", "TaskByLanguage", "TokenTask"} == set(_LOGGED)
    assert all(is_logged("val/loss", f"lantu.tasks.{name}") for name in _LOGGED)
    assert not is_logged("val/accuracy", "lantu.tasks.Regression")
