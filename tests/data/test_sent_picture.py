"""Files that the client of a served model sends."""

import base64
from pathlib import Path

import numpy as np
import pytest

from lantu.data.image.sent_picture import sent_file, sent_picture
from lantu.errors import UserError


@pytest.mark.parametrize("cell", ["/etc/passwd", {"path": "/etc/passwd"}, Path("a.png"), {"bytes": "a.png"}])
def test_a_request_cannot_name_a_file_of_the_machine_that_serves(cell: object) -> None:
    for read in (sent_file, sent_picture):
        with pytest.raises(UserError, match="sent as its encoded bytes"):
            read(cell)


def test_bytes_and_their_base64_text_are_the_same_file() -> None:
    content = b"\x89PNG content"
    text = base64.b64encode(content).decode()
    for cell in (content, text, bytearray(content), {"bytes": content, "path": "a.png"}, {"bytes": text}):
        assert sent_picture(cell) == {"bytes": content}


def test_a_picture_may_be_an_array_of_bytes_and_of_nothing_else() -> None:
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    assert sent_picture(pixels) is pixels
    with pytest.raises(UserError, match="array"):
        sent_picture(pixels.astype(float))
