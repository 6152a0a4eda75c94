"""What others wrote is shown and not run, and ends no command but by a line with exit code 2."""

import json
import os
import subprocess
import sys

import pytest

from tests.runs import RECIPES, clean_environment

NFT = RECIPES["nft"]


@pytest.fixture
def refused(zoo_here):
    """The one line of a command that must end with 2."""

    def run(*arguments):
        ended = zoo_here(*arguments)
        assert ended.code == 2, ended.err
        (line,) = ended.lines
        assert line.startswith("error: ")
        assert line.isprintable()
        assert "--debug" not in line
        return line

    return run


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        (tmp_path / "r.yaml").write_text(f"extends: {NFT}\n{text}\n")
        return tmp_path / "r.yaml"

    return write


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a\\nerror: forged\\e[2J": 1', r"r.yaml:2: unknown key 'a\nerror: forged\x1b[2J'"),
        ("data: {groups_per_epoch: 9223372036854775808}", "r.yaml:2: a whole number lies between"),
        ("data: {groups_per_epoch: 9223372036854775807}", "is more than anything here can count"),
        ("data: {groups_per_epoch: 1000000000}", "r.yaml:2: an epoch would be 1,000,000,000"),
        ("engine: {threads: 9223372036854775807}", "is more than anything here can count"),
        (f"data: {{train: {'a' * 300}}}", "are neither a .txt"),
        (f"data: {{train: {'a' * 300}.txt}}", "cannot be read"),
        ('data: {train: "a\\0.txt"}', "r.yaml:2: the text 'a\\x00.txt' has '\\x00'"),
        ("data: {train: 'builtin:geneval/train?num=999999999999'}", "up to 1000000"),
        (f"data: {{train: 'builtin:geneval/train?num={'9' * 5000}'}}", "num is a whole number"),
        ("policy: {lora: {targets: [foo]}}", "no layer of the network is named like foo; it has"),
        ("policy: {lora: {targets: [attn.to_w]}}", "did you mean 'attn.to_"),
    ],
)
def test_a_hostile_recipe_is_one_line_of_check(text, said, recipe, refused):
    line = refused("check", recipe(text))
    assert said in line
    assert "r.yaml" in line


def test_training_says_the_same_of_targets(recipe, refused, tmp_path):
    path = recipe(f"output_dir: {tmp_path / 'out'}\npolicy: {{lora: {{targets: [foo]}}}}")
    line = refused("train", path)
    assert "r.yaml:3: policy.lora.targets: no layer of the network" in line
    assert "attn.to_q" in line


def test_a_name_with_markup_is_a_name(zoo_here, tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.cli.check.print_cost", lambda *given: None)
    folder = tmp_path / "[x][" / "[red]y"
    folder.mkdir(parents=True)
    path = folder / "[bold]r.yaml"
    path.write_text(f"extends: {NFT}\n")
    ended = zoo_here("check", path)
    assert ended.code == 0
    assert f"{path}: ok" in "".join(ended.out.splitlines())


def test_prompts_are_shown_and_not_run(zoo_here, tmp_path):
    said = [
        "a \x1b[31mred\x1b[2J prompt",
        "two\nlines",
        "abc\u202etxt",
        "[bold]x[/nope] :cat: 看板",
    ]
    file = tmp_path / "p.jsonl"
    tag = "t\x1b]0;title\x07"
    file.write_text("".join(json.dumps({"prompt": one, "tag": tag}) + "\n" for one in said))
    ended = zoo_here("prompts", file)
    assert ended.code == 0
    for shown in (
        r"a \x1b[31mred\x1b[2J prompt", r"two\nlines", r"abc\u202etxt",
        "[bold]x[/nope] :cat: 看板", r"by tag: t\x1b]0;title\x07 4",
    ):  # fmt: skip
        assert shown in ended.out
    assert ended.out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "\\ud800"}', "p.jsonl:1: its \"prompt\" has '\\ud800', half of a surrogate"),
        ('{"prompt": ' + "[" * 5_000 + "]" * 5_000 + "}", "p.jsonl:1: "),
        ('{"prompt": ' + "9" * 5_000 + "}", "p.jsonl:1: not a JSON object"),
    ],
)
def test_a_hostile_prompt_is_one_line(text, said, refused, tmp_path):
    (tmp_path / "p.jsonl").write_text(text)
    assert said in refused("prompts", tmp_path / "p.jsonl")


