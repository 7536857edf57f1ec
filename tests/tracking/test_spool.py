"""The queue of artifacts, read by one process while another empties it."""

import threading
from pathlib import Path

from lantu.tracking.spool import Spool


def test_the_size_can_be_asked_while_an_uploader_empties_the_queue(tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.mkdir()
    (source / "a.txt").write_text("a" * 10)
    spool = Spool(tmp_path / "spool")
    for _ in range(200):
        spool.put(source, None)
    sizes = [spool.size()]

    def empty() -> None:
        for ticket in spool.tickets():
            ticket.done()

    uploader = threading.Thread(target=empty)
    uploader.start()
    while uploader.is_alive():
        sizes.append(spool.size())
    uploader.join()

    assert sizes[0] == 200 * 11
    assert sizes == sorted(sizes, reverse=True)
    assert spool.size() == 0
