"""Files and pictures as the client of a served model sends them."""

import base64
import binascii
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from lantu.errors import UserError


def image_cells(inputs: Any) -> list[Any]:
    """Return the pictures of a request: the column `image` of a data frame, or the items of a list.

    Raises:
        UserError: the data frame has no such column.
    """
    if isinstance(inputs, pd.DataFrame):
        if "image" not in inputs:
            raise UserError(f"The table has no column 'image'; it has {', '.join(map(str, inputs.columns))}.")
        return inputs["image"].tolist()
    return list(inputs)


def sent_picture(cell: Any) -> np.ndarray | dict[str, bytes]:
    """Return a picture of a request as a cell that `read_picture` takes.

    Args:
        cell: encoded bytes, base64 text of them, or an array (H, W, C) of uint8.

    Raises:
        UserError: it is none of these.
    """
    content = sent_file(cell)
    is_array = isinstance(content, np.ndarray) and content.dtype == np.uint8 and content.ndim in (2, 3)
    if not (is_array or isinstance(content, dict)):
        raise UserError("A picture is sent as its encoded bytes, base64 text of them, or an array (H, W, C) of uint8.")
    return content


def sent_file(cell: Any) -> Any:
    """Return a file of a request as {"bytes": ...}, and an array or a picture of Pillow's as it is.

    A path is refused: a client must not read files of the machine that serves.

    Args:
        cell: encoded bytes, base64 text of them, {"bytes": ...} of either, or anything that names no file.

    Raises:
        UserError: it is text that is no base64, or it names a file.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes", "?")
    if isinstance(cell, bytes | bytearray | memoryview):
        return {"bytes": bytes(cell)}
    if isinstance(cell, str | PurePath):
        try:
            return {"bytes": base64.b64decode(str(cell), validate=True)}
        except (binascii.Error, ValueError) as error:
            raise UserError("A file is sent as its encoded bytes, or as base64 text of them.") from error
    return cell
