"""Load a program that `torch.export` saved, without running code from its file.

PyTorch unpickles what the file holds, and takes a file's word for which functions the program calls, `os.system` among
them, and for expressions that Python evaluates. So the file is read beforehand, and what is not known is refused.
"""

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lantu.errors import UserError
from lantu.foreign_json import parse_json

LARGEST = 1 << 28
"""Bytes of a description in JSON."""
MEMBER = re.compile(
    r"[\w.-]+/(models/[^/]+\.json|data/(weights|constants|sample_inputs)/[^/]+|extra/[^/]+|archive_\w+|version|byteorder"
    r"|\.data/\w+|serialized_\w+\.(json|pt))|version|serialized_\w+\.(json|pt)|extra_files/[^/]+"
)
"""Files of an archive; compiled libraries are none of them."""
CALLED = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b|save\b)[a-z_]\w*(\.\w+)?|torch\.ops\.(prims|torchvision)\.\w+(\.\w+)?|torch\.sym_\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|while_loop|scan)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|getitem|and_|or_|not_|eq|ne|lt|le|gt|ge)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
"""Functions that a network's program may call."""
EXPRESSION = re.compile(r"(?:'\w++'|[A-Z]\w*+|[a-z]\w*+(?==)|true|false|\d++(?:\.\d++)?|[ (),=*+/<>-])*+")
"""A size as SymPy writes it: classes of SymPy, their options, symbols and numbers."""
CONDITION = re.compile(
    r"(?:L\b|\._base\b|\['\w++'\]|\[\d++\]|\.(?:size|stride|storage_offset|dim|numel)\(\)|\b(?:and|or|not|max|min|Mod)\b"
    r"|\d++(?:\.\d++)?|[ (),=*+/<>%!-])*+"
)
"""What has to hold for the sizes of the inputs, in Python: `L['x'].size()[0] == L['y'].size()[0]`."""


def load_program(path: Path) -> nn.Module:
    """The module of a saved program.

    Raises:
        UserError: the file is none, or its program calls what a network does not.
    """
    refused = f"{path} is not loaded: "
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not MEMBER.fullmatch(name):
                    raise UserError(f"{refused}it holds {name[:100]!r}, which is no part of a network.")
            described = [each for each in archive.infolist() if each.filename.endswith(".json")]
            if any(each.file_size > LARGEST for each in described):
                raise UserError(f"{refused}its description is too large.")
            for each in described:
                for what in _strange(parse_json(archive.read(each))):
                    raise UserError(f"{refused}its program holds {what[:100]!r}, which is no part of a network.")
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{refused}it is no program that `lantu export format=torch` wrote ({error}).") from error
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # PyTorch tries again with all of pickle where that fails
    try:
        return torch.export.load(path).module()
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _strange(root: Any) -> Iterator[str]:
    """Functions and expressions in a description that no network has."""
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            for name, value in node.items():
                allowed = {"target": CALLED, "as_operator": CALLED, "expr_str": EXPRESSION}.get(name)
                if allowed is not None and isinstance(value, str) and not allowed.fullmatch(value):
                    yield value
                if name == "guards_code":
                    yield from (str(each) for each in value if not CONDITION.fullmatch(str(each)))
                left.append(value)
