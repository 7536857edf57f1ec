"""What the processor can do is read from Linux, and matches what torch says of it."""

import platform
import sys

import pytest
import torch

from lantu.processor import cpu_has_bf16


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="torch tells it of x86 only, and Linux of itself"
)
def test_bf16_arithmetic_is_found_where_torch_finds_it() -> None:
    of_torch = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert cpu_has_bf16() is of_torch
