"""`zoo new-plugin`: a package with one component, that installs, passes its tests and trains.

The templates in zoo/assets/new_plugin are whole modules under the name `my_plugin`, which is
replaced.
"""

import keyword
import os
import re
from importlib.resources import files
from pathlib import Path

from zoo import API_VERSION, registry
from zoo.cli.output import writing
from zoo.errors import UserError, suggest
from zoo.terminal import say

KINDS = {singular: kind for kind, singular in registry.SINGULAR.items()}

_OVERRIDES = {
    "reward": "rewards=[{name: digit}, {name: my_plugin, weight: 0.5}]",
    "solver": "sampler.solver={name: my_plugin}",
    "objective": "objective={name: my_plugin}",
    "policy": "policy={name: my_plugin}",
    "sampler": "sampler.name=my_plugin",
    "tracker": "trackers=[{name: my_plugin}]",
}
"""What puts each kind into the digits recipe."""


_NO_TEXT_IN_YAML = ("true", "false", "null")
_LONGEST = 60


def new_plugin(kind: str, name: str, out: Path) -> None:
    """Writes `out`/zoo-NAME.

    Raises:
        UserError: the kind is none, the name cannot be one, or there is such a folder.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind '{kind}'{suggest(kind, list(KINDS), 'allowed')}")
    _require_name(kind, name)
    folder = out / f"zoo-{name.replace('_', '-')}"
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already; choose another name or --out")
    templates = files("zoo") / "assets" / "new_plugin"
    package = f"zoo_{name}"
    written = {
        "pyproject.toml": templates / "pyproject.toml",
        "README.md": templates / "README.md",
        f"{package}/__init__.py": templates / "__init__.py.txt",
        f"{package}/{name}.py": templates / kind / "my_plugin.py",
        f"tests/test_{name}.py": templates / kind / "test_my_plugin.py.txt",
    }
    for path, template in written.items():
        file = folder / path
        with writing(out):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_fill_in(template.read_text("utf-8"), kind, name), "utf-8")
    (folder / package / "py.typed").touch()
    override = _fill_in(_OVERRIDES[kind], kind, name)
    say(f"wrote {folder}; next:")
    say(f"  pip install -e {folder}")
    say(f"  zoo train recipes/nft_digits.yaml -s '{override}'")
    say(f"  pytest {folder}")


def _require_name(kind: str, name: str) -> None:
    is_taken = keyword.iskeyword(name) or name in _NO_TEXT_IN_YAML or len(name) > _LONGEST
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or is_taken:
        raise UserError(
            f"'{name}' cannot name a {kind}; use words of small letters and digits with '_' "
            f"between, the first character a letter, up to {_LONGEST} characters and none that "
            "Python or YAML reads as something else: my_reward"
        )
    taken = [entry.package for entry in registry.entries(KINDS[kind]) if entry.name == name]
    if taken:
        raise UserError(
            f"the {kind} '{name}' is there already, of {', '.join(taken)}; choose another name"
        )
    template = files("zoo") / "assets" / "new_plugin" / kind / "my_plugin.py"
    if re.search(rf"\b{_class_name(name)}\b", template.read_text("utf-8")):
        raise UserError(
            f"'{name}' cannot name a {kind}: its class would be {_class_name(name)}, which the "
            "code uses for something else; choose another name"
        )


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _fill_in(text: str, kind: str, name: str) -> str:
    replaced = {
        "OVERRIDE": _OVERRIDES[kind],
        "API_VERSION = API_VERSION": f"API_VERSION = {API_VERSION}",
        "KINDS": KINDS[kind],
        "KIND": kind,
        "MyPlugin": _class_name(name),
        "my-plugin": name.replace("_", "-"),
        "my_plugin": name,
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text