def test_a_reward_file_that_ends_the_process_is_one_line(refused, tmp_path):
    (tmp_path / "r.py").write_text("import sys; sys.exit(0)\n")
    line = refused("probe", "python", "-s", f"path={tmp_path / 'r.py'}:score")
    assert "cannot be imported: SystemExit" in line


def test_a_reward_file_can_import_its_neighbour_in_a_probe(zoo_here, tmp_path):
    (tmp_path / "near_it.py").write_text("def level(images): return images.flatten(1).mean(1)\n")
    (tmp_path / "r.py").write_text(
        "from near_it import level\ndef score(images, prompts): return level(images)\n"
    )
    ended = zoo_here("probe", "python", "-s", f"path={tmp_path / 'r.py'}:score")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("name", ["true", "false", "null", "a" * 300])
def test_a_name_that_yaml_reads_otherwise_is_none_of_a_plugin(name, refused, tmp_path):
    assert "cannot name a solver" in refused("new-plugin", "solver", name, "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_plugin_cannot_be_written_below_a_file(refused, tmp_path):
    (tmp_path / "f").write_text("")
    line = refused("new-plugin", "solver", "mine", "--out", tmp_path / "f")
    assert "f cannot be written: Not a directory" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a\\nerror: x": 1', "unknown key"),
        ("name: [1]", "name must be"),
        ("contenders: 3", "contenders must be"),
        ("seeds: [9223372036854775808]", "a whole number lies between"),
        ("recipe: " + "a" * 300, "recipe is "),
        ("contenders: {a: {extends: [1]}}", "extends must be the path of a recipe"),
        ("contenders: {a: {'': 1}}", "unknown key"),
        ("contenders: {a: {'.': 1}}", "s.yaml"),
        ("contenders: {a: {'seed.x': 1}}", "s.yaml"),
        ("common: {data: 3}", "s.yaml"),
        ("about: {a: 1}", "about must be"),
    ],
)
def test_a_hostile_suite_is_one_line(text, said, zoo_here, tmp_path):
    key = text.split(":")[0]
    parts = {
        "name": "name: small", "recipe": f"recipe: {NFT}", "seeds": "seeds: [0]",
        "budget": "budget: {epochs: 1}", "contenders": "contenders: {a: {}}",
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text("\n".join((parts | {key: text}).values()))
    ended = zoo_here("compare", tmp_path / "s.yaml", "--out", tmp_path / "out")
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert all(line.startswith("error: ") and line.isprintable() for line in ended.lines)


ODD = "größer ✓ 👩\u200d👩\u200d👧 \x1b[2J"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_no_encoding_ends_a_run_or_its_evaluation(changes, tmp_path):
    words = tmp_path / "r.py"
    words.write_text(
        "import itertools\n"
        "calls = itertools.count()\n"
        "def score(images, prompts):\n"
        f"    if not next(calls): raise ValueError('größer ✓' + {ODD!r})\n"
        "    return images.flatten(1).mean(1)\n",
        encoding="utf-8",
    )
    out = tmp_path / os.fsdecode(b"out-\xc3\xb6")
    small = ["data.groups_per_epoch=2", "data.group_size=3", "sampler.steps=2", "eval.steps=2",
             "optim.updates_per_epoch=1", "eval.images_per_prompt=1", "eval.every=1",
             f"rewards=[{{name: digit}}, {{name: python, path: '{words}:score', label: mine}}]",
             "engine={device: cpu, micro_batch: {sample: 2, train: 8}}",
             "scoring={max_invalid: 1, retries: 0}"]  # fmt: skip
    arguments = ["train", NFT, "--epochs", "1", *(part for one in small for part in ("-s", one))]
    environment = {**clean_environment(), **changes, "XDG_CACHE_HOME": str(out / "cache")}
    out.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, arguments), "-s", "output_dir=runs"],
        env=environment, cwd=out, capture_output=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert b"\x1b" not in ended.stdout + ended.stderr
    log = next(out.glob("runs/*/*/run.log")).read_text(encoding="utf-8")
    assert "größer ✓" in log
    assert "\\x1b[2J" in log
    (out / "p.txt").write_text("Ein Schild “brot” größer ✓\n", encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", "zoo", "prompts", "p.txt"],
        env=environment, cwd=out, capture_output=True,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert b"Ein Schild" in shown.stdout
