"""What an installation from the wheel brings along, and that it works."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import matplotlib
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def declared() -> dict[str, Requirement]:
    """Every requirement, of the base and of the extras, by its canonical name."""
    lines = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def imported() -> dict[str, str]:
    """The packages outside of the standard library that the source imports, each with a file that does."""
    found: dict[str, str] = {}
    for file in (REPO / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            found |= {name.partition(".")[0]: str(file.relative_to(REPO)) for name in names}
    own = {"lantu", "hydra_plugins", *sys.stdlib_module_names}
    return {name: file for name, file in found.items() if name not in own}


def test_every_package_that_the_source_imports_is_declared() -> None:
    homes, known = packages_distributions(), declared()
    undeclared = {
        name: file
        for name, file in imported().items()
        if not any(canonicalize_name(home) in known for home in homes.get(name, [name]))
    }
    assert not undeclared


def test_every_requirement_has_a_lower_bound_that_the_tested_version_meets() -> None:
    tested = dict(line.split("==") for line in (REPO / "constraints.txt").read_text().split() if "==" in line)
    tested = {canonicalize_name(name): number for name, number in tested.items()}
    for name, need in declared().items():
        if name == "lantu":
            continue
        assert any(each.operator in (">=", "==", "~=") for each in need.specifier), f"{name} has no lower bound"
        assert name in tested, f"{name} is not in constraints.txt"
        assert need.specifier.contains(tested[name]), f"{name}=={tested[name]} is not {need.specifier}"


def test_all_names_every_extra_that_a_user_may_want() -> None:
    (line,) = EXTRAS["all"]
    assert Requirement(line).extras == EXTRAS.keys() - {"all", "dev", "docs"}


def test_make_installs_every_extra_that_a_test_needs() -> None:
    (installed,) = re.findall(r"-e '\.\[([\w,]+)\]'", (REPO / "Makefile").read_text())
    assert {"all", "dev", "docs"} <= set(installed.split(","))


@pytest.mark.slow
def test_the_wheel_installs_into_an_environment_of_its_own_and_trains(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPO]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
    )  # fmt: skip
    target = ["--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *target], check=True)
    # the dependencies are those of this environment, and this checkout is none of them
    shared = [Path(each) for each in sys.path if each.endswith("site-packages")]
    own = ("lantu", "hydra_plugins", "_lantu", "__editable__")
    for folder in shared:
        for each in folder.iterdir():
            if not each.name.startswith(own) and each.suffix != ".pth" and not (site / each.name).exists():
                (site / each.name).symlink_to(each)
    (tmp_path / "elsewhere").mkdir()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "300", "OMP_NUM_THREADS": "1"}
    environment["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # its list of the machine's fonts takes seconds to make
    where = {"cwd": tmp_path / "elsewhere", "env": environment}

    def lantu(*words: str) -> str:
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "lantu", *words], capture_output=True, text=True, check=False, **where
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    said = lantu("doctor")
    assert f"lantu ok {PROJECT['version']} in {site / 'lantu'}" in said
    assert f"torch {version('torch')}" in said
    assert "accuracy" in lantu("train", "model=linear", "trainer.max_epochs=1", "save_model=false")
    assert (tmp_path / "elsewhere" / "mlruns").is_dir()
    shutil.rmtree(tmp_path / "venv")
