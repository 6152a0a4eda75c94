"""What may not be read is said in one line with its name, and is no traceback."""

import pytest

from tests.forbidden import forbid
from tests.runs import RECIPES

__all__ = ["forbid"]

DENIED = "cannot be read: Permission denied"
NFT = RECIPES["nft"]


@pytest.fixture
def refused(zoo_here):
    """The one line of a command that must end with 2, and what it has printed."""

    def run(*arguments):
        ended = zoo_here(*arguments)
        assert ended.code == 2, ended.err
        (line,) = ended.lines
        return line.removeprefix("error: ")

    return run


@pytest.mark.parametrize("name", ["recipe.json", "metrics.jsonl", "checkpoints"])
def test_best_names_what_it_needs(name, trained, refused, forbid):
    path = trained[0] / name
    forbid(path)
    assert refused("best", path.parent) == f"{path} {DENIED}"


def test_best_does_without_what_it_does_not_need(trained, zoo_here, forbid):
    path = trained[0] / "environment.json"
    forbid(path)
    ended = zoo_here("best", path.parent)
    assert ended.code == 0
    assert ended.lines == [f"warning: left out: {path} {DENIED}"]


@pytest.mark.parametrize("name", ["", "/000003/state.json", "/000003/tensors.safetensors"])
def test_export_and_eval_name_the_file_of_the_checkpoint(name, trained, refused, forbid, tmp_path):
    path = f"{trained[0]}/checkpoints{name}"
    forbid(path)
    out = tmp_path / "out"
    assert refused("export", trained[0], "--format", "peft", "--out", out) == f"{path} {DENIED}"
    assert refused("eval", trained[0], "--limit", 1) == f"{path} {DENIED}"
    assert not out.exists()


def test_prompts_and_check_name_the_folder_of_the_prompts(refused, forbid, tmp_path):
    (tmp_path / "p").mkdir()
    forbid(tmp_path / "p")
    said = f"prompts '{tmp_path / 'p'}' {DENIED}"
    assert refused("prompts", tmp_path / "p") == said
    line = refused("check", NFT, "-s", f"data.train={tmp_path / 'p'}")
    assert line == f"-s data.train={tmp_path / 'p'}: data.train: {said}"
