"""A reward that is a function in the user's own file."""

import sys
from pathlib import Path

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.judge import Judge, RewardError, WeightedReward
from zoo.reward.python import PythonReward

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
import torch

number = 3

@dataclass
class Scale:
    by: float

def bright(images, prompts):
    return images.mean(dim=(1, 2, 3)).double() * Scale(2.0).by

def long_prompts(images, prompts):
    return torch.tensor([len(prompt.text) for prompt in prompts])

def one_number(images, prompts):
    return images.mean()

def a_list(images, prompts):
    return [0.5] * len(images)

def a_tuple_of_tensors(images, prompts):
    return tuple(image.mean() * 2 for image in images)

def an_array(images, prompts):
    return images.numpy().mean((1, 2, 3)) * 2

def numpys(images, prompts):
    return [*an_array(images, prompts)]

def texts(images, prompts):
    return ["0.5"] * len(images)

def nothing(images, prompts):
    images.mean()

def a_dict(images, prompts):
    return {"score": images.flatten(1).mean(1)}

def with_extras(images, prompts):
    return images.flatten(1).mean(1), {}

def column(images, prompts):
    return an_array(images, prompts)[:, None]

def broken(images, prompts):
    raise RuntimeError("no server")
"""
IMAGES, PROMPTS = torch.full((2, 3, 8, 8), 0.25), [Prompt("a"), Prompt("abc")]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the user's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def test_the_function_scores_images() -> None:
    scores = PythonReward(path="mine.py:bright").score(IMAGES, PROMPTS)
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.5]).double())


def test_the_function_sees_the_prompts() -> None:
    assert PythonReward(path="mine.py:long_prompts").score(IMAGES, PROMPTS).tolist() == [1, 3]


def test_a_file_in_another_folder_is_named_by_its_path(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "mine.py").write_text("def f(images, prompts): return images[:, 0, 0, 0]")
    for path in ("sub/mine.py:f", f"{here}/sub/mine.py:f"):
        assert PythonReward(path=path).score(IMAGES, PROMPTS).tolist() == [0.25, 0.25]
    assert PythonReward(path="mine.py:bright").score(IMAGES, PROMPTS).tolist() == [0.5, 0.5]


def test_an_error_of_the_function_is_its_own() -> None:
    with pytest.raises(RuntimeError, match=r"no server"):
        PythonReward(path="mine.py:broken").score(IMAGES, PROMPTS)


@pytest.mark.parametrize("name", ["a_list", "a_tuple_of_tensors", "an_array", "numpys"])
def test_numbers_in_a_list_or_an_array_are_scores(name: str) -> None:
    scores = PythonReward(path=f"mine.py:{name}").score(IMAGES, PROMPTS)
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.5]).double())


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("texts", r"returned list; it must return a tensor of one number an image, shape \[2\]"),
        ("a_dict", r"returned dict; it must"),
        ("with_extras", r"returned tuple; it must"),
        ("nothing", r"returned NoneType; it must"),
        ("column", r"returned shape \[2, 1\] for 2 images"),
    ],
)
def test_anything_else_is_left_to_the_judge(name: str, said: str) -> None:
    judge = Judge(
        [WeightedReward("it", PythonReward(path=f"mine.py:{name}"))], timeout=30, retries=0
    )
    judge.submit(IMAGES, PROMPTS, torch.tensor([0, 1]))
    with pytest.raises(RewardError, match=said):
        judge.finish()
    judge.close()


@pytest.mark.parametrize("path", ["mine.py", "mine.py:", ":bright", ""])
def test_a_path_without_file_or_function_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=rf"'{path}' does not name .* write path: my_file.py:my_f"):
        PythonReward(path=path)


def test_a_missing_file_is_named_with_the_working_directory(here: Path) -> None:
    with pytest.raises(ValueError, match=rf"'his.py' does not exist; .* is {here}; write path"):
        PythonReward(path="his.py:bright")


def test_a_missing_function_is_named_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"'mine.py' has no function 'dark'; it has: .*bright.*; write"
    ):
        PythonReward(path="mine.py:dark")


def test_what_is_not_callable_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'number' in .*'mine.py' is of type int; make it a function"
    ):
        PythonReward(path="mine.py:number")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDiv"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused(here: Path, source: str, error: str) -> None:
    (here / "bad.py").write_text(source)
    with pytest.raises(ValueError, match=rf"'bad.py' cannot be imported: {error}.* shows where"):
        PythonReward(path="bad.py:f")


def test_a_file_that_is_not_python_is_refused(here: Path) -> None:
    (here / "mine.txt").write_text(SOURCE)
    with pytest.raises(ValueError, match=r"'mine.txt' is not Python source; name a .py file"):
        PythonReward(path="mine.txt:bright")


def test_what_is_beside_the_file_can_be_imported_wherever_it_is(here: Path) -> None:
    before = list(sys.path)
    for folder, level in (("one", 1.0), ("two", 2.0)):
        (here / folder / "parts").mkdir(parents=True)
        (here / folder / "parts" / "__init__.py").write_text("")
        (here / folder / "parts" / "scale.py").write_text(f"SCALE = {level}")
        (here / folder / "helper_of_it.py").write_text("from parts.scale import SCALE")
        (here / folder / "r.py").write_text(
            "from helper_of_it import SCALE\n"
            "def f(images, prompts): return images[:, 0, 0, 0] * SCALE"
        )
    for _ in range(2):
        assert PythonReward(path="one/r.py:f").score(IMAGES, PROMPTS).tolist() == [0.25, 0.25]
        assert PythonReward(path=f"{here}/two/r.py:f").score(IMAGES, PROMPTS).tolist() == [0.5, 0.5]
    assert sys.path == before


@pytest.mark.parametrize(
    "line", ["from . import helper", "from .helper import x", "from .. import x"]
)
def test_a_relative_import_is_refused_with_the_fix(here: Path, line: str) -> None:
    (here / "helper.py").write_text("x = 1")
    (here / "r.py").write_text(line)
    with pytest.raises(ValueError, match=r"relative import.*; write import x for from \. import x"):
        PythonReward(path="r.py:f")


@pytest.mark.parametrize("code", ["0", "3", "'over'"])
def test_a_file_that_ends_the_process_is_refused(here: Path, code: str) -> None:
    (here / "r.py").write_text(f"import sys\nsys.exit({code})\ndef f(images, prompts): ...")
    with pytest.raises(ValueError, match=r"'r.py' cannot be imported: SystemExit"):
        PythonReward(path="r.py:f")


def test_a_name_that_is_too_long_is_no_file() -> None:
    with pytest.raises(ValueError, match=r"does not exist"):
        PythonReward(path=f"{'a' * 300}.py:f")
