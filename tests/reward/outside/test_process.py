"""Workers that keep to no protocol: each is one line, soon, and leaves no process."""

import json
import os
import stat
import sys
import time

import pytest
import torch

from tests.reward.outside.test_isolated import verdict_of
from zoo.prompt import Prompt
from zoo.recipe.isolated import isolated_class
from zoo.registry import BrokenPluginError
from zoo.reward.known_answers import require_known_answers
from zoo.reward.outside.isolated import IsolatedReward
from zoo.reward.timed_call import RewardError

CPU = torch.device("cpu")
WORKER = """#!{python}
import json, os, socket, struct, sys, time
DESCRIBED = {described!r}
def frame(data): return struct.pack("<Q", len(data)) + data
def message(header, data=b""):
    header = json.dumps(header).encode()
    return struct.pack("<4sI", b"ZOOR", len(header)) + header + data
if "--describe" in sys.argv:
    describe = lambda: print(DESCRIBED)
    {describe}
    sys.exit()
end = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
json.load(sys.stdin)
def received(count):
    data = b""
    while len(data) < count:
        more = end.recv(count - len(data))
        if not more: sys.exit()
        data += more
    return data
def asked():
    data = received(struct.unpack("<Q", received(8))[0])
    return json.loads(data[8 : 8 + struct.unpack("<I", data[4:8])[0]])
READY = frame(message(dict(kind="ready", protocol=1, groupwise=False, arrays=[])))
KNOWN = frame(message(dict(kind="known_answers", answers=[], arrays=[])))
def scores(num):
    arrays = [["value", "float64", [num]]]
    return frame(message(dict(kind="scores", arrays=arrays), struct.pack("<d", 0.5) * num))
def answer(send, num=10**6):
    end.sendall(READY)
    for _ in range(num):
        question = asked()
        end.sendall(KNOWN if question["kind"] == "known_answers" else send(question))
{serve}
"""
PLAIN = {
    "protocol": 1, "name": "fake", "package": "fake 1", "python": "3.11", "groupwise": False,
    "doc": "d", "options_doc": "", "options": {},
}  # fmt: skip


@pytest.fixture
def worker(tmp_path):
    """Writes the Python of a worker; gives its path."""

    def write(serve="", describe="describe()", **changes):
        path = tmp_path / "python"
        path.write_text(
            WORKER.format(
                python=f"{sys.executable} -S", described=json.dumps(PLAIN | changes),
                describe=describe, serve=serve,
            )
        )  # fmt: skip
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return write


def made(python, start_timeout=30.0):
    return IsolatedReward(CPU, python=python, name="fake", options={}, start_timeout=start_timeout)


def require_gone(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail(f"the worker {pid} goes on")


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("serve", "said"),
    [
        ("end.sendall(READY[:20]); time.sleep(100)", "was not ready within 2 s"),
        ("end.sendall(READY[:4]); time.sleep(100)", "was not ready within 2 s"),
        ("time.sleep(100)", "was not ready within 2 s"),
        ("end.sendall(struct.pack('<Q', 2**63)); time.sleep(100)", "bytes; allowed are 1073741824"),
        ("end.sendall(struct.pack('<Q', 2**40)); time.sleep(100)", "bytes; allowed are 1073741824"),
        (
            "end.sendall(frame(b'garbage, no less')); time.sleep(100)",
            "is no message: a message beg",
        ),
        ("end.sendall(frame(message({}))); time.sleep(100)", "is no message: a message's header"),
        ("sys.exit('gone')", "cannot run the reward: gone"),
        ("end.sendall(frame(message(dict(kind='error', arrays=[])))); time.sleep(9)", "None: None"),
    ],
)
def test_a_worker_that_does_not_start_is_one_line_and_ends(worker, serve, said, tmp_path):
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    with pytest.raises(ValueError, match=r".") as raised:
        made(worker(note + serve), start_timeout=2.0)
    assert said in str(raised.value)
    require_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("send", "said"),
    [
        ("scores(len(q['prompts'])) * 2", "answers more than once, or before it is asked"),
        ("frame(message(dict(kind='scores', arrays=[])))", "has no scores"),
        ("frame(message(dict(kind='scores', arrays=[['value', 'float64', [0, 2**62]]])))", "shape"),
        ("frame(message(dict(kind='scores', arrays=[[['value'], 'uint8', [0]]])))", "array's name"),
        ("struct.pack('<Q', 2**62)", "bytes; allowed are"),
        ("frame(b'x' * 99)", "sent what is no message"),
    ],
)
def test_an_answer_that_is_none_is_one_line(worker, send, said):
    verdict = verdict_of(made(worker(f"answer(lambda q: {send})")), retries=0)
    assert bool(verdict.scores["it"].isnan().all())
    (line,) = verdict.failures
    assert said in line


