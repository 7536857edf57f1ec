"""What the README tells people to type works as it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lantu
from lantu.cli.main import main
from lantu.config.checking import check
from lantu.config.sweeping import check_sweep

REPO = Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0].strip()
    for line in README.splitlines()
    if re.match(r"(lantu|python scripts/)", line.strip())
]
TRAINING = [shlex.split(line)[2:] for line in COMMANDS if shlex.split(line)[1].endswith(("train", "train.py"))]
YAML = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("overrides", TRAINING, ids=" ".join)
def test_a_training_command_of_the_readme_composes_and_checks(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for override in overrides:  # the README's names of the reader's own files
        if override.startswith("data.path="):
            Path(override.removeprefix("data.path=")).touch()
    if overrides[:1] == ["-m"]:
        assert check_sweep(overrides[1:]) > 1
    else:
        check(lantu.compose(*overrides))


@pytest.mark.parametrize(
    ("typed", "answer"), re.findall(r"\$ lantu train (\S+)\n    (lantu train: .*?) \.\.\.", README)
)
def test_a_mistake_is_answered_as_the_readme_shows(typed: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", typed]) == 2
    assert answer in capsys.readouterr().err


def test_a_users_data_set_architecture_and_recipe_are_files_as_the_readme_writes_them(tmp_path: Path) -> None:
    data, model, recipe = YAML
    for group, text in (("data", data), ("model", model), ("experiment", recipe)):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(text, encoding="utf-8")
    code = (
        "import lantu; from lantu.config.checking import check;"
        "a = lantu.compose('data=mine', 'model=mine'); check(a);"
        "b = lantu.compose('experiment=mine'); check(b);"
        "print(a.cfg.data.source.path, a.cfg.model.model_name, b.cfg.data.target, b.cfg.trainer.max_epochs)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["someone/flowers", "convnext_tiny", "Status", "30"], done.stderr


def test_the_readme_shows_pictures_that_exist() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (REPO / picture).is_file(), picture


def test_every_room_of_the_readme_exists_and_every_room_is_in_it() -> None:
    rooms = {folder.name for folder in (REPO / "src" / "lantu").iterdir() if (folder / "__init__.py").is_file()}
    named = set(re.findall(r"^      (\w+)/ ", README, flags=re.MULTILINE))
    assert named == rooms


@pytest.mark.slow
def test_the_wheel_carries_the_configs_and_works_from_any_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPO],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "lantu", "train", "--cfg", "job"], cwd=tmp_path / "elsewhere", text=True,
        capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert "_target_: lantu.models.CNN" in done.stdout
    where = "import lantu.config.locations as l; print(l.shipped_conf())"
    conf = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, text=True, capture_output=True, check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert conf.stdout.startswith(str(tmp_path / "site"))
