import pytest

from zoo.recipe.errors import OptionOrigin, RecipeError
from zoo.recipe.load import Override, from_yaml, read


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def file(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return file


def refusal(path, overrides=()):
    with pytest.raises(RecipeError) as raised:
        read(path, overrides)
    assert len(raised.value.lines) == 1
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_scalars_are_plain_and_of_yaml_1_2(write):
    text = "a: 3e-4\nb: yes\nc: 1_000\nd: true\ne: 0x10\nf: &x true\ng: 2020-01-02\nh:\ni: '1'\n"
    data = read(write("r.yaml", text)).data
    assert data == {
        "a": 3e-4,
        "b": "yes",
        "c": 1000,
        "d": True,
        "e": 16,
        "f": True,
        "g": "2020-01-02",
        "h": None,
        "i": "1",
    }
    plain = (float, str, int, bool, int, bool, str, type(None), str)
    assert [type(value) for value in data.values()] == list(plain)


def test_every_part_knows_its_line(write):
    text = "name: x\nrewards:\n  - {name: a,\n     weight: 2}\nold:\n  rate: 1\n"
    origins = read(write("r.yaml", text)).origins
    assert str(origins.at(("rewards", 0, "weight"))) == "r.yaml:4"
    assert str(origins.at(("rewards", 0))) == "r.yaml:3"
    assert str(origins.at(("old", "rate"))) == "r.yaml:6"
    assert str(origins.at(("old", "missing", "deeper"))) == "r.yaml:5"
    assert str(origins.at(())) == "r.yaml:1"


def test_keys_of_a_yaml_merge_are_the_mappings_own(write):
    raw = read(write("r.yaml", "a: &a {k: 1}\nb:\n  <<: *a\n  m: 2\n"))
    assert raw.data["b"] == {"k": 1, "m": 2}
    assert str(raw.origins.at(("b", "k"))) == "r.yaml:2"


def test_extends_merges_mappings_and_replaces_lists(write):
    write("base/b.yaml", "optim: {lr: 1, betas: [1, 2]}\nseed: 1\n")
    raw = read(write("r.yaml", "extends: base/b.yaml\noptim:\n  betas: [3]\n"))
    assert raw.data == {"optim": {"lr": 1, "betas": [3]}, "seed": 1}
    assert str(raw.origins.at(("optim", "lr"))) == "base/b.yaml:1"
    assert str(raw.origins.at(("optim", "betas", 0))) == "r.yaml:3"


def test_extends_is_relative_to_the_file_that_says_it(write):
    write("a/base.yaml", "x: 1\n")
    write("a/mid.yaml", "extends: base.yaml\ny: 2\n")
    assert read(write("b/r.yaml", "extends: ../a/mid.yaml\n")).data == {"x": 1, "y": 2}


def test_another_component_replaces_the_bases_whole(write):
    base = "name: base\nobjective: {name: nft, beta: 1}\nsampler: {steps: 3}\n"
    write("base.yaml", base)
    other = "extends: base.yaml\nname: r\nobjective: {name: dpo}\nsampler: {name: dataset}\n"
    assert read(write("r.yaml", other)).data == {
        "name": "r",
        "objective": {"name": "dpo"},
        "sampler": {"name": "dataset"},
    }
    same = "extends: base.yaml\nobjective: {name: nft, kl: 2}\nsampler: {name: flow, guidance: 1}\n"
    assert read(write("s.yaml", same)).data == {
        "name": "base",
        "objective": {"name": "nft", "beta": 1, "kl": 2},
        "sampler": {"steps": 3, "name": "flow", "guidance": 1},
    }


def test_overrides_set_leaves_branches_and_items(write):
    path = write("r.yaml", "lr: 1\nrewards: [{name: a}, {name: b}]\n")
    overrides = [
        "lr=3e-4",
        "rewards.1.weight=2",
        "eval.solver.name=euler",
        "old={cap: [1]}",
        "n=null",
    ]
    raw = read(path, overrides)
    assert raw.data == {
        "lr": 3e-4,
        "rewards": [{"name": "a"}, {"name": "b", "weight": 2}],
        "eval": {"solver": {"name": "euler"}},
        "old": {"cap": [1]},
        "n": None,
    }
    assert str(raw.origins.at(("rewards", 1, "weight"))) == "-s rewards.1.weight=2"
    assert str(raw.origins.at(("rewards", 1, "name"))) == "r.yaml:2"
    assert str(raw.origins.at(("eval",))) == "-s eval.solver.name=euler"
    assert read(path, ["rewards=[{name: c}]"]).data["rewards"] == [{"name": "c"}]


def test_a_file_that_is_not_there(write):
    write("nft_digits.yaml", "a: 1")
    assert refusal("nft_digit.yaml") == (
        "nft_digit.yaml: there is no such file; did you mean 'nft_digits.yaml'?"
    )
    assert refusal("no/where.yaml") == "no/where.yaml: there is no such file; check the path"
    assert refusal(".").startswith(".: the recipe cannot be read: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml: the file is empty; a recipe is a mapping (name, epochs, ...)"),
        ("- 1\n", "r.yaml:1: a recipe must be a mapping (name: ..., epochs: ...), not [1]"),
        ("a: 1\na: 2\n", "r.yaml:2: the key 'a' is written twice; keep one"),
        ("a: 1\nb: {c: 1, c: 2}\n", "r.yaml:2: the key 'c' is written twice; keep one"),
        ("a: 1\nb: c: d\n", "r.yaml:2: this is not YAML: mapping values are not allowed here; "),
        ("a: [1\n", "r.yaml:2: this is not YAML: while parsing a flow sequence expected"),
        ("a: 2020-13-45\n", "r.yaml: this is not YAML: month must be in 1..12"),
        ("a: 1\n2: 3\n", "r.yaml:2: a key must be text, not 2; put it in quotes"),
        (
            "a: !foo 1\n",
            "r.yaml:1: a value must be text, a number, true, false or null, not Tagged",
        ),
        ("&a\nx:\n  - *a\n", "r.yaml:2: nested more than 50 deep"),
        ("extends: [a]\n", "r.yaml:1: extends must be the path of one other recipe"),
        ("a: 1\nextends: b.yaml\n", "r.yaml:2: extends b.yaml, which is no file; check the path"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(write, text, said):
    assert refusal(write("r.yaml", text)).startswith(said)


def test_text_that_is_not_utf_8(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"a: \xff\n")
    assert refusal(tmp_path / "r.yaml").endswith("is not UTF-8 text; save it as UTF-8")


def test_recipes_that_extend_each_other_are_refused(write):
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: a.yaml\n")
    said = "b.yaml: a recipe cannot extend itself: a.yaml extends b.yaml extends a.yaml; remove one"
    assert refusal("a.yaml") == said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lr", "an override has the form key=value"),
        ("lr=", "an override has the form key=value"),
        ("a..b=1", "an override has the form key=value"),
        ("lr.x=1", "lr is 2 (r.yaml:1), which has no 'x'; set it whole: -s 'lr={x: ...}'"),
        ("rs.3.w=1", "rs is a list of 1: allowed after it is an index from 0 to 0, not '3'"),
        ("rs.-1=1", "rs is a list of 1: allowed after it is an index from 0 to 0, not '-1'"),
        ("none.0=1", "none is a list of 0: allowed after it is nothing, as the list is empty"),
        ("lr=[1", "this is not YAML: while parsing"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why(write, override, said):
    path = write("r.yaml", "lr: 2\nrs: [{w: 1}]\nnone: []\n")
    assert refusal(path, [override]).startswith(f"-s {override}: {said}")


def test_a_part_of_what_is_null_is_made_as_if_it_were_missing(write):
    path = write("r.yaml", "eval:\nlr: 2\n")
    assert read(path, ["eval.steps=3", "new.part=1"]).data == {
        "eval": {"steps": 3}, "lr": 2, "new": {"part": 1},
    }  # fmt: skip


def test_an_option_overrides_with_plain_data_under_its_own_name(write):
    path = write("r.yaml", "eval: {rewards: []}\ndata: {eval: a.txt}\n")
    rewards = [{"name": "a"}, {"name": "b", "weight": 2}]
    raw = read(
        path,
        [
            "eval.steps=3",
            Override(("eval", "rewards"), rewards, OptionOrigin("--rewards ...")),
            Override(("data", "eval"), "b.txt: {", OptionOrigin("--prompts b.txt")),
            "eval.rewards.1.weight=3",
        ],
    )
    assert raw.data["eval"]["rewards"] == [{"name": "a"}, {"name": "b", "weight": 3}]
    assert raw.data["data"]["eval"] == "b.txt: {"  # text is not read as YAML
    assert str(raw.origins.at(("eval", "rewards", 0, "name"))) == "--rewards ..."
    assert str(raw.origins.at(("eval", "rewards", 1, "weight"))) == "-s eval.rewards.1.weight=3"
    assert str(raw.origins.at(("data", "eval"))) == "--prompts b.txt"


def test_the_yaml_of_an_option_is_read_under_its_name():
    assert from_yaml("[{a: 3e-4}, b]", OptionOrigin("--x")) == [{"a": 3e-4}, "b"]
    with pytest.raises(RecipeError, match=r"^--x \[: this is not YAML"):
        from_yaml("[", OptionOrigin("--x ["))
