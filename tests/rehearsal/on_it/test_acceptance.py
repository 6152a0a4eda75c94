"""The parts of benchmarks/acceptance.py on the device, on tiny models."""

import pytest

from benchmarks.acceptance_parts import correctness, speed, waits
from benchmarks.acceptance_parts.part import Report, Setting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    made = Setting(tmp_path_factory.mktemp("parts"), True, "auto")
    correctness.make_model(made, Report("model", made))
    return made


@pytest.mark.parametrize(
    "run",
    [
        correctness.compare_digits, correctness.compare_scenes, correctness.probe_objectives,
        speed.compare_memory, speed.run_plain, speed.overlap_rewards, waits.find_waits,
    ],
)  # fmt: skip
def test_a_part_runs(run, setting):
    report = Report("some", setting)
    run(setting, report)
    result = report.result
    assert result.where.startswith("a pretend accelerator, torch")
    assert result.verdicts
    # A pretend card has no speed, and holds no memory.
    timed = ("the best part", "a reward")
    wrong = [v for v in result.verdicts if v.good is False and not v.about.startswith(timed)]
    assert wrong == []
