"""Build the task of a config with its network, optimizer and schedule."""

from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, open_dict

from lantu.config.build import build, decided_parts
from lantu.errors import UserError
from lantu.models.activation_checkpointing import checkpoint_activations
from lantu.tasks import Task
from lantu.training.loop.compile import compile_loss, speed_up


def task_class(node: DictConfig) -> type[Task]:
    """The class of a task that a node of the config names.

    Raises:
        UserError: it is not a task.
    """
    found = get_object(str(node["_target_"]))
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"`task._target_={node['_target_']}` is no task: it must be a class made from `lantu.tasks.Task`."
        )
    return found


def build_task(cfg: DictConfig) -> Task:
    """Build the task with its network, initialised and with adapters."""
    net = build(cfg.model)
    if cfg.model.get("pretrained") and hasattr(net, "form"):
        with open_dict(cfg):  # to rebuild the network without the folder of the weights
            cfg.model.config = net.form
    initialise = build(cfg.init)
    if initialise is not None:
        initialise(net)
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    return build(cfg.task, net=net, optimizer=optimizer, scheduler=scheduler, **_decided_parts(cfg))


def _decided_parts(cfg: DictConfig) -> dict[str, Any]:
    """The calibration and the decision of the config; refused for a task without class probabilities."""
    parts = decided_parts(cfg)
    if parts and not task_class(cfg.task).decides:
        group = "calibration" if "calibration" in parts else "business"
        chosen = cfg.choices.get(group) if "choices" in cfg else "..."
        raise UserError(
            f"`{group}={chosen}` needs the probabilities of classes, and `task={cfg.choices.get('task')}` has none: "
            f"leave it out (`{group}=none`)."
        )
    return parts


def make_efficient(task: Task, cfg: DictConfig) -> None:
    """Apply the options that save memory or time without changing the result."""
    if cfg.activation_checkpointing:
        checkpoint_activations(task.net)
    speed_up(task.net, compiled=cfg.compile, channels_last=cfg.channels_last)
    if cfg.compile:
        compile_loss(task)
