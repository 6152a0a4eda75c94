"""No function of the training package is given more than a reader can hold in mind."""

import ast
from pathlib import Path

import zoo.training

MOST = 7
FILES = sorted(Path(zoo.training.__file__).parent.glob("*.py"))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = [one.arg for one in named if one is not None]
    return [name for name in names if name not in ("self", "cls")]


def test_no_function_of_the_training_package_has_more_than_seven_parameters():
    assert len(FILES) > 15
    too_many = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = parameters(node)
                if len(names) > MOST:
                    too_many[f"{file.name}:{node.lineno} {node.name}"] = names
    assert too_many == {}
