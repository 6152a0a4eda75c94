"""`zoo check` calls nothing ok that a run would refuse as it starts."""

import os

import pytest

from tests.runs import RECIPES, ROOT

NFT, SCENES = RECIPES["nft"], ROOT / "recipes" / "nft_scenes.yaml"


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        (NFT, "policy.lora.start=nope", "policy.lora.start: 'nope' is no file or folder here, and"),
        (NFT, "policy.checkpoint=nope.safetensors", "no such digits checkpoint: nope.safetensors"),
        (SCENES, "policy.pretrained=nope", "the model 'nope' is no folder here; name one"),
        (NFT, "output_dir=FILE", "cannot hold FILE/nft_digits: Not a directory; name another fold"),
        (NFT, "policy.lora.targets=[nope]", "policy.lora.targets: no layer of the network is"),
    ],
)
def test_nothing_is_ok_before_what_is_wrong(recipe, override, said, zoo_here, tmp_path):
    (tmp_path / "file").touch()
    override, said = (text.replace("FILE", str(tmp_path / "file")) for text in (override, said))
    ended = zoo_here("check", recipe, "-s", override)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.lines
    assert said in line


def test_a_place_where_nothing_may_be_written_is_refused(zoo_here, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.R_OK)
    ended = zoo_here("check", NFT, "-s", f"output_dir={tmp_path}")
    assert (ended.code, ended.out) == (2, "")
    assert "Permission denied; name another folder: -s output_dir=DIR" in ended.err
