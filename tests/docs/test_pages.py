"""What the pages name is there; links within docs/ are held by the strict build of `make docs`."""

import ast
import re
import tomllib

import pytest

from tests.docs.pages import DOCS, PAGES, README, blocks, code, has_key, links, name_of
from tests.runs import ROOT
from zoo import registry
from zoo.cli.main import app
from zoo.data.builtin import BUILTIN
from zoo.recipe.recipe import load_recipe

CONFIG = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
MISTAKEN = ("recipes/nft_digit.yaml",)
"""What a page shows that is not there."""
FOLDERS = "recipes|benchmarks|plugins|tests|docs|zoo"
RECIPES = [
    load_recipe(ROOT / "recipes" / f"{name}.yaml", overrides).resolved()
    for name, overrides in {
        "nft_sd3_multi": ["stop_when={target: {label: image_reward, at_least: 1.0}}"],
        "flow_grpo_sd3_geneval": ["trackers=[{name: wandb}]"],
        "dpo_sd3_pickscore": [],
        "nft_digits": [],
    }.items()
]


def text_of(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_its_links_lead_to_files_and_those_of_the_site_stay_in_docs(page):
    for link in links(text_of(page)):
        if re.match(r"https?://|#", link):
            continue
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.exists(), link
        assert page == README or target.is_relative_to(DOCS), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_paths_that_it_names_are_there(page):
    for path in re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]*\w", text_of(page)):
        assert path in MISTAKEN or list(ROOT.glob(f"{path}*")), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_its_lines_but_for_tables_have_at_most_120_characters(page):
    lines = text_of(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_keys_of_recipes_that_it_names_are_keys(page):
    sections = "|".join(RECIPES[0])
    for text in code(text_of(page)):
        match = re.match(rf"((?:{sections})(?:\.[a-z_]+)+)(?=$|[:= ])", text)
        if match and not match[1].endswith(".py"):
            assert any(has_key(data, match[1]) for data in RECIPES), match[1]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("rewards", [entry.name for entry in registry.entries("rewards")
                     if entry.package == "diffusion-rl-zoo"]),
        ("solvers", [entry.name for entry in registry.entries("solvers")
                     if entry.package == "diffusion-rl-zoo"]),
        ("algorithms", [entry.name for entry in registry.entries("objectives")
                        if entry.package == "diffusion-rl-zoo"]),
        ("prompts", [f"builtin:{name}" for name in BUILTIN]),
    ],
    ids=["rewards", "solvers", "algorithms", "prompts"],
)  # fmt: skip
def test_a_page_names_all_that_is_built_in(page, names):
    assert names
    assert set(names) <= set(code(text_of(DOCS / f"{page}.md")))


def test_every_command_is_shown():
    shown = "\n".join(map(text_of, PAGES))
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert [name for name in names if f"zoo {name}" not in shown] == []


def test_the_navigation_has_every_page():
    def files(entries):
        for entry in entries:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else files(value)

    on_disk = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert set(files(CONFIG["project"]["nav"])) == on_disk


def test_the_api_has_every_public_module():
    shown = set(re.findall(r"^::: (\S+)$", "".join(map(text_of, PAGES)), re.MULTILINE))
    for module in shown:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    public = {f"zoo.{name}" for name in ("flow", "advantage", "seeds", "prompt", "rollout")}
    public |= {f"zoo.{kind}.base" for kind in ("policy", "sampler", "reward", "objective")}
    public |= {f"zoo.testing.{kind}" for kind in registry.KINDS}
    public |= {"zoo.registry", "zoo.recipe.recipe", "zoo.recipe.errors", "zoo.policy.weights"}
    for kind in registry.KINDS:
        for entry in registry.entries(kind):
            if entry.package == "diffusion-rl-zoo":
                public.add(entry.target.partition(":")[0])
    assert shown >= public


def literals():
    """The parts of every text in the code that are always as they are there."""
    for folder in ("zoo", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" not in path.parts and "envs" not in path.parts:
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        yield " ".join(node.value.split())


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code():
    """At least a third of each is written there; the rest are names, numbers and lists."""
    known = sorted({text for text in literals() if 8 <= len(text) <= 300}, key=len, reverse=True)
    messages = [
        " ".join(message.split())
        for block in blocks(text_of(DOCS / "troubleshooting.md"))
        for message in re.split(r"^(?=error: |warning: )", block, flags=re.MULTILINE)
        if message.startswith(("error: ", "warning: "))
    ]
    assert len(messages) > 30
    for message in messages:
        left = message
        for text in known:
            left = left.replace(text, "")
        assert len(left) <= len(message) * 2 / 3, message
