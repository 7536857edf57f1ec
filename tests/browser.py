"""A real headless Chromium that a test drives: open a page, run script in it, press a button, wait for a text."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest


def _moved(descriptor: int) -> int:
    """The same file at a descriptor that is neither 3 nor 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser(AbstractContextManager["Browser"]):
    """Chromium over its DevTools pipe (file descriptors 3 and 4), which needs no driver and no port.

    Args:
        profile: an empty folder of the browser's own.
        microphone: a WAV file that is heard instead of a microphone.
    """

    def __init__(self, profile: Path, *, microphone: Path | None = None) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("needs Chromium, which is not installed")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        if microphone is not None:
            options += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            options += [f"--use-file-for-fake-audio-capture={microphone}"]
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()
        read, write = (_moved(each) for each in (read, write))
        command = ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", program, *options, "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(read, write), **quiet)  # type: ignore[call-overload]
        os.close(read)
        os.close(write)
        self._rest, self._number = b"", 0
        target = next(each for each in self._ask("Target.getTargets")["targetInfos"] if each["type"] == "page")
        asked = {"targetId": target["targetId"], "flatten": True}
        self._session = self._ask("Target.attachToTarget", **asked)["sessionId"]

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("Page.navigate", self._session, url=url)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def look_at(self, *, width: int, dark: bool = False, paper: bool = False) -> None:
        """Give the window a width in pixels, the person a preference for light or dark, or show the page as printed."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", self._session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", self._session, media="print" if paper else "", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self._ask("Runtime.evaluate", self._session, **asked)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, *, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if found := self.run(script):
                return found
            time.sleep(0.1)
        raise AssertionError(
            f"not within {seconds} seconds: {script}; the page says: {self.run('document.body.innerText')}"
        )

    def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file as a person does."""
        root = self._ask("DOM.getDocument", self._session)["root"]["nodeId"]
        node = self._ask("DOM.querySelector", self._session, nodeId=root, selector=selector)["nodeId"]
        self._ask("DOM.setFileInputFiles", self._session, nodeId=node, files=[str(file)])

    def _ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(asked).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                read = os.read(self._answers, 1 << 16)
                assert read, "Chromium has ended"
                self._rest += read
            line, self._rest = self._rest.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
