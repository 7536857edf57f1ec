"""Which processes a run's use of the machine counts."""

import subprocess
import sys

import psutil

from lantu.cost.hardware import own_processes

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin)
print(child.pid, flush=True)
child.wait()
"""


def test_processes_that_a_child_has_started_count_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        found = [each.pid for each in own_processes()]
        assert sorted(found) == sorted({psutil.Process().pid, *found})  # none twice
        assert {child.pid, grandchild} <= {*found}
        child.communicate("\n")