def test_a_second_answer_is_never_taken_for_the_next_one(worker):
    # It comes a moment late: after the first was taken.
    late = "lambda q: (end.sendall(scores(len(q['prompts']))), time.sleep(0.3), scores(2))[2]"
    reward = made(worker(f"answer({late})"))
    images, prompts = torch.zeros(2, 3, 4, 4), [Prompt("a"), Prompt("b")]
    assert reward.score(images, prompts).tolist() == [0.5, 0.5]
    time.sleep(0.6)
    with pytest.raises(Exception, match="answers more than once, or before it is asked"):
        reward.score(images, prompts)


def test_a_flood_of_print_is_passed_on_in_pieces(worker, capsys):
    flood = "sys.stdout.write('x' * 300_000); sys.stdout.flush()"
    reward = made(worker(f"{flood}\nanswer(lambda q: scores(len(q['prompts'])))"))
    assert reward.known_answers() == []
    reward.interrupt()
    reward._worker._listener.join(10)
    assert max(map(len, capsys.readouterr().err.split("\n"))) <= 1 << 16


def test_known_answers_that_never_come_end_the_run(worker):
    reward = made(worker("end.sendall(READY); asked(); time.sleep(100)"))
    pid = reward._worker.pid
    with pytest.raises(RewardError, match=r"'it' cannot score its known answers: they took over"):
        require_known_answers(reward, "it", CPU, 0.5)
    reward._worker._process.wait(10)
    require_gone(pid)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("changes", "describe", "said"),
    [
        ({}, "print('[]')", "does not describe 'fake'"),
        ({}, "print('{}')", "does not describe 'fake'"),
        ({}, "pass", "does not describe 'fake'"),
        ({}, "print('[' * 100_000)", "does not describe 'fake'"),
        ({}, "sys.stdout.write('x' * 3_000_000)", "prints over 1,048,576 bytes"),
        ({}, "sys.exit('no reward')", "cannot run the reward: no reward"),
        ({"protocol": 2}, "describe()", "speaks protocol 2"),
        ({"groupwise": "no"}, "describe()", "wrongly: groupwise"),
        ({"options": []}, "describe()", "wrongly: options"),
        ({"options": {"a": {"type": "date"}}}, "describe()", "wrongly: options.a.type"),
        ({"options": {"a": {"type": "array"}}}, "describe()", "wrongly: options.a"),
        ({"options": {"a": {}}}, "describe()", "wrongly: options.a"),
        ({"options": {"a b": {"type": "integer"}}}, "describe()", "describes 'fake' wrongly"),
        ({"options": {"device": {"type": "integer"}}}, "describe()", "describes 'fake' wrongly"),
        ({"name": "a\0b"}, "describe()", "describes 'fake' wrongly"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_one_line(worker, changes, describe, said):
    with pytest.raises(BrokenPluginError) as raised:
        isolated_class(worker("", describe, **changes), "fake")
    (line,) = raised.value.lines
    assert said in line


def test_newer_workers_may_say_more(worker):
    python = worker("", more="x", options={"a": {"type": "integer", "minimum": 1, "new": 2}})
    assert isolated_class(python, "fake").__name__ == "fake"
