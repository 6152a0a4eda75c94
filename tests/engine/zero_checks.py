"""What must hold of the ZeRO engine; called in every process of a group (see test_zero)."""

import math
from typing import Any

import torch

from tests.runs import OWN, RECIPES, ROOT, SHORT
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.recipe.recipe import load_recipe
from zoo.rollout import Weights
from zoo.training.build import Model, StageRun, build
from zoo.training.collect import shard_groups
from zoo.training.epoch import groups_of
from zoo.training.first_step import try_step

# At DeepSpeed's own threshold tensors this small would never be in pieces.
PIECES = "{zero_optimization: {stage3_param_persistence_threshold: 0}}"
LORA = "{rank: 8, alpha: 16}"
LAYOUTS = [(stage, lora) for stage in (0, 1, 2, 3) for lora in (LORA, "null")]


def built(stage: int, lora: str, **changes: Any) -> Model:
    return built_run(stage, lora, **changes).model


def built_run(stage: int, lora: str, **changes: Any) -> StageRun:
    options = {
        **SHORT, **OWN["nft"], "engine.zero_stage": stage, "engine.deepspeed": PIECES,
        "policy.lora": lora, "eval": "null", **changes,
    }  # fmt: skip
    return load(options)


def load(options: dict[str, Any]) -> StageRun:
    return build(load_recipe(RECIPES["nft"], [f"{k}={v}" for k, v in options.items()])).stages[0]


def velocity_loss(run: Model) -> torch.Tensor:
    """The squared velocity of some rows, other ones in every process."""
    from zoo.prompt import Prompt

    x = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8) + run.engine.rank
    cond = run.policy.encode([Prompt("a photo of the digit one")] * 3)
    return run.policy.velocity(x, torch.tensor([0.2, 0.5, 0.8]), cond).square().mean()


def values(run: Model, which: Weights = Weights.LIVE) -> dict[str, torch.Tensor]:
    return {name: t.whole().clone() for name, t in run.policy.weights.tensors(which).items()}


def all_of(names: list[str]) -> None:
    """Several of what follows, which all processes do together."""
    for name in names:
        globals()[name]()


def a_gradient_that_is_not_finite_changes_nothing() -> None:
    for stage, lora in LAYOUTS:
        run = built(stage, lora)
        run.engine.backward(velocity_loss(run))
        run.engine.update(1e-2)
        before, state = values(run), {k: t.whole().clone() for k, t in run.engine.state().items()}
        # Not finite in one process alone.
        worse = math.nan if run.engine.rank == run.engine.size - 1 else 1.0
        run.engine.backward(velocity_loss(run) * worse)
        assert not run.engine.update(1e-2) < math.inf
        after = values(run)
        assert all(torch.equal(before[name], after[name]) for name in before), (stage, lora)
        for name, value in run.engine.state().items():
            assert torch.equal(value.whole(), state[name]), (stage, lora, name)
        run.engine.backward(velocity_loss(run))
        assert 0 < run.engine.update(1e-2) < math.inf
        assert any(not torch.equal(before[name], value) for name, value in values(run).items())


def a_step_in_vain_changes_nothing() -> None:
    for stage, lora in LAYOUTS:
        run = built_run(stage, lora)
        model, counted = run.model, run.model.policy.weights.num_rows
        before = values(model)
        try_step(run.learner, shard_groups(run.collector, groups_of(run, -1)))
        assert model.policy.weights.num_rows == counted
        after = values(model)
        assert all(torch.equal(before[name], after[name]) for name in before), (stage, lora)
        # The next update is that of its own gradient alone.
        norms = []
        for made in (model, built_run(stage, lora).model):
            made.engine.backward(velocity_loss(made))
            norms.append(made.engine.update(1e-2))
            norms.append(values(made))
        assert norms[0] == norms[2] < math.inf, (stage, lora, norms[0], norms[2])
        assert all(torch.equal(value, norms[3][name]) for name, value in norms[1].items())


def the_norm_is_that_of_all_processes_before_clipping() -> None:
    for stage, lora in LAYOUTS:
        run, plain = built(stage, lora), built(0, lora, **{"engine.zero_stage": "null",
                                                           "engine.deepspeed": "{}"})  # fmt: skip
        norms, moved = [], []
        for made in (run, plain):
            for scale in (1.0, 100.0):
                made.engine.backward(velocity_loss(made) * scale)
                made.engine.backward(velocity_loss(made) * scale)
                norms.append(made.engine.update(1e-3))
            moved.append(values(made))
        for found, expected in zip(norms[:2], norms[2:], strict=True):
            assert math.isclose(found, expected, rel_tol=1e-5), (stage, lora, norms)
        assert norms[0] > 0
        for name, value in moved[1].items():
            torch.testing.assert_close(moved[0][name], value, rtol=0, atol=1e-5)


def the_bound_on_the_norm_can_change() -> None:
    for stage in (0, 1, 2, 3):
        bound_changes(built(stage, LORA))


