"""Standard streams whose reader is gone, or that never were: the run goes on and logs the rest."""

import os
import signal
import subprocess
import sys

import pytest

from tests.runs import RECIPES, ROOT, clean_environment, command, metrics, only_run, overrides
from zoo.cli import streams
from zoo.terminal import Terminal, say

NFT = RECIPES["nft"]


@pytest.fixture(autouse=True)
def _nothing_is_lost_yet(monkeypatch):
    monkeypatch.setattr(streams, "_lost", bytearray())
    monkeypatch.setattr(streams, "_log", [])


@pytest.fixture
def pipe():
    """A stream on a pipe, and the end to read it at."""
    reader, writer = os.pipe()
    yield streams._lasting(writer, None), reader
    os.close(writer)


def test_what_has_a_reader_arrives_at_once_and_is_kept_nowhere(pipe, tmp_path):
    stream, reader = pipe
    stream.write("a café\n")
    assert os.read(reader, 100) == "a café\n".encode()
    streams.keep_in(tmp_path / "run.log")
    assert not (tmp_path / "run.log").exists()
    os.close(reader)


def test_what_nobody_reads_is_in_the_log(pipe, tmp_path):
    stream, reader = pipe
    os.close(reader)
    stream.write("before the run\n")
    streams.keep_in(tmp_path / "run.log")
    stream.write("in the run\n")
    assert (tmp_path / "run.log").read_text() == "before the run\nin the run\n"


def test_a_log_that_cannot_be_written_is_no_error(pipe, tmp_path):
    stream, reader = pipe
    os.close(reader)
    streams.keep_in(tmp_path / "gone" / "run.log")
    stream.write("lost\n")


def test_without_a_log_only_so_much_is_kept(pipe):
    stream, reader = pipe
    os.close(reader)
    stream.write("x" * (1 << 21))
    stream.write("the end\n")
    assert len(streams._lost) == 1 << 20
    assert streams._lost.endswith(b"xthe end\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_character_ends_a_command(encoding, monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w", encoding=encoding, closefd=False) as plain:
        monkeypatch.setattr(sys, "stdout", streams._lasting(writer, plain))
    say("größer ✓ 🐶 \udcff")
    Terminal().print("größer ✓ 🐶 \udcff")
    for line in os.read(reader, 1000).decode(encoding).splitlines():
        assert line.endswith("\\udcff")
        assert ("✓" in line) == (encoding == "utf-8")
    os.close(reader)
    os.close(writer)


def after(shell, *arguments):
    """`zoo ARGUMENTS` as a shell runs it; CODE has its exit code."""
    line = " ".join(f"'{each}'" for each in command(*arguments))
    return subprocess.run(
        ["bash", "-c", shell.format(zoo=line)], cwd=ROOT, env=clean_environment(), timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "shell",
    [
        "{zoo} >&- 2>&-",
        "{zoo} | head -n 1; exit ${{PIPESTATUS[0]}}",
        "{zoo} > /dev/full",
        "{zoo} <&- 2>&-",
    ],
)
def test_a_run_goes_on_without_its_console(shell, tmp_path):
    ended = after(shell, "train", NFT, *overrides("nft", tmp_path, epochs=2))
    assert ended.returncode == 0, ended.stderr
    run = only_run(tmp_path)
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2]
    if "2>&-" not in shell or ">&- 2" in shell:
        assert "epoch 2/2" in (run / "run.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_closed_ends_a_run_politely_and_not_under_nohup(ignored, tmp_path):
    import pty

    leader, follower = pty.openpty()
    chosen = overrides("nft", tmp_path, epochs=6)

    def begin():
        os.setsid()
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        import fcntl
        import termios

        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command("train", NFT, *chosen), stdin=follower, stdout=follower, stderr=follower,
        cwd=ROOT, env={**clean_environment(), "TERM": "xterm"}, preexec_fn=begin,
    )  # fmt: skip
    os.close(follower)
    said = b""
    while b"epoch 0/6" not in said:
        said += os.read(leader, 1 << 16)
    os.close(leader)
    assert process.wait(120) == (0 if ignored else 128 + signal.SIGHUP)
    run = only_run(tmp_path)
    assert (metrics(run)[-1]["epoch"] == 6) == ignored
    log = (run / "run.log").read_text()
    assert ("epoch 6/6" if ignored else "go on with: zoo train --resume") in log
    assert sys.getsizeof(log) < 20_000
