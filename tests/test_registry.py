import re
import subprocess
import sys
import textwrap
import tomllib

import pytest

from tests.runs import ROOT
from zoo import registry
from zoo.registry import BrokenPluginError, UnknownComponentError

GOOD = "class Sharpness:\n    pass\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Writes a package and its entry points as pip would have, on a folder of sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def write(package, code, points, kind="rewards"):
        module = package.replace("-", "_")
        made.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"[zoo.{kind}]\n{points}\n")
        registry.entries.cache_clear()

    yield write
    registry.entries.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def test_a_plugin_is_found_without_being_imported(install):
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness")
    (entry,) = [entry for entry in registry.entries("rewards") if entry.name == "sharpness"]
    assert (entry.package, entry.version) == ("zoo-sharp", "1.2")
    assert entry.target == "zoo_sharp:Sharpness"
    assert "zoo_sharp" not in sys.modules
    assert registry.load("rewards", "sharpness").__name__ == "Sharpness"


def test_a_folder_that_is_twice_on_the_path_registers_once(install, tmp_path, monkeypatch):
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.entries.cache_clear()
    assert registry.load("rewards", "sharpness").__name__ == "Sharpness"


def test_an_unknown_name_says_what_is_installed_and_the_nearest(install):
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness")
    with pytest.raises(UnknownComponentError) as raised:
        registry.load("rewards", "sharpnes")
    said = str(raised.value)
    assert said.startswith("unknown reward 'sharpnes'; did you mean 'sharpness'? installed: ")
    assert "(zoo list rewards)" in said
    assert "pip install -e ." in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("solvers", "dopri5", "the solver 'dopri5' is of the plugin zoo-torchdiffeq"),
        ("rewards", "ocr", "in a clone of zoo: pip install -e plugins/zoo-ocr"),
        ("rewards", "zoo-ocr:ocr", "in a clone of zoo: pip install -e plugins/zoo-ocr"),
        ("rewards", "image_reward_package", "zoo env create plugins/zoo-image-reward, then isol"),
        ("rewards", "dopri5", "unknown reward 'dopri5'"),
        ("rewards", "zoo-sharp:ocr", "unknown reward 'zoo-sharp:ocr'"),
    ],
)
def test_a_component_of_a_plugin_that_is_not_installed_says_what_to_install(
    monkeypatch, kind, name, said
):
    monkeypatch.setattr(registry, "entries", lambda kind: ())
    with pytest.raises(UnknownComponentError, match=re.escape(said)) as raised:
        registry.load(kind, name)
    assert "\n" not in str(raised.value)


def test_the_plugins_that_are_named_register_what_is_said():
    found = {}
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        for group, points in project.get("entry-points", {}).items():
            found[project["name"]] = (group.removeprefix("zoo."), tuple(sorted(points)))
    # What an example registers is nobody's to miss.
    del found["zoo-example"]
    assert found == registry.PLUGINS


def test_an_unknown_kind_says_which_there_are():
    with pytest.raises(UnknownComponentError, match=r"'reward'; did you mean 'rewards'.*policies"):
        registry.entries("reward")


def test_a_plugin_that_raises_on_import_is_reported_and_stops_no_other(install):
    install("zoo-bad", "raise OSError('no libfoo.so')\n", "bad = zoo_bad:Bad")
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness")
    assert {"bad", "sharpness"} <= {entry.name for entry in registry.entries("rewards")}
    assert registry.load("rewards", "sharpness")
    with pytest.raises(BrokenPluginError) as raised:
        registry.load("rewards", "bad")
    said = "the reward 'bad' of package zoo-bad 1.2 cannot be imported: OSError: no libfoo.so; "
    assert str(raised.value).startswith(said)
    assert isinstance(raised.value.__cause__, OSError)


def test_a_plugin_that_exits_on_import_is_reported(install):
    install("zoo-quits", "raise SystemExit('bye')\n", "quits = zoo_quits:Quits")
    with pytest.raises(BrokenPluginError, match="SystemExit: bye"):
        registry.load("rewards", "quits")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("x = zoo_sharp:Sharpnes", "AttributeError"),
        ("x = zoo_sharp", "is not a class"),
        ("x = zoo_sharp:NUMBER", "is not a class.*'package.module:Class'"),
    ],
)
def test_an_entry_point_must_name_a_class(install, points, said):
    install("zoo-sharp", GOOD + "NUMBER = 3\n", points)
    with pytest.raises(BrokenPluginError, match=said):
        registry.load("rewards", "x")


def test_two_packages_with_one_name_are_told_apart_by_package(install):
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness")
    install("zoo-blunt", GOOD, "sharpness = zoo_blunt:Sharpness")
    with pytest.raises(UnknownComponentError, match="zoo-blunt:sharpness' or 'zoo-sharp:sharpness"):
        registry.load("rewards", "sharpness")
    assert registry.load("rewards", "zoo-blunt:sharpness").__module__ == "zoo_blunt"
    assert registry.load("rewards", "zoo_sharp:sharpness").__module__ == "zoo_sharp"
    with pytest.raises(
        UnknownComponentError, match=r"not registered by the package 'zoo-shrp'; .*"
    ):
        registry.load("rewards", "zoo-shrp:sharpness")


@pytest.mark.parametrize(
    "code", ["ZOO_API_VERSION = 99\n" + GOOD, "class Sharpness:\n    ZOO_API_VERSION = 99\n"]
)
def test_a_plugin_for_other_interfaces_is_refused(install, code):
    install("zoo-sharp", code, "sharpness = zoo_sharp:Sharpness")
    with pytest.raises(BrokenPluginError, match=r"version 99 of zoo's interfaces .* version 1"):
        registry.load("rewards", "sharpness")


def test_entry_points_that_cannot_be_read_name_the_file(install):
    install("zoo-sharp", GOOD, "sharpness = zoo_sharp:Sharpness\nsharpness = again:Again")
    with pytest.raises(BrokenPluginError, match=r"zoo_sharp-1.2.dist-info.*reinstall or remove"):
        registry.entries("rewards")


def test_listing_and_reading_import_no_torch():
    code = """
        import sys
        import zoo.recipe.load, zoo.registry
        zoo.registry.entries("rewards")
        assert "torch" not in sys.modules and "pydantic" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