def bound_changes(run: Model) -> None:
    """What AdamW averages is the gradient as it is bounded: a tenth of it after one update."""
    run.engine.clip(0.02)
    run.engine.backward(velocity_loss(run) * 1000)
    assert run.engine.update(1e-3) > 1
    averages = [t.whole() for key, t in run.engine.state().items() if key.endswith("/exp_avg")]
    norm = math.sqrt(sum(float(average.square().sum()) for average in averages))
    assert math.isclose(norm, 0.1 * 0.02, rel_tol=1e-3), norm


def sets_of_weights_move_alone() -> None:
    for stage, lora in LAYOUTS:
        run = built(stage, lora)
        weights = run.policy.weights
        start = values(run)
        for _update in range(2):  # with LoRA the first moves B alone
            run.engine.backward(velocity_loss(run))
            run.engine.update(1e-2)
        live = values(run)
        assert all(torch.equal(start[n], v) for n, v in values(run, Weights.OLD).items())
        weights.blend(Weights.OLD, decay=0.25)
        for name, value in values(run, Weights.OLD).items():
            torch.testing.assert_close(value, start[name].lerp(live[name], 0.75))
        assert all(torch.equal(live[n], v) for n, v in values(run).items()), (stage, lora)
        with torch.no_grad():
            outs = []
            for which in (Weights.LIVE, Weights.OLD, Weights.EMA, Weights.REFERENCE):
                with weights.using(which):
                    outs.append(velocity_loss(run))
        assert len({float(out) for out in outs[:3]}) == 3
        assert torch.equal(outs[2], outs[3])  # neither the average nor the reference has moved


def nothing_switches_to_training() -> None:
    run = built(3, "null")
    assert not any(module.training for module in run.policy.weights.network.modules())


def under_stage_3_a_process_holds_its_piece_alone() -> None:
    for lora in (LORA, "null"):
        run = built(3, lora)
        with torch.no_grad():
            velocity_loss(run)
        parameters = list(run.policy.weights.module.parameters())
        held = sum(p.numel() + p.ds_tensor.numel() for p in parameters)
        whole = sum(p.ds_numel for p in parameters)
        # Pieces are filled up to the same size.
        assert held <= whole / run.engine.size + len(parameters), (held, whole)


def waits_are_counted() -> None:
    import time

    for stage in (2, 3):
        run = built(stage, "null")
        before = run.engine.communication.seconds()
        if run.engine.rank == 0:
            time.sleep(0.5)
        run.engine.backward(velocity_loss(run))
        run.engine.update(1e-3)
        waited = run.engine.communication.seconds() - before
        assert run.engine.rank == 0 or waited > 0.45, (stage, waited)


def gradients_are_reduced_once_an_update() -> None:
    import deepspeed

    for stage, lora in LAYOUTS:
        run, calls = built(stage, lora), []
        _reductions_into(deepspeed.comm.comm.cdb, calls)
        for _ in range(3):
            run.engine.backward(velocity_loss(run))
        in_backward = len(calls)
        run.engine.update(1e-3)
        # A whole network's, at the stages that divide gradients, at every backward.
        assert bool(in_backward) == (stage >= 2 and lora == "null"), (stage, lora, in_backward)
        assert len(calls) > in_backward or in_backward, (stage, lora)


def _reductions_into(backend: Any, calls: list[str]) -> None:
    """Notes every collective that reduces more than a number, as of gradients."""
    for name in ("all_reduce", "reduce", "reduce_scatter_tensor", "all_reduce_coalesced"):
        collective = getattr(backend, name)

        def noted(*args: Any, _call: Any = collective, _name: str = name, **kwargs: Any) -> Any:
            tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
            if any(tensor.numel() > 1 for tensor in tensors):
                calls.append(_name)
            return _call(*args, **kwargs)

        setattr(backend, name, noted)


def saving_makes_one_tensor_whole_at_a_time() -> None:
    for lora in (LORA, "null"):
        run = built(3, lora)
        run.engine.backward(velocity_loss(run))
        run.engine.update(1e-3)
        parameters = list(run.policy.weights.module.parameters())
        for which in (Weights.LIVE, Weights.OLD, Weights.EMA):
            for tensor in run.policy.weights.tensors(which).values():
                assert tuple(tensor.whole().shape) == tensor.shape
                assert sum(p.numel() for p in parameters) == 0
        for tensor in run.engine.state().values():
            assert tuple(tensor.whole().shape) == tensor.shape
            assert sum(p.numel() for p in parameters) == 0


def adapters_are_float32_over_a_bfloat16_base() -> None:
    for stage in (0, 1, 2, 3):
        run = built(stage, LORA, **{"policy.dtype": "bfloat16"})
        weights = run.policy.weights
        adapters = [weights.parameters(which) for which in (Weights.LIVE, Weights.OLD)]
        own = {id(p) for adapter in adapters for p in adapter.values()}
        base = {p.dtype for name, p in weights.module.named_parameters() if "lora" not in name}
        assert base == {torch.bfloat16}
        assert {p.dtype for p in weights.module.parameters() if id(p) in own} == {torch.float32}
        start = values(run)
        for _update in range(2):
            run.engine.backward(velocity_loss(run))
            assert 0 < run.engine.update(1e-3) < math.inf
        assert {t.whole().dtype for t in run.engine.state().values()} == {torch.float32}
        # A bfloat16 average would not move: a hundredth of a step is below its last digit.
        live = values(run)
        weights.blend(Weights.OLD, decay=0.99)
        for name, value in values(run, Weights.OLD).items():
            torch.testing.assert_close(value, start[name].lerp(live[name], 0.01), rtol=0, atol=1e-9)
            moved = float((live[name] - start[name]).abs().max()) > 1e-4  # all but unused layers
            assert moved != torch.equal(value, start[name]), (stage, name)


