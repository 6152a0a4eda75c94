"""People as scripts: over HTTP, and in a real browser that is driven by its keys."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from io import BytesIO
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_human.reward import Human

from zoo.prompt import Prompt

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Person:
    """Somebody who has the address."""

    def __init__(self, address, name="Ann"):
        self.address, self.name = address, name

    def ask(self, path, body=None, **headers):
        """Status, headers and content of an answer; `path` is below the token, or begins at /."""
        root = self.address.split("/")
        at = "/".join(root[:3]) + path if path.startswith("/") else self.address + path
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            with _OPEN(urllib.request.Request(at, body, named), timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def state(self, at=""):
        return json.loads(self.ask(f"state?voter={self.name}&at={at}")[2])

    def pictures(self, group):
        """The images of a group as the page has them: [height, width, 3] each."""
        sent = (self.ask(f"image/{group['id']}/{i}.png")[2] for i in range(group["images"]))
        return [np.array(Image.open(BytesIO(each))) for each in sent]

    def vote(self, group, *ranking):
        """Status and text of what comes of it."""
        told = {"group": group, "voter": self.name, "ranking": ranking}
        status, _, said = self.ask("vote", json.dumps(told).encode())
        return status, said.decode().strip()


@pytest.fixture
def person():
    return Person


@pytest.fixture
def asking(tmp_path):
    """Makes a reward that asks for votes on a run in `tmp_path`, until the test is over."""
    opened = []

    def make(**options):
        reward = Human(port=0, **options)
        context = reward.beside(tmp_path)
        context.__enter__()
        opened.append(context)
        return reward

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def greys(*levels, size=4):
    """Images of one level each, in [0, 1]."""
    return torch.stack([torch.full((3, size, size), level) for level in levels])


@pytest.fixture
def expected():
    """Tells a reward of groups of grey images, by prompt, as a judge does before it scores any."""

    def tell(reward, **groups):
        for text, levels in groups.items():
            reward.expect(greys(*levels), Prompt(text))
        return lambda text: reward.score(greys(*groups[text]), [Prompt(text)] * len(groups[text]))

    return tell


class Browser:
    """Chromium without a window, spoken to by its own protocol over two pipes."""

    def __init__(self, profile):
        (theirs_in, self._in), (self._out, theirs_out) = (os.pipe() for _ in range(2))
        # Theirs are to be 3 and 4, which may be taken by these themselves.
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (theirs_in, theirs_out)]
        options = (
            "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run "
            f"--user-data-dir={profile} about:blank"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "{CHROMIUM}" {options} 3<&{high[0]} 4>&{high[1]}'],
            pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for each in (theirs_in, theirs_out, *high):
            os.close(each)
        self._numbers, self._read = count(1), b""
        target = self.call("Target.createTarget", session=False, url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", session=False, targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method, *, session=True, **parameters):
        number = next(self._numbers)
        told = {"id": number, "method": method, "params": parameters}
        told |= {"sessionId": self._session} if session else {}
        os.write(self._in, json.dumps(told).encode() + b"\0")
        while True:
            said = self._message()
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def _message(self):
        while b"\0" not in self._read:
            self._read += os.read(self._out, 1 << 16)
        said, _, self._read = self._read.partition(b"\0")
        return json.loads(said)

    def open(self, address, *, width, height, dark=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)

    def value(self, script):
        """Of a script, or of the promise that it is, in the page."""
        said = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def until(self, script):
        """Waits until a script is true; it is asked again by the page itself."""
        assert self.value(
            "new Promise((done) => { const end = Date.now() + 20000; const look = () => "
            f"{{ let is = false; try {{ is = Boolean({script}); }} catch {{}} "
            "if (is || Date.now() > end) done(is); else setTimeout(look, 50); }; look(); })"
        ), script

    def press(self, *keys):
        for key in keys:
            text = {"Enter": "\r", "Space": " "}.get(key, key if len(key) == 1 else "")
            named = " " if key == "Space" else key
            code = _CODES.get(key, ord(key[0].upper()))
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind, key=named, windowsVirtualKeyCode=code,
                    **({"text": text} if text and kind == "keyDown" else {}),
                )  # fmt: skip

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)


_CODES = {"Enter": 13, "Backspace": 8, "Tab": 9, "Space": 32, "ArrowRight": 39, "ArrowLeft": 37}


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    opened = Browser(tmp_path / "browser")
    yield opened
    opened.close()
