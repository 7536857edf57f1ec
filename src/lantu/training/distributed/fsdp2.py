"""A strategy that shards weights, gradients and optimizer state over all devices (FSDP2)."""

from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim import Optimizer

from lantu.checkpoints.checkpoint_file import CheckedFiles
from lantu.errors import UserError


class Sharded(ModelParallelStrategy):
    """Lightning's FSDP2 strategy with one mesh of all devices, and checkpoints like those of any other run.

    Lightning numbers the optimizer's states by the order of weights in the model; torch numbers them by their order in
    the parameter groups. Loading one format as the other would silently assign moments to the wrong weights. So
    checkpoints are written and read in torch's order, and a run can resume with another strategy or number of devices.

    Args:
        options: `timeout` and `process_group_backend` of Lightning's strategy.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        """Set up the process group.

        Raises:
            UserError: a callback needs the whole network on one device.
        """
        trainer = self.lightning_module.trainer if self.lightning_module else None
        if trainer and any(isinstance(each, WeightAveraging) for each in trainer.callbacks):
            raise UserError(
                "an average of the weights (`callbacks.ema`) is a second, whole copy of the network, and "
                "`trainer=fsdp` leaves no device with a whole one: leave `ema` out, or use `trainer=ddp`."
            )
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the full state on rank zero, and nothing on others. All ranks must call it."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        inner = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        assert self.model is not None
        named: Any = get_optimizer_state_dict(self.model, inner, options=options)
        groups = named.get("param_groups", [])
        number = {name: index for index, name in enumerate(name for group in groups for name in group["params"])}
        return {
            "state": {number[name]: state for name, state in named.get("state", {}).items()},
            "param_groups": [{**group, "params": [number[name] for name in group["params"]]} for group in groups],
        }

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint of any strategy, and give each rank its shard.

        Raises:
            UserError: the file is damaged.
        """
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        assert self.model is not None
        if isinstance(self.checkpoint_io, CheckedFiles):
            self.checkpoint_io.wait()  # on rank zero, which broadcasts the path afterwards
        path = Path(self.broadcast(checkpoint_path))
        checkpoint = self.checkpoint_io.load_checkpoint(path, map_location="cpu", weights_only=weights_only)
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)
        assert self.lightning_module is not None
        fitting = self.lightning_module.trainer.state.fn == TrainerFn.FITTING
        states = checkpoint["optimizer_states"] if fitting else []
        for optimizer, state in zip(self.optimizers, states, strict=False):
            set_optimizer_state_dict(self.model, optimizer, self._named(optimizer, state), options=options)
        return checkpoint

    def teardown(self) -> None:
        super().teardown()
        self.checkpoint_io.teardown()  # as in Lightning's other strategies

    def _named(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state keyed by the names of weights instead of their numbers."""
        assert self.model is not None
        name = {weight: each for each, weight in self.model.named_parameters()}
        names = [name[weight] for group in optimizer.param_groups for weight in group["params"]]
        groups = []
        for saved, now in zip(state["param_groups"], optimizer.param_groups, strict=True):
            way = {option: now[option] for option in ("fused", "foreach") if option in now}  # only how it is computed
            groups.append({**saved, **way, "params": [names[number] for number in saved["params"]]})
        return {"state": {names[number]: each for number, each in state["state"].items()}, "param_groups": groups}