def layers_of_half_precision_multiply_by_the_updated_values() -> None:
    half = {"policy.dtype": "bfloat16"}
    plain = built(0, LORA, **half, **{"engine.zero_stage": "null", "engine.deepspeed": "{}"})
    expected = _updates(plain)
    for stage in (0, 1, 2, 3):
        run = built(stage, LORA, **half)
        for found, right in zip(_updates(run), expected, strict=True):
            assert math.isclose(found, right, rel_tol=1e-3), (stage, found, right)
        weights = run.policy.weights
        weights.blend(Weights.OLD, decay=0.5)
        for which in (Weights.LIVE, Weights.OLD, Weights.EMA):
            with torch.no_grad(), weights.using(which):
                followed = velocity_loss(run)
                weights.changed(which)
                assert torch.equal(velocity_loss(run), followed), (stage, which)


def a_whole_network_in_float32_computes_in_bfloat16() -> None:
    half = {"policy.dtype": "bfloat16"}
    plain = {"engine.zero_stage": "null", "engine.deepspeed": "{}"}
    lr = 1e-4  # a whole network's: what rounds its other way moves no more by it
    expected, wide = (_updates(built(0, "null", **type_, **plain), lr) for type_ in (half, {}))
    away = max(abs(found / right - 1) for found, right in zip(expected, wide, strict=True))
    assert 1e-4 < away < 0.05  # the rounding of bfloat16
    for stage in (0, 1, 2, 3):
        run = built(stage, "null", **half)
        for found, right in zip(_updates(run, lr), expected, strict=True):
            assert math.isclose(found, right, rel_tol=1e-3), (stage, found, right)
        assert {p.dtype for p in run.policy.weights.module.parameters()} == {torch.float32}
        assert {t.whole().dtype for t in run.engine.state().values()} == {torch.float32}


def half_precision_layers_may_follow_any_set_by_any_other() -> None:
    """Small parameters are whole all the time by DeepSpeed's own options, and traced otherwise."""
    run = built(3, LORA, **{"policy.dtype": "bfloat16", "engine.deepspeed": "{}"})
    for before in ((Weights.OLD, Weights.REFERENCE), (Weights.REFERENCE,), (Weights.LIVE,)):
        for which in before:
            with torch.no_grad(), run.policy.weights.using(which):
                followed = velocity_loss(run)
        loss = velocity_loss(run)
        if before == (Weights.LIVE,):
            assert torch.equal(followed, loss.detach())
        run.engine.backward(loss)
        assert run.engine.update(1e-3) > 0


def another_set_may_answer_before_the_backward() -> None:
    """As where a distance to the reference is asked for last: its layers are let go of."""
    for options in ("{}", PIECES):
        run = built(3, LORA, **{"policy.dtype": "bfloat16", "engine.deepspeed": options})
        for _step in range(4):  # of collecting, until DeepSpeed has a trace that it follows
            with torch.no_grad(), run.policy.weights.using(Weights.OLD):
                velocity_loss(run)
        norms = []
        for between in (Weights.REFERENCE, Weights.OLD, None):
            loss = velocity_loss(run)
            if between is not None:
                with torch.no_grad(), run.policy.weights.using(between):
                    velocity_loss(run)
            run.engine.backward(loss)
            norms.append(run.engine.update(0.0))
        assert norms[0] > 0
        assert norms == [norms[0]] * 3, options


def _updates(run: Model, lr: float = 1e-2) -> list[float]:
    """The loss before each of three updates, and the norms of their gradients."""
    found = []
    for _update in range(3):
        loss = velocity_loss(run)
        run.engine.backward(loss)
        found += [float(loss), run.engine.update(lr)]
    assert len(set(found)) == len(found)
    return found


def a_pipeline_in_pieces_keeps_its_own_loop() -> None:
    """What a policy asks for in `ready`, beside a GPU: here it has asked once before it was cut."""
    options = {**SHORT, "engine.zero_stage": 3, "engine.deepspeed": PIECES, "eval": "null"}
    path = ROOT / "recipes" / "nft_scenes.yaml"
    run = build(load_recipe(path, [f"{k}={v}" for k, v in options.items()]))
    policy = run.model.policy
    assert isinstance(policy, PipelinePolicy)
    assert all(p.numel() == 0 for p in policy.weights.module.parameters())
    before, policy.verified, policy._waits = policy.verified, {}, True
    policy.ready()
    assert policy.verified.keys() == before.keys()
    assert max(policy.verified.values()) < 1e-3
