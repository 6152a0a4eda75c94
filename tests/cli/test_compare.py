"""`zoo compare` as a user would: real runs, killed and restarted, interrupted, failing."""

import json
import re
import signal
import subprocess
import time

import pytest

from tests.runs import CLOCKS, ROOT, clean_environment, command, zoo
from tests.suites import GRPO, suite

TWO = f"nft: {{}}\ngrpo: {GRPO}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A suite that was run without a break: its file, its folder, what was said."""
    folder = tmp_path_factory.mktemp("whole")
    path = suite(folder, TWO, targets="[{label: judge, at_least: 0.01}]", budget="{epochs: 4}")
    done = zoo("compare", path, "-o", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return path, folder / "out", done.stdout


def numbers(out):
    """The results without clocks, and without what names the folder."""
    found = json.loads((out / "results.json").read_text())
    for contender in found["contenders"].values():
        for key in CLOCKS:
            contender["final"].pop(key, None)
        for target in contender["targets"]:
            del target["seconds"]
        for run in contender["runs"].values():
            run["evaluations"] = [
                {key: value for key, value in line.items() if key not in CLOCKS}
                for line in run["evaluations"]
            ]
            run["warnings"] = [re.sub(r"/\S+", "", text) for text in run["warnings"]]
    return {key: value for key, value in found.items() if key != "command"}


def start(*arguments):
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(), cwd=ROOT, start_new_session=True,
    )  # fmt: skip


def wait_for_epochs(out, name, count, process):
    """Waits until a run has recorded so many lines."""
    end = time.monotonic() + 120
    while not any(
        file.read_text().count("\n") >= count
        for file in out.glob(f"runs/{name}/*/metrics.jsonl")
    ):  # fmt: skip
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_comparison_leaves_its_report_its_numbers_and_its_runs(whole):
    _, out, said = whole
    assert {path.name for path in out.iterdir()} >= {
        "report.html", "report.md", "results.json", "suite.json", "runs", "recipes", "logs",
        "plots", "pictures",
    }  # fmt: skip
    assert f"report: {out / 'report.html'}" in said
    found = json.loads((out / "results.json").read_text())
    assert list(found["contenders"]) == ["nft", "grpo"]
    assert found["command"].startswith("zoo compare ")
    for name, contender in found["contenders"].items():
        (run,) = contender["runs"].values()
        assert run["end"]["reason"] == "epochs"
        assert [line["epoch"] for line in run["evaluations"]] == [0, 1, 2, 3, 4]
        (target,) = contender["targets"]
        assert target["forwards"]["median"]["num_finite"] == 1
        assert contender["trained"] == ["digit"]
        assert (out / "logs" / f"{name}_0.log").read_text().startswith("$ zoo train ")
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert "zoo compare" in page


def test_what_is_done_is_not_done_again(whole):
    path, out, _ = whole
    before = sorted(file for file in out.glob("runs/*/*"))
    pages = [(out / name).read_bytes() for name in ("report.html", "report.md", "results.json")]
    again = zoo("compare", path, "-o", out)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("there already") == 2
    assert sorted(file for file in out.glob("runs/*/*")) == before
    assert pages == [
        (out / name).read_bytes() for name in ("report.html", "report.md", "results.json")
    ]


def test_a_suite_that_is_killed_and_started_again_gives_the_same_numbers(whole, tmp_path):
    path, undisturbed, _ = whole
    out = tmp_path / "out"
    for name, count in (("nft_0", 3), ("grpo_0", 3)):
        process = start("compare", path, "-o", out)
        wait_for_epochs(out, name, count, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended = zoo("compare", path, "-o", out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [len(list(folder.iterdir())) for folder in sorted(out.glob("runs/*"))] == [1, 1]
    assert numbers(out) == numbers(undisturbed)


def test_an_interrupted_suite_saves_reports_and_says_how_to_go_on(whole, tmp_path):
    path, _, _ = whole
    out = tmp_path / "out"
    long = ["-s", "budget.epochs=2000", "-s", "common.eval.every=2000"]
    process = start("compare", path, "-o", out, *long)
    wait_for_epochs(out, "nft_0", 3, process)
    other = zoo("compare", path, "-o", out)
    assert other.returncode == 2
    assert re.search(rf"error: process {process.pid} is comparing in .*; wait for it", other.stderr)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "2 runs are left; the same command goes on" in said
    assert (out / "report.html").is_file()
    assert list(out.glob("runs/nft_0/*/checkpoints/*"))
    assert "go on with: zoo train --resume" in (out / "logs" / "nft_0.log").read_text()


def test_a_contender_that_fails_does_not_lose_the_others(tmp_path):
    (tmp_path / "reward.py").write_text("def f(images, prompts):\n    raise ValueError('no <b>')\n")
    broken = f"{{name: python, path: '{tmp_path}/reward.py:f'}}"
    path = suite(tmp_path, f"broken: {{rewards: [{broken}]}}\nnft: {{}}", budget="{epochs: 1}")
    done = zoo("compare", path, "-o", tmp_path / "out", "-s", "common.scoring.retries=0")
    assert done.returncode == 1
    assert re.search(r"^error: broken_0: .*ValueError: no <b>", done.stderr, re.MULTILINE)
    found = json.loads((tmp_path / "out" / "results.json").read_text())["contenders"]
    assert (list(found["broken"]["runs"]), list(found["nft"]["runs"])) == ([], ["0"])
    assert "no <b>" in found["broken"]["failed"][0]["why"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no &lt;b&gt;" in page
    assert "no <b>" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.yaml",), "none.yaml: there is no such file"),
        (("SUITE", "-s", "seeds=[x]"), "-s seeds=[x]: seeds"),
        (("SUITE", "-o", "/dev/null/x"), "--out /dev/null/x: it cannot be a folder"),
    ],
)
def test_mistakes_are_said_in_a_line_before_anything_runs(arguments, said, tmp_path, zoo_here):
    path = suite(tmp_path, "nft: {}")
    ended = zoo_here("compare", *(path if part == "SUITE" else part for part in arguments))
    assert ended.code == 2
    (line,) = ended.lines
    assert said in line
