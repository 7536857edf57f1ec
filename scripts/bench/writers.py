"""Many runs that log to one `mlflow server` on PostgreSQL at once: points lost, and how fast the server answers.

    python scripts/bench/writers.py [--writers 64] [--seconds 300] [--rate 10] [--server-workers 4]

A PostgreSQL cluster is made in a temporary folder and a real `mlflow server` started on it. Each writer is a process
with the logger of a training, which logs three metrics `rate` times a second; each has its own uploader process, as a
training has. (Writers and uploaders are forked from this process, so that their imports are paid for once.) A probe
logs a point of its own every half second and notes how long the server takes. At the end the points in the database
are counted.
"""

import argparse
import gc
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

METRICS = ("train/loss", "train/accuracy", "train/lr")


def main() -> None:
    """Run the writers and print what became of their points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=10, help="logging calls a second of each writer")
    parser.add_argument("--server-workers", type=int, default=4)
    asked = parser.parse_args()
    from lantu.tracking.upload import prepare

    prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the server and PostgreSQL would outlive this process
    with tempfile.TemporaryDirectory(prefix="lantu-writers-") as place, postgresql() as database:
        folder = Path(place)
        with server(folder, database, workers=asked.server_workers) as uri:
            measure(folder, uri, database, asked)


def measure(folder: Path, uri: str, database: str, asked: argparse.Namespace) -> None:
    """Let the writers write, then count."""
    import mlflow  # noqa: F401 - forked processes have it
    import sqlalchemy

    import lantu.tracking.run_upload
    import lantu.tracking.upload  # noqa: F401
    from lantu.tracking import RunLogger  # noqa: F401 - imports torch, which each process would else hold for itself

    gc.collect()
    gc.freeze()  # else each process's collector would write to what it shares with this one
    begun, free = time.time(), available_mebibytes()
    children = [fork(write, folder, number, uri, asked) for number in range(asked.writers)]
    latencies: list[float] = []
    least = [free]
    stop = threading.Event()
    probe = threading.Thread(target=watch, args=(uri, latencies, least, stop))
    probe.start()
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    ended = time.time()
    stop.set()
    probe.join()
    written = sum(int((folder / f"{number}.written").read_text()) for number in range(asked.writers))
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        query = "SELECT COUNT(*), COUNT(DISTINCT run_uuid) FROM metrics WHERE key = 'train/loss'"
        arrived, runs = connection.execute(sqlalchemy.text(query)).one()
        finished = connection.execute(sqlalchemy.text("SELECT COUNT(*) FROM runs WHERE status = 'FINISHED'")).scalar()
    engine.dispose()
    latencies.sort()
    per_second = len(METRICS) * written / asked.seconds
    print(f"{asked.writers} writers for {asked.seconds:.0f} s, {per_second:,.0f} values a second together")
    print(
        f"logging calls: {written:,} made, {arrived:,} in MLflow, {written - arrived:,} lost; {failed} writers failed"
    )
    print(f"runs: {runs} in MLflow, {finished} finished; all had arrived {ended - begun - asked.seconds:.0f} s after")
    print(
        f"a call of the server's log-batch: median {1000 * statistics.median(latencies):.0f} ms, 95 % within "
        f"{1000 * latencies[int(0.95 * len(latencies))]:.0f} ms, longest {1000 * latencies[-1]:.0f} ms "
        f"({len(latencies)} probes)"
    )
    print(f"memory: {free - min(least):,.0f} MiB at most taken by all processes, other programs' changes included")


def write(folder: Path, number: int, uri: str, asked: argparse.Namespace) -> None:
    """What a training does: log, end, and leave the rest to the uploader."""
    from lantu.tracking import RunLogger
    from lantu.tracking.run_folder import RunFolder
    from lantu.tracking.upload import follow

    run_dir = folder / "runs" / str(number)
    logger = RunLogger(
        run_dir=run_dir, experiment="writers", run_name=f"run {number}", tracking_uri=uri, ship=False, store=folder
    )
    logger.log_params({"number": number})
    ours, theirs = os.pipe()

    def upload() -> None:
        os.close(theirs)
        os.dup2(ours, 0)
        sys.stdin = os.fdopen(0)
        sys.exit(follow(RunFolder(run_dir), uri))

    uploader = fork(upload)
    end, step = time.monotonic() + asked.seconds, 0
    while time.monotonic() < end:
        logger.log_metrics({name: step + place / 10 for place, name in enumerate(METRICS)}, step)
        step += 1
        time.sleep(1 / asked.rate)
    logger.close("FINISHED")
    (folder / f"{number}.written").write_text(str(step))
    os.close(theirs)
    sys.exit(os.waitpid(uploader, 0)[1])


def watch(uri: str, latencies: list[float], least: list[float], stop: threading.Event) -> None:
    """Log a point every half second, and note how long that takes and how little memory is available."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("probe")).info.run_id
    while not stop.wait(0.5):
        begun = time.perf_counter()
        try:
            client.log_metric(run, "probe", 1.0, step=len(latencies))
            latencies.append(time.perf_counter() - begun)
        except MlflowException as error:  # uploaders send again, too
            print(f"the server refuses a probe after {time.perf_counter() - begun:.0f} s: {str(error)[:150]}")
        least.append(available_mebibytes())


def available_mebibytes() -> float:
    """What the system could give to programs before it runs out of memory."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 1024


def fork(function, *words):  # type: ignore[no-untyped-def]
    """Call a function in a forked process; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        function(*words)
        code = 0
    except SystemExit as end:
        code = int(bool(end.code))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(code)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of an empty database in a cluster of our own."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)
    if programs is None:
        found = shutil.which("initdb")
        if found is None:
            sys.exit("needs PostgreSQL's initdb and pg_ctl")
        programs = Path(found).parent
    folder = Path(tempfile.mkdtemp(prefix="lantu-pg-"))
    as_root = os.geteuid() == 0  # PostgreSQL refuses to run as root
    if as_root:
        shutil.chown(folder, "postgres")

    def command(program: str, *words: str) -> None:
        before = ["runuser", "-u", "postgres", "--"] if as_root else []
        subprocess.run([*before, programs / program, *words], check=True, capture_output=True, cwd=folder, timeout=120)

    try:
        command("initdb", "-D", f"{folder}/data", "-U", "lantu", "--auth=trust")
        options = f"-k {folder} -c listen_addresses='' -c max_connections=200"
        command("pg_ctl", "-D", f"{folder}/data", "-o", options, "-w", "-l", f"{folder}/log", "start")
        try:
            command("createdb", "-h", str(folder), "-U", "lantu", "mlflow")
            yield f"postgresql+psycopg2://lantu@/mlflow?host={folder}"
        finally:
            command("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server(folder: Path, database: str, *, workers: int) -> Iterator[str]:
    """A running `mlflow server`."""
    from lantu.tracking import ensure_store

    ensure_store(database)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", str(workers)]
    command += ["--backend-store-uri", database, "--artifacts-destination", f"{folder}/artifacts"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit((folder / "server.log").read_text()[-2000:])
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
