"""The notebooks of docs/ run from the first cell to the last, as a kernel would run them."""

import ast
import json

import matplotlib.pyplot as plt
import pytest

from tests.runs import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "clear the outputs before it is committed"
            yield "".join(cell["source"])


def shown(value):
    """What a notebook asks a cell's last value for."""
    methods = ("_repr_html_", "_repr_png_")
    return [getattr(value, name)() for name in methods if hasattr(value, name)] or [repr(value)]


def run(source, names):
    """Runs a cell; gives the value of its last line, if that is an expression."""
    *first, last = ast.parse(source).body
    exec(compile(ast.Module(first, []), "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module([last], []), "cell", "exec"), names)
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    names, values = {}, []
    for source in cells(path):
        value = run(source, names)
        values += shown(value) if value is not None else []
    plt.close("all")
    assert values
    assert all(values)


def test_the_first_one_trains_on_its_own_reward():
    (path,) = (path for path in NOTEBOOKS if path.stem == "first_reward")
    assert any("my_reward.py:darkness" in source for source in cells(path))
