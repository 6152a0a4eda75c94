"""What `zoo eval` refuses: in one line that names the option, before anything loads."""

import pytest

from tests.runs import RECIPES, launcher_of

NFT = RECIPES["nft"]


@pytest.fixture
def quick(tmp_path):
    """Seven prompts, and what makes it short."""
    path = tmp_path / "prompts.jsonl"
    words = ("zero", "one", "two", "three", "four", "five", "six")
    path.write_text(
        "".join(f'{{"prompt": "the digit {w}", "digit": {i}}}\n' for i, w in enumerate(words))
    )
    return ["--prompts", path, "--steps", 2, "-n", 3]


MISTAKES = {
    ("--steps", "0"): "--steps 0: eval.steps must be a whole number >= 1",
    ("--guidance", "-1"): "--guidance -1.0: eval.guidance must be a number >= 0",
    ("-n", "0"): "--images-per-prompt 0: eval.images_per_prompt must be",
    ("--solver", "eulr"): "--solver eulr: unknown solver 'eulr'; did you mean 'euler'",
    ("--rewards", "digt"): "--rewards digt: unknown reward 'digt'; did you mean 'digit'",
    ("--rewards", "digit,,ink"): "--rewards digit,,ink: name rewards with commas",
    ("--rewards", "[{name: digit"): "--rewards [{name: digit: this is not YAML",
    ("--rewards", "digit,digit"): "--rewards digit,digit: 2 rewards in eval.rewards are called",
    ("--rewards", "[{name: digit, x: 1}]"): "unknown key 'eval.rewards.0.x'",
    ("--rewards", "scenes"): "--rewards scenes: the reward 'scenes' can use none of the 7 prompts",
    ("--prompts", "no.txt"): "--prompts no.txt: data.eval: prompt file 'no.txt' does not exist",
    ("--prompts", "builtin:genval/test"): "did you mean 'geneval/test'",
    ("--processes", "many"): "--processes many: write a whole number of 1 or more, or auto",
    ("--processes", "0"): "--processes 0: write a whole number of 1 or more, or auto",
    ("--processes", "8"): "--processes 8: there are 7 prompts",
    ("--out", "x.jpg"): "--out x.jpg: pictures are PNG files; name x.png, or a folder",
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("mistake", MISTAKES, ids=" ".join)
def test_a_mistake_is_said_by_the_option_before_anything_loads(mistake, quick, zoo_here):
    ended = zoo_here("eval", NFT, *quick, *mistake)
    assert ended.code == 2
    assert MISTAKES[mistake] in ended.err
    assert len(ended.lines) == 1
    assert ended.out == ""


def test_where_nothing_can_be_written_it_is_said_at_once(quick, zoo_here, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "x", tmp_path / "file"):
        ended = zoo_here("eval", NFT, *quick, "--out", out)
        assert ended.code == 2
        assert f"error: --out {out} " in ended.err
        assert ended.out == ""


@pytest.mark.slow
def test_an_override_that_would_be_another_run_is_refused(trained, zoo_here):
    ended = zoo_here("eval", trained[0], "-s", "objective.beta=1")
    assert ended.code == 2
    assert "images of a run may change only engine, eval, scoring, data, policy" in ended.err
    ended = zoo_here("eval", trained[0], "-s", "policy.lora.rank=2")
    assert ended.code == 2
    assert "this recipe's are" in ended.err


def test_another_launcher_must_start_as_many_processes_as_asked_for(quick, zoo_here, monkeypatch):
    for name, value in launcher_of(1).items():
        monkeypatch.setenv(name, value)
    ended = zoo_here("eval", NFT, *quick, "--processes", 2)
    assert ended.code == 2
    assert "--processes 2: the launcher started 1" in ended.err
    assert zoo_here("eval", NFT, *quick).code == 0


def test_a_reward_that_can_use_some_prompts_scores_those(zoo_here, tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"prompt": "the digit one", "digit": 1}\n{"prompt": "the digit two"}\n')
    ended = zoo_here("eval", NFT, "--prompts", path, "--steps", 1, "-n", 1, "--rewards", "digit")
    assert ended.code == 0, ended.err
    (row,) = [row.split() for row in ended.out.splitlines() if row.startswith("digit ")]
    assert row[-2:] == ["2", "1"]
