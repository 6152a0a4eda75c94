"""A new algorithm, solver or reward is one file and one entry-point line; the loop is not touched.

The plugins here are packages on disk with the metadata that pip would have written, seen by the
real command.
"""

import json
import shutil
from pathlib import Path
from statistics import mean

import pytest

from tests.runs import RECIPES, ROOT, metrics, only_run, zoo
from zoo import __version__

SHORT = {
    "epochs": 2,
    "sampler.steps": 3,
    "data.groups_per_epoch": 3,
    "data.group_size": 4,
    "eval": "null",
}
REWARD = """
from zoo.reward.base import Reward

class Half(Reward):
    '''Half a point for each image.'''

    def score(self, images, prompts):
        return images.new_full((len(images),), {value})
"""


def package(
    site: Path, name: str, points: dict[str, dict[str, str]], files: dict[str, str]
) -> None:
    """Writes a package and its metadata, as `pip install --target` does."""
    folder = site / name.replace("-", "_")
    folder.mkdir(parents=True)
    for file, text in ({"__init__.py": "ZOO_API_VERSION = 1\n"} | files).items():
        (folder / file).write_text(text)
    info = site / f"{folder.name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    sections = [
        f"[zoo.{kind}]\n" + "".join(f"{key} = {folder.name}.{to}\n" for key, to in lines.items())
        for kind, lines in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What is installed: one good plugin, and others that must not disturb it."""
    site = tmp_path_factory.mktemp("site")
    sources = {path.name: path.read_text() for path in (ROOT / "tests/plugin").glob("*.py")}
    package(
        site,
        "zoo-lab",
        {
            "objectives": {"rwr": "reward_weighted_regression:RewardWeightedRegression"},
            "solvers": {"ralston": "ralston:Ralston"},
            "rewards": {"contrast": "contrast:Contrast"},
        },
        sources,
    )
    package(
        site,
        "zoo-broken",
        {"rewards": {"broken": "it:It"}, "objectives": {"broken_too": "it:It"}},
        {"it.py": "raise OSError('no libfoo.so')\n"},
    )
    for name, value in (("zoo-one", 0.5), ("zoo-two", 0.25)):
        package(site, name, {"rewards": {"half": "it:Half"}}, {"it.py": REWARD.format(value=value)})
    old = "ZOO_API_VERSION = 99\n"
    package(
        site,
        "zoo-old",
        {"rewards": {"old": "it:Half"}},
        {"__init__.py": old, "it.py": REWARD.format(value=0)},
    )
    yield site
    shutil.rmtree(site)


@pytest.fixture
def run(site, tmp_path):
    """The command, with the plugins installed."""

    def run(*arguments):
        return zoo(*arguments, PYTHONPATH=str(site), COLUMNS="200")

    def train(**changes):
        options = {**SHORT, "output_dir": tmp_path, **changes}
        options = {key.replace("__", "."): value for key, value in options.items()}
        # An option of SHORT set to None is left as the recipe has it.
        parts = [f"{key}={value}" for key, value in options.items() if value is not None]
        return run("train", RECIPES["nft"], *(word for part in parts for word in ("-s", part)))

    run.train = train
    run.lines = lambda: metrics(only_run(tmp_path))
    return run


@pytest.mark.slow
def test_an_algorithm_in_one_file_learns(run):
    whole = dict.fromkeys(SHORT) | {"epochs": 12, "eval.every": 12}
    done = run.train(**whole, objective="{name: rwr, temperature: 0.5}")
    assert done.returncode == 0, done.stderr
    reward = [line["reward/digit"] for line in run.lines()]
    # 128 images an epoch: the standard error of three epochs' mean is 0.02.
    assert mean(reward[-3:]) > mean(reward[1:4]) + 0.15
    assert run.lines()[-1]["eval/judge"] > run.lines()[0]["eval/judge"] + 0.1


@pytest.mark.slow
def test_an_algorithm_a_solver_and_a_reward_of_a_plugin_train_together(run):
    done = run.train(
        objective="{name: rwr, times_per_image: 2}",
        sampler__solver="{name: ralston}",
        rewards="[{name: digit}, {name: contrast, scale: 2.0, weight: 0.5}]",
    )
    assert done.returncode == 0, done.stderr
    last = run.lines()[-1]
    assert last["epoch"] == 2
    assert last["reward/contrast"] > 0
    # Two evaluations of each of three steps to collect, two rows to train, of twelve images.
    assert last["num_evals"] == 2 * 12 * (2 * 3 + 2)


@pytest.mark.slow
def test_a_plugins_algorithm_trains_over_processes_as_over_one(run, tmp_path):
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = run.train(objective="{name: rwr}", engine__processes=processes, output_dir=out)
        assert done.returncode == 0, done.stderr
        # The line before any update is of a group for each process.
        lines = metrics(only_run(out))[1:]
        found.append([(line["reward"], line["loss"]) for line in lines])
    for one, two in zip(*found, strict=True):
        assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_check_plans_a_plugins_algorithm(run):
    done = run("check", RECIPES["nft"], "-s", "objective={name: rwr, times_per_image: 3}")
    assert done.returncode == 0, done.stderr
    assert "trains digits with rwr on digit x 1" in " ".join(done.stdout.split())
    assert "384 rows" in done.stdout


def test_list_shows_plugins_with_their_package_and_broken_ones_too(run):
    done = run("list")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    for kind, name, owner in (
        ("objective", "rwr", "zoo-lab"),
        ("solver", "ralston", "zoo-lab"),
        ("reward", "contrast", "zoo-lab"),
        ("reward", "broken", "zoo-broken"),
        ("reward", "half", "zoo-one"),
        ("reward", "half", "zoo-two"),
        ("reward", "old", "zoo-old"),
    ):
        assert [kind, name, owner, "1.2"] in rows
    assert ["objective", "nft", "diffusion-rl-zoo", __version__] in rows


@pytest.mark.slow
def test_list_verbose_imports_each_and_says_what_is_broken_and_why(run):
    done = run("list", "--verbose", "objectives")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["zoo", f"{__version__},", "version", "1", "of", "the", "interfaces"]
    times = {tuple(row[1:4]): (float(row[4]), row[5:]) for row in rows if row[:1] == ["objective"]}
    seconds, unit = times["rwr", "zoo-lab", "1.2"]
    assert 0 < seconds < 60
    assert unit == ["s"]
    assert times["broken_too", "zoo-broken", "1.2"][1] == ["s", "broken"]
    (why,) = [line for line in done.stdout.splitlines() if line.startswith("broken: ")]
    assert "the objective 'broken_too' of package zoo-broken 1.2 cannot be imported" in why
    assert "OSError: no libfoo.so" in why


@pytest.mark.slow
def test_list_verbose_goes_on_after_a_plugin_that_ends_its_process_or_prints(tmp_path):
    sources = {
        "zoo-a": "import os\nprint('hello')\nos._exit(7)\n",
        "zoo-b": "print('hello')\n" + REWARD.format(value=0),
        "zoo-c": "class Half:\n    pass\n",
    }
    for name, code in sources.items():
        package(tmp_path, name, {"rewards": {name[-1] * 3: "it:Half"}}, {"it.py": code})
    done = zoo("list", "--verbose", "rewards", PYTHONPATH=str(tmp_path), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "hello" not in done.stdout
    rows = {tuple(row[1:3]): row for row in map(str.split, done.stdout.splitlines()) if row[1:]}
    assert rows["aaa", "zoo-a"][-1] == "broken"
    assert rows["bbb", "zoo-b"][-1] == "s"
    assert rows["ccc", "zoo-c"][-1] == "broken"
    assert rows["digit", "diffusion-rl-zoo"][-1] == "s"
    assert "broken: the reward 'aaa' of zoo-a 1.2 ends the process" in done.stdout
    assert "not a subclass of zoo.reward.base.Reward" in done.stdout


@pytest.mark.slow
def test_the_schema_has_the_options_of_plugins_and_leaves_broken_ones_out(run, tmp_path):
    done = run("schema", "--out", tmp_path / "new" / "schema.json")
    assert done.returncode == 0, done.stderr
    assert f"# yaml-language-server: $schema=file://{tmp_path}/new/schema.json" in done.stdout
    schema = json.loads((tmp_path / "new" / "schema.json").read_text())
    (options,) = [
        part
        for name, part in schema["definitions"].items()
        if name.endswith("zoo-lab:rwr") and not name.startswith("partial")
    ]
    assert options["properties"]["temperature"]["exclusiveMinimum"] == 0
    assert "Reward-weighted regression" in options["description"]
    text = json.dumps(schema)
    assert '"zoo-two:half"' in text
    assert '"half"' not in text
    assert "zoo-broken" not in text
    assert "zoo-old" not in text


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rwr", ["objective of zoo-lab 1.2", "flow-matching loss", "temperature", "> 0"]),
        ("ralston", ["solver of zoo-lab 1.2", "Ralston's method", "no options"]),
        ("zoo-two:half", ["reward of zoo-two 1.2", "Half a point"]),
    ],
)
def test_describe_shows_a_plugins_component(run, name, said):
    done = run("describe", name)
    assert done.returncode == 0, done.stderr
    for words in said:
        assert words in done.stdout


def test_describing_a_name_that_two_packages_claim_names_both(run):
    done = run("describe", "half")
    assert done.returncode == 2
    assert "(zoo-one, zoo-two); write 'zoo-one:half' or 'zoo-two:half'" in done.stderr


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"rewards": "[{name: broken}]"},
            ["'broken' of package zoo-broken 1.2", "OSError: no libfoo.so"],
        ),
        (
            {"objective": "{name: broken_too}"},
            ["'broken_too' of package zoo-broken 1.2", "OSError: no libfoo.so"],
        ),
        (
            {"rewards": "[{name: half}]"},
            ["'half'", "(zoo-one, zoo-two)", "'zoo-one:half' or 'zoo-two:half'"],
        ),
        (
            {"rewards": "[{name: old}]"},
            ["'old' of package zoo-old 1.2", "version 99", "has version 1"],
        ),
        (
            {"objective": "{name: rwr, temprature: 2}"},
            ["-s objective=", "unknown key 'objective.temprature'", "did you mean 'temperature'?"],
        ),
        ({"objective": "{name: rwr, temperature: 0}"}, ["objective.temperature", "> 0"]),
    ],
)
def test_a_component_that_cannot_be_used_is_refused_by_name_in_a_line(run, changes, said):
    done = run.train(**changes)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for words in said:
        assert words in line


@pytest.mark.slow
def test_a_package_before_the_name_picks_one_of_two(run):
    done = run.train(rewards="[{name: 'zoo-two:half'}, {name: digit}]")
    assert done.returncode == 0, done.stderr
    assert run.lines()[-1]["reward/half"] == 0.25
