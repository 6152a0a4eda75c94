"""What is read is what it must be, or is named with its file and its key."""

import math
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter

from tests.forbidden import forbid
from zoo.errors import UserError
from zoo.storage import files, json_data
from zoo.storage.files import ReadError
from zoo.storage.json_data import DamagedFileError, OrNan

__all__ = ["forbid"]


@dataclass(frozen=True)
class Part:
    count: int
    scores: tuple[OrNan, ...]


KIND = TypeAdapter(dict[str, Part]).validate_json


def test_what_was_written_is_read_and_null_is_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write(path, {"x": {"count": 3, "scores": [1, 0.5, math.nan]}})
    part = json_data.read(path, KIND)["x"]
    assert (part.count, part.scores[:2]) == (3, (1.0, 0.5))
    assert math.isnan(part.scores[2])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "invalid JSON: EOF"),
        (b"\xff\xfe{}", "invalid JSON: "),
        (b"[]", "input should be an object, not [])"),
        (b'{"x": {"count": "3", "scores": []}}', "x.count: input should be a valid integer, not '"),
        (b'{"x": {"count": 2.5, "scores": []}}', "x.count: input should be a valid integer, not 2"),
        (b'{"x": {"count": 2}}', "x.scores: field required"),
        (b'{"x": {"count": 2, "scores": [true]}}', "x.scores.0: input should be a valid number"),
    ],
)
def test_what_is_something_else_is_said_in_a_line_with_its_key(text, why, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as error:
        json_data.read(path, KIND)
    said = str(error.value)
    assert said.startswith(f"{path} is damaged ({why}"), said
    assert said.endswith("); delete it to do without")
    assert "\n" not in said


@pytest.mark.parametrize("read", [json_data.read, json_data.read_lines])
def test_what_may_not_be_read_is_named_with_the_reason(read, forbid, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    forbid(path)
    with pytest.raises(ReadError) as error:
        read(path, KIND, fix="delete it")
    assert str(error.value) == f"{path} cannot be read: Permission denied"
    assert issubclass(ReadError, UserError)
