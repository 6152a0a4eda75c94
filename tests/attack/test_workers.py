"""Workers of isolated rewards that answer oddly, at random: a line, soon, and no process left."""

import json
import time

import pytest

from tests.attack.cases import cases, draw_of, limited, mutated, mutated_bytes, require_none
from tests.reward.outside.test_isolated import verdict_of
from tests.reward.outside.test_process import PLAIN, made, require_gone, worker
from zoo.recipe.isolated import isolated_class
from zoo.registry import BrokenPluginError
from zoo.reward.timed_call import RewardError

__all__ = ["worker"]

GOOD = "scores(len(q['prompts']))"


def odd_answer(draw):
    """What a worker sends for a question: now and then what it should."""
    header = {"kind": "scores", "arrays": [["value", "float64", [2]]]}
    return draw.choice([
        lambda: GOOD,
        lambda: f"{GOOD} * 2",
        lambda: f"{GOOD}[:{draw.randrange(40)}]",
        lambda: f"frame(message({mutated(header, draw)!r}, bytes(16)))",
        lambda: f"frame({mutated_bytes(b'ZOOR' + bytes(60), draw)!r})",
        lambda: f"struct.pack('<Q', {draw.choice([0, 1, 7, 2**31, 2**40, 2**63])})",
        lambda: f"sys.exit({draw.choice([0, 1, 'no'])!r})",
        lambda: "os.kill(os.getpid(), 9)",
        lambda: "(sys.stdout.write('x' * 99_000), sys.stdout.flush(), " + GOOD + ")[2]",
        lambda: "(print('\\\\ud800\\\\x1b[2J', file=sys.stderr), " + GOOD + ")[1]",
        lambda: "time.sleep(9)",
        lambda: "end.close()",
        lambda: "bytes(0)",
    ])()  # fmt: skip


@pytest.mark.slow
def test_an_odd_worker_gives_its_scores_or_none(worker, tmp_path):
    faults = {}
    for number in cases(60):
        draw = draw_of("worker", number)
        pid = tmp_path / "pid"
        note = f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        answers = [odd_answer(draw) for _ in range(draw.choice([1, 3]))]
        serve = f"{note}from math import nan, inf\nturns = iter(range(10**6))\n" + (
            f"answer(lambda q: [{', '.join('lambda q: ' + each for each in answers)}]"
            f"[next(turns) % {len(answers)}](q))"
        )
        start = time.monotonic()
        try:
            with limited(60):
                reward = made(worker(serve), start_timeout=10.0)
                verdict = verdict_of(reward, retries=1, timeout=1.0)
                reward.interrupt()
                reward._worker._process.wait(10)
            score = verdict.scores["it"].tolist()
            if not all(value in (0.5, 0.0) or value != value for value in score):
                faults[number] = f"{answers}: scored {score}"
            if not all(line.isprintable() for line in verdict.failures):
                faults[number] = f"{answers}: {verdict.failures}"
            require_gone(int(pid.read_text()))
        except (RewardError, ValueError) as error:
            if "\n" in str(error):
                faults[number] = f"{answers}: {error}"
        except BaseException as error:
            faults[number] = f"{answers}: {error!r}"[:300]
        if time.monotonic() - start > 40:
            faults[number] = f"{answers}: took {time.monotonic() - start:.0f} s"
    require_none(faults)


@pytest.mark.slow
def test_an_odd_description_is_one_line(worker):
    faults = {}
    options = {"a": {"type": "integer", "minimum": 1}, "b": {"type": "string", "default": "x"}}
    for number in cases(40):
        draw = draw_of("description", number)
        whole = PLAIN | {"options": options}
        if number % 2:
            said = json.dumps(mutated(whole, draw))
        else:
            said = mutated_bytes(json.dumps(whole).encode(), draw).decode(errors="replace")
        describe = f"sys.stdout.buffer.write({said.encode('utf-8', 'surrogatepass')!r})"
        try:
            with limited(20):
                isolated_class(worker("", describe), "fake")
        except BrokenPluginError as error:
            if len(error.lines) != 1 or not error.lines[0].isprintable():
                faults[number] = f"{said}: {error}"
        except BaseException as error:
            faults[number] = f"{said}: {error!r}"[:300]
    require_none(faults)
