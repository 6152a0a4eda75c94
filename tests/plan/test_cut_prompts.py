"""How many prompts are longer than what is read of them, and who says so."""

import json

import pytest

from tests.cli.conftest import zoo_here
from tests.runs import RECIPES, only_run, overrides
from tests.train_here import recipe
from zoo.data.text_limit import TextLimit
from zoo.plan.cut_prompts import _longest_first, lengths_of, prompt_lengths
from zoo.policy.digits import Digits
from zoo.prompt import Prompt
from zoo.reward.digits import Digit

__all__ = ["zoo_here"]

NFT = RECIPES["nft"]
PROMPTS = ["seven", "the digit two", "a photo of the digit two"]
CUT = "1 of 3 are cut by the policy 'digits', whose words reads 5 tokens; the longest has 6"


def words(limit, option=None):
    return TextLimit("words", limit, lambda texts: [len(text.split()) for text in texts], option)


@pytest.fixture
def limited(monkeypatch):
    """The digits model reads five words, and the reward `digit` two."""
    asked = []

    def limits(cls, options):
        asked.append(cls)
        return (words(5, "max_words") if cls is Digits else words(2),)

    for cls in (Digits, Digit):
        monkeypatch.setattr(cls, "text_limits", classmethod(limits))
    return asked


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [json.dumps({"prompt": text, "digit": 2}) for text in PROMPTS]
    path.write_text("\n".join(rows))
    return path


def test_each_reader_is_asked_once_and_each_line_said_once(limited, file):
    of = recipe(NFT, data__train=file, data__eval=file)
    lengths = prompt_lengths(of)
    assert lengths.warnings == [
        f"data.train: {CUT} (policy.max_words moves it)",
        "data.train: 2 of 3 are cut by the reward 'digit', whose words reads 2 tokens; the longest "
        "has 6 (no option moves it: shorten them)",
        f"data.eval: {CUT} (policy.max_words moves it)",
        *[line for line in lengths.warnings if line.startswith("data.eval: 2 of 3")],
    ]
    assert sorted(cls.__name__ for cls in limited) == ["Digit", "Digits"]


def test_stages_are_looked_at_together(limited, file):
    stages = RECIPES["nft"].with_name("nft_digits_stages.yaml")
    lines = prompt_lengths(recipe(stages, data__train=file)).warnings
    assert len([line for line in lines if line.startswith("data.train: 1 of 3")]) == 1
    assert len(lines) == len(set(lines))


def test_nothing_is_said_of_what_is_read_whole_or_not_known(limited, monkeypatch):
    of = recipe(NFT)
    lengths = lengths_of(of, [Prompt("seven")], ())
    assert lengths.warnings == []
    assert [read.longest for read in lengths.read] == [1]
    monkeypatch.undo()
    assert prompt_lengths(of).read == ()


def test_a_tokenizer_that_cannot_be_had_is_a_line(limited, monkeypatch):
    def refuse(cls, options):
        raise ValueError("there is no tokenizer\nhere")

    monkeypatch.setattr(Digits, "text_limits", classmethod(refuse))
    (line,) = lengths_of(recipe(NFT), [Prompt("seven")], ()).warnings
    assert line.startswith(
        "it is not known which prompts the policy 'digits' cuts: there is no tok"
    )
    assert "\n" not in line


@pytest.mark.slow
def test_every_command_says_it_and_a_run_records_it(limited, file, zoo_here, tmp_path):
    line = f"{CUT} (policy.max_words moves it)"
    changes = overrides("nft", tmp_path / "out", data__train=file, data__eval=file, epochs=1)
    assert f"data.train: {line}" in " ".join(zoo_here("check", NFT, *changes).out.split())
    sampled = zoo_here("sample", NFT, "--prompts", file, "-o", tmp_path / "x.png")
    assert f"the prompts: {line}" in sampled.err
    evaluated = zoo_here("eval", NFT, "--prompts", file, *changes)
    assert f"the prompts: {line}" in evaluated.err
    assert "cut by the reward 'digit'" in evaluated.err
    assert zoo_here("train", NFT, *changes).code == 0
    run = only_run(tmp_path / "out")
    assert f"warning: data.train: {line}" in (run / "run.log").read_text()
    recorded = json.loads((run / "prompt_lengths.json").read_text())
    assert recorded["read"][0]["num_cut"] == 1
    assert recorded["unknown"] == []


def test_of_many_prompts_the_longest_alone_are_counted():
    texts = [" ".join(["word"] * (i % 7 + 1)) + f" {i}" for i in range(20_000)]
    asked = []
    limit = TextLimit("words", 7, lambda some: asked.extend(some) or [len(t.split()) for t in some])
    lengths = _longest_first(sorted(texts, key=len, reverse=True), limit)
    wanted = {text: len(text.split()) for text in texts if len(text.split()) > 7}
    assert {text: n for text, n in lengths.items() if n > 7} == wanted
    assert len(wanted) < len(asked) < len(wanted) + 2_000
