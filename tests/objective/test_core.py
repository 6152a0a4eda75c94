"""The functional core: what others compare theirs with keeps its name and arguments."""

import inspect
from importlib import import_module

import pytest

CORE = {
    "nft.optimality": "advantage; clip, mode",
    "nft.old_decay": "step; flat, rate, cap, first",
    "nft.nft_loss": (
        "velocity, old_velocity, x, clean, t, optimality; beta, clip, weighting, negative_weight"
    ),
    "flow_grpo.clipped_surrogate": "log_prob, old_log_prob, advantage; clip_range, adv_clip",
    "dpo.diffusion_dpo_loss": "err_live_win, err_ref_win, err_live_lose, err_ref_lose; beta",
    "dpo.linear_dpo_loss": "err_live_win, err_ref_win, err_live_lose, err_ref_lose; beta, eta",
    "dpo.loser_scale": "error_win, error_lose; mu",
    "dpo.dspo_loss": "v, v_ref, target; beta, form",
    "dpo.mapo_loss": "err_win, err_lose; beta, c, steps",
    "awm.awm_loss": (
        "v, v_old, x0, noise, t, adv; weighting, power, clip, adv_clip, advantage_max"
    ),
    "elbo_pg.elbo": "v, x, x0, noise, t; weighting",
    "elbo_pg.elbo_policy_loss": "elbo, elbo_old, adv; method",
    "ram.ram_loss": "v, v_old, v_ref, x0, noise, adv; gain",
    "dgpo.dgpo_loss": (
        "v, v_ref, v_kl, v_old, x0, noise, adv, group; "
        "beta, group_size, kl, clip, clip_policy, clip_kl"
    ),
    "crd.crd_loss": "v, v_old, x0, noise, adv; beta, weight_temp, kind, adaptive, adv_clip, split",
    "crd.crd_kl": "v, v_ref, optimality; kl, adaptive",
    "grpo_guard.guard_loss": "logp, logp_old, mean, mean_old, std, dt, adv; clip, adv_clip",
    "flow_dppo.dppo_loss": "logp, logp_old, mean, mean_old, std, adv; threshold",
    "kto.kto_loss": "err_live, err_ref, liked; beta, weight_liked, weight_disliked, baseline",
}


@pytest.mark.parametrize("name", CORE)
def test_a_function_of_the_core_is_called_as_ever(name):
    module, _, function = name.partition(".")
    of = inspect.signature(getattr(import_module(f"zoo.objective.{module}"), function)).parameters
    by_place = [key for key, each in of.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    by_name = [key for key, each in of.items() if each.kind is each.KEYWORD_ONLY]
    assert f"{', '.join(by_place)}; {', '.join(by_name)}" == CORE[name]
