"""Tiny models of the published layouts: the device gives the CPU's numbers, but for rounding."""

import pytest

from tests.rehearsal.on_it.both import rehearse
from tests.runs import ROOT

pytestmark = pytest.mark.slow

ONE = {"engine__processes": 1, "engine__zero_stage": "null", "epochs": 1, "scoring__retries": 0}
CASES = {
    "sd3, nft": ("nft_sd3_pickscore", {}),
    "sd3, nft with guidance": ("nft_sd3_pickscore", {"objective__kl": "{guidance: 2.0}"}),
    "sd3, flow_grpo with guidance": ("flow_grpo_sd3_pickscore", {}),
    "sd3 in bfloat16": ("flow_grpo_sd3_pickscore", {"policy__dtype": "bfloat16"}),
    "sd3, four rewards": ("nft_sd3_multi", {}),
    "sd3, all trained, copies on the host": (
        "nft_sd3_pickscore",
        {"policy__lora": "null", "policy__copies_on": "cpu",
         "engine__gradient_checkpointing": "true"},
    ),
    "sd3, checkpointing": ("nft_sd3_pickscore", {"engine__gradient_checkpointing": "true"}),
    "flux": ("nft_flux_pickscore", {}),
    "a pipeline, edits": ("nft_flux_kontext", {}),
    "a pipeline of noise": ("dpo_sdxl", {}),
    "rewards off and on the device": (
        "nft_sd3_multi",
        {"rewards": "[{name: pickscore, run_on: cpu}, {name: hpsv2, offload: true}, "
         "{name: clipscore, offload: true}]"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_model_has_the_same_numbers(case, tmp_path, monkeypatch, tmp_path_factory, traffic):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    recipe, changes = CASES[case]
    path = ROOT / "recipes" / f"{recipe}.yaml"
    # Products with a single row, as of a text that is encoded alone, convolutions and attention of
    # tensors that lie otherwise in memory are summed otherwise; rewards then round other pixels.
    # The gradient of all weights is a sum of many that nearly cancel.
    is_rounded_more = case.startswith("a pipeline") or "all trained" in case
    rounding = 5e-3 if is_rounded_more else 1e-3
    rehearse(path, tmp_path, tiny=True, rounding=rounding, **{**ONE, **changes})
    if case.startswith("sd3"):
        # Others' pipelines prepare more for every forward, in code of their own that waits.
        assert traffic.at("training") == {}
        assert traffic.waits("sampling") <= traffic.calls["sampling"]
