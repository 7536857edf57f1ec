"""A SLURM cluster of two nodes on this machine, of Debian's packages, for as long as the tests of a module take."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
CONF = """
ClusterName=test
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={first_port} CPUs=2 RealMemory=1000 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={second_port} CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """slurmctld, two slurmd and munged on free ports, and SLURM_CONF in the environment; the folder with their logs."""
    missing = [each for each in NEEDED if shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        pytest.skip(f"SLURM is not installed ({', '.join(missing)} missing): apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("slurmd starts jobs as other users, so that this test must be run by root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool.n0", "spool.n1"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(secrets.token_bytes(1024))
    (folder / "key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    ports = {name: _free_port() for name in ("controller_port", "first_port", "second_port")}
    first_job = 1000 + secrets.randbelow(8000)  # ranks meet at a port that Lightning takes from the job's number
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=host, first_job=first_job, **ports))
    kept = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH", "MASTER_ADDR")}
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    os.environ["MASTER_ADDR"] = "127.0.0.1"  # to which the names of the nodes do not lead
    files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / file}" for name, file in {**files, "seed-file": "munged.seed"}.items()]
    nodes = [["slurmd", "-D", "-N", name] for name in ("n0", "n1")]
    daemons = [
        subprocess.Popen(each, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in (["munged", "--foreground", "--force", *options], ["slurmctld", "-D", "-i"], *nodes)
    ]
    try:
        if not _is_ready(seconds=60):
            logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in folder.glob("*.log"))
            pytest.fail(f"SLURM did not start:\n{logs}")
        yield folder
    finally:
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True, timeout=30)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _is_ready(*, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = subprocess.run(["sinfo", "-h", "-o", "%T"], check=False, capture_output=True, text=True, timeout=30)
        if said.stdout.strip() == "idle":
            return True
        time.sleep(0.5)
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
