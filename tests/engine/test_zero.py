"""The ZeRO engine at every stage, on one process and on two."""

import io
import logging
import sys
from pathlib import Path

import pytest
import torch

from tests.engine import zero_checks
from tests.engine.in_processes import in_processes
from zoo.engine.zero_options import ZeroOptions, configuration, require_valid

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "checks"),
    [
        (
            1,
            (
                zero_checks.sets_of_weights_move_alone,
                zero_checks.nothing_switches_to_training,
                zero_checks.layers_of_half_precision_multiply_by_the_updated_values,
                zero_checks.half_precision_layers_may_follow_any_set_by_any_other,
                zero_checks.another_set_may_answer_before_the_backward,
            ),
        ),
        (
            2,
            (
                zero_checks.a_gradient_that_is_not_finite_changes_nothing,
                zero_checks.a_step_in_vain_changes_nothing,
                zero_checks.the_norm_is_that_of_all_processes_before_clipping,
                zero_checks.the_bound_on_the_norm_can_change,
                zero_checks.sets_of_weights_move_alone,
                zero_checks.waits_are_counted,
                zero_checks.gradients_are_reduced_once_an_update,
                zero_checks.adapters_are_float32_over_a_bfloat16_base,
                zero_checks.layers_of_half_precision_multiply_by_the_updated_values,
                zero_checks.a_whole_network_in_float32_computes_in_bfloat16,
                zero_checks.a_pipeline_in_pieces_keeps_its_own_loop,
            ),
        ),
        (
            3,
            (
                zero_checks.under_stage_3_a_process_holds_its_piece_alone,
                zero_checks.saving_makes_one_tensor_whole_at_a_time,
            ),
        ),
    ],
    ids=["1", "2", "3"],
)
def test_in_processes(processes: int, checks: tuple, tmp_path: Path) -> None:
    # Starting processes takes longer than what they check.
    names = [check.__name__ for check in checks]
    in_processes("tests.engine.zero_checks:all_of", processes, tmp_path, names, deepspeed=True)


def test_raw_options_are_merged_over_ours() -> None:
    raw = {"zero_optimization": {"reduce_bucket_size": 7}, "prescale_gradients": True}
    made = configuration(ZeroOptions(2, "none", raw), 0.5, CPU, elements=100, trained=10)
    assert made["zero_optimization"]["stage"] == 2
    assert made["zero_optimization"]["reduce_bucket_size"] == 7
    assert made["prescale_gradients"] is True
    assert made["gradient_clipping"] == 0.5


def test_what_is_offloaded_follows_the_option() -> None:
    zero = [
        configuration(ZeroOptions(3, offload), 1.0, CPU, elements=100, trained=10)[
            "zero_optimization"
        ]
        for offload in ("none", "optimizer", "parameters")
    ]
    keys = [{"offload_optimizer", "offload_param"} & each.keys() for each in zero]
    assert keys == [set(), {"offload_optimizer"}, {"offload_optimizer", "offload_param"}]


def test_a_raw_option_that_deepspeed_does_not_know_is_named() -> None:
    wrong = ZeroOptions(3, "none", {"zero_optimization": {"reduce_buket_size": 7}})
    with pytest.raises(ValueError, match=r"DeepSpeed refuses 'zero_optimization.reduce_buket_size"):
        require_valid(wrong, CPU)


def test_deepspeed_may_log_where_stderr_was_closed_since(monkeypatch, tmp_path) -> None:
    with (tmp_path / "stderr").open("w") as closed, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", closed)
        require_valid(ZeroOptions(3), CPU)
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    require_valid(ZeroOptions(3), CPU)
    logging.getLogger("DeepSpeed").error("no ink")
    assert "no ink" in stderr.getvalue()
