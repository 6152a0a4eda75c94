"""One command for the first minutes on a card: each part costs itself alone, and is done once."""

import json

import pytest

from benchmarks.acceptance import PAGE, PARTS, RESULTS, Acceptance
from benchmarks.acceptance_parts import correctness, on_policy, speed, waits
from benchmarks.acceptance_parts.part import Part, Report, Setting, file_of, read
from benchmarks.acceptance_parts.runs import OBJECTIVES, recipe
from tests.objective.test_recompute_old import RoundingByRows
from zoo.plan.geometry import plan
from zoo.registry import entries


def unused(setting, report):
    raise AssertionError("a part runs in a process of its own")


def part(name, seconds=60.0, needs=()):
    return Part(name, f"what {name} shows", unused, seconds, needs)


def fake(folder, *parts, options=("--device", "cpu")):
    return Acceptance(folder, options, parts, "tests.benchmarks.acceptance_fake")


def begun(folder):
    return (folder / "begun").read_text().split()


EVERY = (
    part("good"), part("bad"), part("raises"), part("silent"), part("hangs", 8.0), part("killed"),
    part("needy", needs=("raises",)), part("after", needs=("good",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All parts were run once; what was said is beside."""
    folder = tmp_path_factory.mktemp("acceptance")
    made = fake(folder, *EVERY)
    made.run([one.name for one in EVERY], minutes=10)
    return folder


def states(folder):
    return {one["part"]: one["state"] for one in json.loads((folder / RESULTS).read_text())}


def test_a_part_that_fails_costs_itself_alone(whole):
    assert states(whole) == {
        "good": "done", "bad": "done", "raises": "failed", "silent": "failed", "hangs": "failed",
        "killed": "failed", "after": "done",
    }  # fmt: skip
    assert begun(whole) == ["good", "bad", "raises", "silent", "hangs", "killed", "after"]


def test_the_page_says_what_is_good_and_what_is_not_and_why(whole):
    page = (whole / PAGE).read_text()
    for line in (
        "# Acceptance on here; it never began",
        "5 good, 1 not, 0 not known; 4 parts failed;",
        "| good | good holds | 1 \\| 2 | 3 | yes |",
        "| bad | bad holds | 1 \\| 2 | 3 | **NO** |",
        "| raises | what raises shows | RuntimeError: out of luck (all of it: ",
        f"(all of it: {whole}/raises.log) |",
        "| killed | what killed shows | killed by signal 9 (all of it:",
        "| silent | what silent shows | ModuleNotFoundError: nothing is installed (all of it:",
        "| hangs | what hangs shows | stopped after 8 s (all of it:",
        "| needy | what needy shows | not run |",
        "| one | 1 | none |",
        "* lone: 1, x",
    ):
        assert line in page, line


def test_what_is_done_is_not_done_again_and_what_failed_is(whole):
    fake(whole, *EVERY).run(["good", "raises", "after"], minutes=10)
    assert begun(whole)[7:] == ["raises"]
    # Small shapes say nothing of large ones.
    fake(whole, part("good"), options=["--small"]).run(["good"], minutes=10)
    assert begun(whole)[8:] == ["good"]


def test_no_part_begins_when_the_time_is_over(tmp_path, capsys):
    fake(tmp_path, part("good")).run(["good"], minutes=0)
    assert capsys.readouterr().out == "good: not run, the 0 minutes are over\n"
    assert not (tmp_path / RESULTS).exists()


def test_what_a_part_has_so_far_is_in_its_file(tmp_path):
    report = Report("some", Setting(tmp_path, True, "cpu"))
    report.number("rate", {"a": 1.0})
    report.judge("it", None, "nothing", "1: because")
    found = read(file_of(tmp_path, "some"))
    assert (found.state, found.numbers) == ("running", {"rate": {"a": 1.0}})
    assert found.verdicts[0].good is None
    assert "torch" in found.where
    report.end()
    assert read(file_of(tmp_path, "some")).state == "done"


def test_every_part_comes_after_what_it_needs():
    before = set()
    for one in PARTS:
        assert set(one.needs) <= before
        before.add(one.name)


def test_every_objective_is_probed_in_an_epoch_that_can_be_formed(tmp_path):
    own = {e.name for e in entries("objectives") if e.package == "diffusion-rl-zoo"}
    assert own == set(OBJECTIVES)
    for objective in OBJECTIVES:
        for small in (False, True):
            made = recipe(Setting(tmp_path, small, "cpu"), objective, images=8, batch=4, steps=3)
            planned = plan(made, 1)
            assert (planned.images, planned.sampling.rows, planned.updates) == (8, 4, 1)
    large = recipe(Setting(tmp_path, False, "auto")).policy.options
    assert (large["resolution"], large["dtype"]) == (512, "bfloat16")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The parts of tiny models here; the model is there."""
    setting = Setting(tmp_path_factory.mktemp("parts"), True, "cpu")
    ran(correctness.make_model, setting)
    return setting


def ran(run, setting):
    report = Report("some", setting)
    run(setting, report)
    return report.result


def test_the_device_against_the_cpu(tmp_path):
    found = ran(correctness.compare_digits, Setting(tmp_path, True, "cpu"))
    assert [verdict.good for verdict in found.verdicts] == [True] * 5
    # Here both are the CPU.
    assert set(found.numbers.values()) == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "verdicts"),
    [
        (correctness.compare_scenes, 5),
        (correctness.probe_objectives, len(OBJECTIVES)),
        (on_policy.compare_ratios, 3),
        (correctness.repeat_exactly, 2),
        (speed.compare_memory, 3),
        (speed.run_plain, 1),
        (speed.overlap_rewards, 2),
        (speed.compare_kernels, 2),
        (waits.find_waits, 2),
    ],
)
def test_a_part_runs_on_the_cpu(small, run, verdicts):
    found = ran(run, small)
    assert len(found.verdicts) == verdicts
    wrong = [v for v in found.verdicts if v.good is False]
    assert wrong == []


@pytest.mark.slow
def test_rounding_by_the_number_of_rows_clips_what_is_not_asked_again(small):
    with RoundingByRows():
        found = ran(on_policy.compare_ratios, small)
    usual, again = found.numbers.values()
    assert usual["clipped"] > 0.5
    assert usual["off 1"] > 1e-4
    assert (again["clipped"], again["off 1"]) == (0, 0)
    assert again["KL"] < 1e-6
    assert [verdict.good for verdict in found.verdicts] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero", "compiled"])
def test_a_part_runs_by_its_command(small, name):
    """Those that change the process that they are in."""
    made = Acceptance(small.folder, ["--device", "cpu", "--small"])
    made.run(["model", name], minutes=30)
    assert made.results[name].state == "done", made.results[name].message
    assert all(verdict.good is not False for verdict in made.results[name].verdicts)
