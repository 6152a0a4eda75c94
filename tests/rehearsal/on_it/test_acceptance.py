"""The parts of benchmarks/acceptance.py on the device, on tiny models.

`zero` is in test_zero.py. Two are left out, which run on the CPU in tests/benchmarks:
`deterministic` is of kernels, and those here are the CPU's, which give the same numbers every time;
`compiled` is of torch's compiler, which writes no code for this device.
"""

import pytest

from benchmarks.acceptance_parts import correctness, on_policy, speed, waits
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
        speed.compare_memory, speed.run_plain, speed.overlap_rewards, speed.compare_kernels,
        waits.find_waits, on_policy.compare_ratios,
    ],
)  # fmt: skip
def test_a_part_runs(run, setting):
    report = Report("some", setting)
    run(setting, report)
    result = report.result
    assert result.where.startswith("a pretend accelerator, torch")
    assert result.verdicts
    # A pretend card has no speed, and holds no memory.
    timed = ("the best part", "a reward", "torch's choice", "the autoencoder's layout")
    wrong = [v for v in result.verdicts if v.good is False and not v.about.startswith(timed)]
    assert wrong == []
