"""Which process writes a journal, and whether it is still alive."""

import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 120.0  # after so long without a heartbeat, a process of another machine counts as dead


class Owner:
    """The process named in `owner.json`.

    On the same machine a process is identified by its id and start time, since ids are reused. From another machine
    (a shared folder on a cluster) only the file's modification time is visible, which the owner renews.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self) -> None:
        """Name this process as the owner."""
        content = {"place": place(), "pid": os.getpid(), "started": started(os.getpid())}
        self.path.write_text(json.dumps(content))

    def beat(self) -> None:
        """Renew the heartbeat that other machines see."""
        with suppress(OSError):  # a missing folder is reported by the journal
            os.utime(self.path)

    def release(self) -> None:
        """Give up the ownership while the process continues."""
        self.path.unlink(missing_ok=True)

    def is_me(self) -> bool:
        """Whether this process is the owner."""
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return False
        return content == {"place": place(), "pid": os.getpid(), "started": started(os.getpid())}

    def is_alive(self) -> bool:
        """Whether the owner may still write."""
        try:
            content = json.loads(self.path.read_text())
            silent = time.time() - self.path.stat().st_mtime
        except (OSError, ValueError):
            return False
        if not isinstance(content, dict) or not {"place", "pid", "started"} <= set(content):
            return False
        if content["place"] != place():
            return silent < SILENT_SECONDS
        return started(content["pid"]) == content["started"] is not None


@cache
def place() -> str:
    """The scope of process ids: a host since its last boot, and a container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    container = Path("/proc/self/ns/pid")
    return ":".join(
        [
            socket.gethostname(),
            boot.read_text().strip() if boot.exists() else "",
            os.readlink(container) if container.is_symlink() else "",
        ]
    )


def started(pid: int) -> str | None:
    """The start time of a process as the system reports it; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        # the command name, in parentheses, may itself hold spaces and parentheses
        state, *after = stat.rpartition(")")[2].split()
        return None if state in "ZX" else after[18]
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
