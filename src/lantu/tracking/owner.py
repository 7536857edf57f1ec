"""Which process writes a journal, and whether it still lives."""

import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 120.0  # how long another machine's process may be silent before it counts as dead


class Owner:
    """The process named in `owner.json`.

    On the same machine a process is known by its number and start time, for numbers are used again. From
    another machine (a shared folder on a cluster) only the file's modification time can be seen, which the
    owner renews.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self) -> None:
        """Name this process as the owner."""
        content = {"place": place(), "pid": os.getpid(), "started": started(os.getpid())}
        self.path.write_text(json.dumps(content))

    def beat(self) -> None:
        """Show other machines that we live."""
        with suppress(OSError):  # a folder that went away is the journal's trouble, and it says so
            os.utime(self.path)

    def release(self) -> None:
        """Own it no longer, though the process goes on."""
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
    """Where process numbers mean the same: a host since its last start, and a container on it."""
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
    """When a process started, as the system spells it; None when there is no such process."""
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
