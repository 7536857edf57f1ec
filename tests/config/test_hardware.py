"""A trainer that this machine cannot satisfy is refused in a sentence, before torch is imported."""

import subprocess
import sys

import pytest

from lantu.config.accelerators import Gpus, check_gpus, gpus
from lantu.errors import UserError


@pytest.mark.parametrize(
    ("found", "asked", "sentence"),
    [
        (Gpus((), (0, 0)), {}, "no NVIDIA driver answers .*trainer=cpu"),
        (
            Gpus((), (13, 0), 803),
            {},
            r"does not start .*error 803.*different versions, as after .*trainer=cpu",
        ),
        (Gpus((9,), (12, 4)), {}, r"built for CUDA 13.0, .*driver runs CUDA up to 12.4"),
        (Gpus((9,), (13, 0)), {"built_for": None}, "built for processors only"),
        (Gpus((9, 9), (13, 0)), {"wanted": 4}, "needs 4 GPUs, and this machine shows 2 GPUs"),
        (Gpus((9,), (13, 0)), {"wanted": [1]}, "needs 2 GPUs, and this machine shows 1 GPU"),
        (Gpus((7,), (13, 0)), {"precision": "bf16-mixed"}, "no bf16 arithmetic .*trainer.precision=16-mixed"),
    ],
)
def test_what_the_gpus_cannot_do_is_refused(found: Gpus, asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_gpus(found, **{"wanted": 1, "precision": "32-true", "built_for": "13.0", **asked})  # type: ignore[arg-type]


def test_gpus_that_can_do_it_are_taken() -> None:
    check_gpus(Gpus((9, 9), (13, 0)), wanted="auto", precision="bf16-mixed", built_for="12.8")


@pytest.mark.parametrize(
    ("override", "more", "instead"),
    [
        ("trainer=gpu", [], "trainer=cpu"),
        ("trainer=cpu", ["trainer.precision=16-mixed"], "trainer.precision=bf16-mixed"),
    ],
)
def test_the_command_refuses_before_torch_is_imported(override: str, more: list[str], instead: str) -> None:
    if override == "trainer=gpu" and gpus().generations:
        pytest.skip("needs a machine without a GPU")
    program = (
        "import sys; from lantu.cli.main import main\n"
        f"status = main(['train', *{[override, *more]!r}])\n"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert instead in done.stderr
    assert "Traceback" not in done.stderr
