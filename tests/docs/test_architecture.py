"""The map in docs/architecture.md is that of the code."""

import re
import tomllib
import traceback
from pathlib import Path

from tests.docs.pages import DOCS, code
from tests.runs import ROOT
from tests.train_here import recipe, train_here
from zoo.engine.plain import PlainEngine

TEXT = (DOCS / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "zoo"


def section(title):
    """A section's text, without its heading."""
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def walk(title):
    """The files of a walk, and what is said of each."""
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| (.*) \|$", section(title), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    return {path: said for _, path, said in rows}


def test_the_page_has_every_module_and_no_other():
    page = set()
    for room, rows in re.findall(
        r"^### `([\w/]+)/`$(.*?)(?=^### |\Z)", section("The rooms"), re.MULTILINE | re.DOTALL
    ):
        folder = "" if room == "zoo" else f"{room}/"
        page |= {f"{folder}{name}" for name in re.findall(r"^\| `(\w+\.py)` \| \S", rows, re.M)}
    disk = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and "assets" not in path.parts
    }
    assert sorted(disk - page) == [], "modules without a sentence in docs/architecture.md"
    assert sorted(page - disk) == [], "modules in docs/architecture.md that are not there"


def test_a_package_of_modules_has_a_heading():
    rooms = set(re.findall(r"^### `([\w/]+)/`$", TEXT, re.MULTILINE)) - {"zoo"}
    disk = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*/__init__.py")}
    assert rooms == {room for room in disk if room != "." and not room.startswith("assets")}


def test_the_layers_are_those_that_are_enforced():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    shown = re.findall(r"^ {4}(.+)$", section("The layers"), re.MULTILINE)
    assert shown == layers


def test_a_hyper_parameter_is_followed_through_at_most_13_files_and_a_prompt_through_20():
    assert len(walk("Follow one hyper-parameter")) <= 13
    assert len(walk("Follow one prompt")) <= 20


def test_what_a_walk_names_is_in_its_files():
    for title in ("Follow one hyper-parameter", "Follow one prompt"):
        for path, said in walk(title).items():
            text = (PACKAGE / path).read_text(encoding="utf-8")
            for name in code(said):
                if re.fullmatch(r"[A-Za-z_][\w.]*", name):
                    for part in name.split("."):
                        assert re.search(rf"\b{part}\b", text), f"{path}: {name}"


def test_the_walk_is_the_way_that_the_code_goes(tmp_path, monkeypatch):
    """The files on the stack at a gradient step are in the walk, in its order."""
    stacks, update = [], PlainEngine.update

    def record(self, lr):
        files = [Path(frame.filename).resolve() for frame in traceback.extract_stack()]
        inside = [path for path in files if path.is_relative_to(PACKAGE)]
        stacks.append([str(path.relative_to(PACKAGE)) for path in inside])
        return update(self, lr)

    monkeypatch.setattr(PlainEngine, "update", record)
    small = recipe(
        ROOT / "recipes" / "nft_digits.yaml",
        **{"epochs": 1, "eval": "null", "data.groups_per_epoch": 2, "data.group_size": 2,
           "optim.updates_per_epoch": 1},
    )  # fmt: skip
    train_here(small, tmp_path)
    followed = list(walk("Follow one hyper-parameter"))
    in_vain, stack = stacks
    assert "training/first_step.py" in in_vain
    places = [followed.index(path) for path in stack]
    assert places == sorted(places)
    assert {"training/loop.py", "training/epoch.py", "training/learn.py"} <= set(stack)
