"""LoRA that was trained by the policy, loaded by the pipeline's own `load_lora_weights`."""

import diffusers
import pytest
import torch

from zoo import seeds
from zoo.policy import lora_files
from zoo.policy.lora import Lora
from zoo.policy.pipeline.policy import Diffusers
from zoo.testing.policies import perturb

CPU, LORA = torch.device("cpu"), Lora(rank=4, alpha=8)
TEXT = "a red cat on a mat"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["StableDiffusionXLPipeline", "WanPipeline", "QwenImagePipeline", "FluxPipeline"],
)
def test_the_pipeline_draws_what_the_policy_draws(tiny, tmp_path, kind):
    options = tiny(kind)
    policy = Diffusers(CPU, **{**options, "lora": LORA})
    seam = policy.seam
    policy.weights.allocate((), seed=0)
    before = seam.run_own_loop([TEXT], None, seam.encode([TEXT], None), steps=2, output="pt").made
    perturb(policy)
    wanted = seam.run_own_loop([TEXT], None, seam.encode([TEXT], None), steps=2, output="pt").made
    tensors = {name: p.detach() for name, p in policy.weights.parameters().items()}
    lora_files.write_diffusers(tmp_path, tensors, LORA, network=policy.network_folder)
    fresh = getattr(diffusers, kind).from_pretrained(options["pretrained"])
    fresh.load_lora_weights(tmp_path)
    keywords = seam.given() | {
        "generator": seeds.generator(0, "pipeline"), "output_type": "pt",
    }  # fmt: skip
    got = fresh(**keywords)[0]
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(wanted), rtol=0, atol=1e-4)
    assert float((torch.as_tensor(before) - torch.as_tensor(wanted)).abs().max()) > 1e-3
