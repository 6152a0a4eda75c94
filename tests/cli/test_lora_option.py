"""`--lora`: what `zoo eval` and `zoo sample` make images with is the network of that file."""

import pytest
import torch

from tests.exports import output
from tests.loras import ROUNDING, by_peft
from tests.runs import RECIPES
from zoo.cli.source import choose_checkpoint, load_model
from zoo.errors import UserError

OWN_RANKS = {"rank_pattern": {"0.attn.to_k": 2}, "alpha_pattern": {"attn.to_q": 3}}


@pytest.mark.parametrize("changes", [{}, OWN_RANKS], ids=["one rank", "ranks of their own"])
def test_the_network_is_that_of_the_file(changes, tmp_path, monkeypatch):
    wanted = output(by_peft(tmp_path / "lora", **changes))
    monkeypatch.setenv("HERE", str(tmp_path))
    source = choose_checkpoint(
        RECIPES["nft"], ["engine.device=cpu"], weights="live", lora="$HERE/lora"
    )
    model = load_model(source)
    with model.policy.weights.using(source.weights):
        said = output(model.policy.weights)
    torch.testing.assert_close(said, wanted, rtol=0, atol=ROUNDING)
    assert source.recipe.policy.options["lora"].option_start == f"{tmp_path}/lora"


def test_a_place_that_cannot_be_had_is_said_with_the_option(tmp_path, monkeypatch):
    monkeypatch.delenv("NONE", raising=False)
    for place, said in (("$NONE/a", "the variable NONE of '$NONE/a'"), (str(tmp_path), "nothing;")):
        with pytest.raises(UserError, match=r"^--lora .*") as raised:
            choose_checkpoint(RECIPES["nft"], lora=place)
        assert said in str(raised.value)
