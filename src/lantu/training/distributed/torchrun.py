"""Under torchrun, rank zero composes the config and publishes it to the other ranks.

All processes have the same command line; if each composed its own config, their names, folders and random choices would
differ. The config is sent through the store of torchrun's rendezvous, so that it reaches other machines without a
shared folder.
"""

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lantu.config.composing import Composition
from lantu.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

PATIENCE = timedelta(minutes=10)
"""How long other ranks wait for rank zero, which may read configs from a slow disk."""
NO_RUN = {"refused": True}
"""Published instead of a composition when there is nothing to train."""
_handed_over = False


def is_there() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def check(*, devices: int, nodes: int) -> None:
    """Refuse a trainer that needs another number of processes than torchrun started.

    Raises:
        UserError: says what to type instead.
    """
    started = int(os.environ["WORLD_SIZE"])
    if devices * nodes == started:
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", started))
    wanted = f"`trainer.devices={devices}`" + (f" `trainer.num_nodes={nodes}`" if nodes > 1 else "")
    more = f" trainer.num_nodes={started // here}" if started > here else ""
    raise UserError(
        f"torchrun has started {started} processes, and the trainer asks for {devices * nodes} ({wanted}). "
        f"`trainer=ddp trainer.devices={here}{more}` trains in all of them."
    )


def hand_over(composition: Composition) -> None:
    """On rank zero under torchrun: publish the composition. Otherwise do nothing."""
    global _handed_over  # noqa: PLW0603 - a process under torchrun trains one run
    if is_there() and os.environ["RANK"] == "0":
        store().set(key(), json.dumps(as_content(composition), default=str))
        _handed_over = True


def end_without_a_run() -> None:
    """On rank zero: release the other ranks if there is no run, because they would wait for it otherwise."""
    if is_there() and os.environ["RANK"] == "0" and not _handed_over:
        store().set(key(), json.dumps(NO_RUN))


def as_content(composition: Composition) -> dict[str, Any]:
    """Convert a composition to JSON types, with interpolations unresolved."""
    cfg = OmegaConf.to_container(composition.cfg, resolve=False)
    return {"cfg": cfg, "choices": composition.choices, "overrides": composition.overrides}


def from_content(content: dict[str, Any]) -> Composition:
    """Rebuild a composition from `as_content`."""
    return Composition(OmegaConf.create(content["cfg"]), content["choices"], content["overrides"])


def store() -> "TCPStore":
    """Connect to the store of torchrun's rendezvous."""
    from torch.distributed import TCPStore

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError(
            "torchrun keeps its store to itself, and rank zero cannot tell the others what to train. Unset "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE."
        )
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=PATIENCE)


def key() -> str:
    """Return the key of this start: torchrun restarts all processes when one has crashed."""
    return f"lantu/{os.environ['TORCHELASTIC_RUN_ID']}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
