"""Rule 1 of the design: any number of processes makes the same run."""

import pytest
import torch

from tests.runs import RECIPES, metrics, only_run, overrides, tensors, zoo

LR = 3e-3
# What is summed over processes in another order may differ in the last digits.
SAME = ("reward", "reward/digit", "eval/judge", "num_evals", "step", "epoch", "loss")


@pytest.mark.parametrize("algorithm", sorted(RECIPES))
def test_parameters_and_metrics_do_not_depend_on_the_number_of_processes(algorithm, tmp_path):
    # Five groups on two and three processes: uneven. Four updates: over more of them Adam makes
    # last digits of near-zero gradients into more than the bound.
    runs = {}
    for processes in (1, 2, 3):
        out = tmp_path / str(processes)
        done = zoo(
            "train",
            RECIPES[algorithm],
            *overrides(algorithm, out, epochs=2, engine__processes=processes),
        )
        assert done.returncode == 0, done.stderr
        runs[processes] = only_run(out)
    expected, lines = tensors(runs[1]), metrics(runs[1])
    assert lines[-1]["step"] == 4
    for processes in (2, 3):
        found = tensors(runs[processes])
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            if not name.startswith("optimizer/"):
                torch.testing.assert_close(found[name], value, rtol=0, atol=0.01 * LR, msg=name)
        for mine, theirs in zip(lines, metrics(runs[processes]), strict=True):
            for key in SAME:
                if key in mine:
                    assert theirs[key] == pytest.approx(mine[key], rel=1e-4, abs=1e-5), key
