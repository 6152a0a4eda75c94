"""A plugin's whole life: written, built as a wheel, installed, trained with, tested, uninstalled.

The environment is a new one that sees this one's packages; pip installs into it and out of it, so
nothing here changes.
"""

import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runs import RECIPES, clean_environment, metrics, only_run, settings
from zoo.cli.new_plugin import KINDS

SHORT = {"data.groups_per_epoch": 2, "data.group_size": 4, "sampler.steps": 3, "eval": "null"}


@dataclass(frozen=True)
class Environment:
    """A Python of its own, below `folder`."""

    folder: Path

    @property
    def python(self):
        return self.folder / "env" / "bin" / "python"

    def run(self, *command):
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, cwd=self.folder,
            env=clean_environment(COLUMNS="200"), timeout=300, check=False,
        )  # fmt: skip

    def zoo(self, *arguments):
        return self.run(self.python, "-m", "zoo", *arguments)

    def pip(self, *arguments):
        """This environment's pip, on the other."""
        done = self.run(sys.executable, "-m", "pip", "--python", self.python, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def environment(tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    # addsitedir also reads the .pth files there, which editable installs are.
    (site / "developer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return Environment(tmp_path)


def overrides(said):
    """What the command says to train with, as a user would copy it."""
    (override,) = re.findall(r"^  zoo train recipes/nft_digits.yaml -s '(.+)'$", said, re.MULTILINE)
    return [*settings({**SHORT, "output_dir": "runs"}), "-s", override]


def lives(environment, kind, name):
    written = environment.zoo("new-plugin", kind, name, "--out", "made")
    assert written.returncode == 0, written.stderr
    train = ("train", RECIPES["nft"], "--epochs", 2, *overrides(written.stdout))
    refused = environment.zoo(*train)
    assert refused.returncode == 2
    assert f"unknown {kind} '{name}'" in refused.stderr

    project = environment.folder / "made" / f"zoo-{name.replace('_', '-')}"
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist")
    built = environment.run(sys.executable, *build, project)
    assert built.returncode == 0, built.stderr
    (wheel,) = (environment.folder / "dist").iterdir()
    environment.pip("install", "--quiet", "--no-index", "--no-deps", wheel)
    listed = environment.zoo("list", KINDS[kind])
    assert [kind, name, project.name, "0.1.0"] in [r.split() for r in listed.stdout.splitlines()]

    trained = environment.zoo(*train)
    assert trained.returncode == 0, trained.stderr
    last = metrics(only_run(environment.folder / "runs"))[-1]
    assert last["epoch"] == 2
    tested = environment.run(environment.python, "-m", "pytest", "-q", "-W", "error", project)
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout

    environment.pip("uninstall", "--yes", project.name)
    gone = environment.zoo(*train)
    assert (gone.returncode, gone.stderr) == (2, refused.stderr)
    return last, project


@pytest.mark.slow
def test_a_new_reward_installs_trains_passes_its_tests_and_goes(environment):
    last, _ = lives(environment, "reward", "even_light")
    assert -1 <= last["reward/even_light"] < 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "reward"])
def test_a_new_component_installs_trains_passes_its_tests_and_goes(environment, kind):
    lives(environment, kind, f"even_{kind}")


def test_new_components_pass_the_linter(zoo_here, tmp_path):
    for kind in KINDS:
        zoo_here("new-plugin", kind, f"even_{kind}", "--out", tmp_path)
    assert len(list(tmp_path.glob("*/*/*.py"))) == 3 * len(KINDS)
    # Not the order of imports: to zoo's own linter zoo comes last, to a plugin's the plugin.
    rules = ("--isolated", "--line-length", "100", "--select", "E,F,UP,B,N,PT,SIM,C90")
    command = [sys.executable, "-m", "ruff", "check", *rules, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_template_is_left(zoo_here, tmp_path, kind):
    done = zoo_here("new-plugin", kind, "soft_edges", "--out", tmp_path)
    assert done.code == 0
    folder = tmp_path / "zoo-soft-edges"
    text = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    for word in ("my_plugin", "MyPlugin", "my-plugin", "KIND", "OVERRIDE", "API_VERSION = API"):
        assert word not in text
    assert f'[project.entry-points."zoo.{KINDS[kind]}"]' in text
    assert 'soft_edges = "zoo_soft_edges.soft_edges:SoftEdges"' in text
    assert (folder / "zoo_soft_edges" / "py.typed").exists()


@pytest.fixture
def refusal(zoo_here, tmp_path):
    """Asks for what cannot be written; gives the one line that says so."""

    def ask(kind, name):
        done = zoo_here("new-plugin", kind, name, "--out", tmp_path)
        assert done.code == 2
        assert not list(tmp_path.iterdir())
        (line,) = done.lines
        return line

    return ask


@pytest.mark.parametrize("name", ["SoftEdges", "soft-edges", "soft__edges", "2d", "class", "../up"])
def test_a_name_that_is_not_words_of_small_letters_is_refused(name, refusal):
    assert f"'{name}' cannot name a reward; use words of small letters" in refusal("reward", name)


def test_what_cannot_be_written_is_refused_in_a_line(refusal):
    assert "unknown kind 'rewards'; did you mean 'reward'? allowed: policy, " in refusal(
        "rewards", "x"
    )
    assert "the reward 'digit' is there already, of diffusion-rl-zoo" in refusal("reward", "digit")
    assert "its class would be Step, which the code uses" in refusal("solver", "step")


def test_a_folder_that_exists_is_left_as_it_is(zoo_here, tmp_path):
    (tmp_path / "zoo-soft-edges").mkdir()
    done = zoo_here("new-plugin", "reward", "soft_edges", "--out", tmp_path)
    assert done.code == 2
    assert "zoo-soft-edges exists already; choose another name or --out" in done.err
    assert not list((tmp_path / "zoo-soft-edges").iterdir())
