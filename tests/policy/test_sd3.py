"""SD3 on a tiny random pipeline: what it makes is what diffusers makes."""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from tests.policy.latent_families import PROMPTS, ImageTests, TextTests, require_trained
from zoo.flow import shift_of


class TestSD3(ImageTests, TextTests):
    pipeline_class, own = StableDiffusion3Pipeline, "sd3"
    words, pooled = (77 + 32, 64), (64,)
    clip_tokens, pooled_at, t5 = 77, 2, "tokenizer_3"
    shift, scale = 0.1159, 0.3611

    def arguments(self, noise, guidance):
        return {"latents": noise, "guidance_scale": guidance}

    def test_the_grid_is_the_published_one(self, policy):
        published = [1, 0.9601, 0.9133, 0.8577, 0.7904, 0.7073, 0.6022, 0.4649, 0.2780, 0.0089, 0]
        torch.testing.assert_close(
            policy.grid(10), torch.tensor(published, dtype=torch.float64), rtol=0, atol=5e-5
        )

    def test_the_shift_is_the_published_one(self, policy):
        assert shift_of(policy.grid(5)) == pytest.approx(3, abs=1e-4)

    @pytest.mark.slow
    def test_without_t5_zeros_stand_in_for_it(self, options, policy):
        words, _ = self.embedded(
            self.made(options, without=("text_encoder_3", "tokenizer_3")).encode(PROMPTS)
        )
        assert words.shape == (3, 77 + 32, 64)
        assert bool((words[:, 77:] == 0).all())
        whole, _ = self.embedded(policy.encode(PROMPTS))
        assert torch.equal(words[:, :77], whole[:, :77])

    def test_a_resolution_without_positions_is_refused(self, options):
        line = self.refusal(options, resolution=528)
        assert "positions for 512 pixels a side and resolution is 528; write 512 or less" in line
        assert self.refusal(options, resolution=(64, 528)) == line


# Every recipe of it, of all three, is trained tiny in tests/recipes.
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo", "dpo"])
def test_every_algorithm_trains_it(sd3, algorithm, tmp_path):
    require_trained(algorithm, sd3, tmp_path)
