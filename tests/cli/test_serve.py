"""`zoo serve` as a user starts it, and as a recipe uses it."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from tests.runs import ROOT, clean_environment, command
from zoo.prompt import Prompt
from zoo.recipe.recipe import load_recipe
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.remote import Remote

TOKEN = "open-sesame"


@dataclass(frozen=True)
class Serving:
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def url(self) -> str:
        return re.search(r"at (http://\S+);", self.said[0])[1]


@pytest.fixture
def serve():
    """Starts the command and waits for its two lines; what is left of it is killed."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            command("serve", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**clean_environment(), "ZOO_TOKEN": TOKEN}, cwd=ROOT,
        )  # fmt: skip
        started.append(process)
        said = [process.stdout.readline() for _ in range(2)]
        assert said[0], process.stderr.read()
        return Serving(process, said)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_printed_line_makes_a_recipe_that_scores_as_in_process(serve, monkeypatch):
    served = serve(
        "jpeg_compressibility", "-s", "quality=80", "--port", "0", "--token-env", "ZOO_TOKEN"
    )
    monkeypatch.setenv("ZOO_TOKEN", TOKEN)
    line = re.search(r"in a recipe: rewards: (.*)", served.said[1])[1]
    recipe = load_recipe("recipes/nft_digits.yaml", [f"rewards={line}"])
    entry = recipe.rewards[0]
    assert entry.label == "jpeg_compressibility"
    images = torch.randint(0, 256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    reward = entry.build({"device": torch.device("cpu")})
    found = reward.score(images, [Prompt("a")] * 3)
    reward.close()
    wanted = JpegCompressibility(quality=80).score(images, [Prompt("a")] * 3)
    torch.testing.assert_close(found, wanted.double(), rtol=0, atol=0)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_traceback(serve, number):
    served = serve("jpeg_compressibility", "--port", "0")
    reward = Remote(url=served.url)
    assert reward.score(torch.zeros(1, 3, 8, 8), [Prompt("a")]).shape == (1,)
    reward.close()
    served.process.send_signal(number)
    out, err = served.process.communicate(timeout=60)
    assert err == ""
    assert (out, served.process.returncode) in [("ended\n", 0), ("", -signal.SIGTERM)]


ASK = """
import sys, torch
from zoo.prompt import Prompt
from zoo.reward.remote import Remote
Remote(url=sys.argv[1], retries=0).score(torch.zeros(1, 3, 8, 8), [Prompt("a")])
"""


@pytest.mark.slow
def test_a_reward_that_hangs_is_left_at_another_signal(serve, tmp_path):
    file = tmp_path / "hangs.py"
    file.write_text(
        "import threading\n\n\ndef score(images, prompts):\n    print('in', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    served = serve("python", "-s", f"path={file}:score", "--port", "0")
    asking = subprocess.Popen(
        [sys.executable, "-c", ASK, served.url], stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        assert served.process.stdout.readline() == "in\n"
        # Signals that come at once are one; the server has 30 s for what hangs after the first.
        for _ in range(50):
            served.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                served.process.wait(0.2)
                break
        assert served.process.poll() is not None
    finally:
        asking.kill()
        asking.wait()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["jpeg"], r"error: .*unknown reward 'jpeg'; .*jpeg_compressibility"),
        (["jpeg_compressibility", "-s", "quality=0"], r"error: -s quality=0: .*quality must be"),
        (
            ["jpeg_compressibility", "--host", "0.0.0.0"],
            r"error: --host 0.0.0.0: other machines could use .* --token-env ZOO_TOKEN",
        ),
        (
            ["jpeg_compressibility", "--token-env", "NO_SUCH_TOKEN"],
            r"error: --token-env NO_SUCH_TOKEN: .* holds no token; export one: export NO_SUCH",
        ),
        (
            ["jpeg_compressibility", "--host", "192.0.2.1", "--token-env", "T"],
            r"cannot listen there",
        ),
        (
            ["jpeg_compressibility", "--host", "no.such.host.invalid", "--token-env", "T"],
            "cannot li",
        ),
    ],
)
def test_a_mistake_is_one_line(zoo_here, monkeypatch, arguments, line):
    monkeypatch.setenv("T", TOKEN)
    ended = zoo_here("serve", *arguments)
    assert ended.code == 2
    assert len(ended.lines) == 1
    assert re.search(line, ended.err)
    assert TOKEN not in ended.err


def test_a_port_that_is_taken_is_one_line(zoo_here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = zoo_here("serve", "jpeg_compressibility", "--port", port)
    assert ended.code == 2
    assert re.search(rf"--port {port}: cannot listen there: Address already in use", ended.err)


def test_without_its_packages_the_line_says_what_to_install(zoo_here, monkeypatch):
    monkeypatch.setattr("zoo.cli.listen.find_spec", lambda package: None)
    ended = zoo_here("serve", "jpeg_compressibility")
    assert ended.code == 2
    assert ended.lines == [
        "error: zoo serve needs starlette and uvicorn; pip install 'diffusion-rl-zoo[serve]'"
    ]
