"""A contract is written as JSON exactly, and read back."""

import json
from dataclasses import fields

import pytest
import torch

from tests.policy.pipeline import toy
from zoo.policy.pipeline.contract import Contract, Manner, Pass
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.part import Part
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trees import LIST
from zoo.policy.pipeline.written import FORMAT, from_json, to_json

KINDS = ("StableDiffusion3", "Wan", "LTX2", "ZImage", "WanImageToVideo@2.2-5B", "QwenImageEditPlus")


def again(contract):
    """Written and read, as a file is."""
    return from_json(json.loads(json.dumps(to_json(contract))))


def same(one, other):
    """Whether two values are of the same types and numbers, in the same order."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Part):
        return same(one.fields(), other.fields())
    if type(one) is not type(other):
        return False
    if isinstance(one, Contract | Manner | Pass):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("cls", [toy.Toy, toy.OneAtATime, toy.KeepsFirst])
def test_what_is_read_is_what_was_written(cls):
    contract = learn(toy.seam_of(cls))
    assert same(again(contract), contract)
    assert to_json(again(contract)) == to_json(contract)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_of_every_kind(tiny, kind):
    name, at, variant = kind.partition("@")
    contract = Diffusers(torch.device("cpu"), **tiny(f"{name}Pipeline{at}{variant}")).contract
    assert same(again(contract), contract)


def test_numbers_are_exact_and_large_parts_are_short():
    third, many = torch.tensor(1 / 3, dtype=torch.float64), torch.rand(99, dtype=torch.float64)
    place = torch.arange(100_000).reshape(2, -1, 10).transpose(0, 1).flatten()
    part = Part([(0, 100_000)], place, place % 3 > 0, kept=2)
    path = ("args", 0)
    one = Pass("net", {path: LIST}, {}, {path: (third, many)}, frozenset({path}), (True, False))
    contract = Contract(
        "Any", Manner(None, off=0.1, part=part, narrow={"net": frozenset({path, ("a", "b")})}),
        ((3, 4),), {("net", True): (one,)}, None, 1 / 7, {False: {path: 1}}, independent=False,
    )  # fmt: skip
    assert same(again(contract), contract)
    assert len(json.dumps(to_json(contract))) < 10_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: None,
        lambda data: [],
        lambda data: {**data, "format": FORMAT + 1},
        lambda data: {**data, "contract": 3},
        lambda data: {**data, "contract": {"Manner": {"guided_by": None}}},
        lambda data: {**data, "contract": {"Contract": {"pipeline": "Toy"}}},
        lambda data: json.loads(json.dumps(data).replace('"tuple"', '"twople"')),
    ],
)
def test_what_is_no_contract_is_not_read(damage):
    with pytest.raises(ValueError, match=rf"no contract of format {FORMAT}"):
        from_json(damage(to_json(learn(toy.seam_of()))))


def test_another_format_has_another_number():
    """Where this fails what was kept cannot be read any more: raise FORMAT, then change this."""
    words = [[field.name for field in fields(cls)] for cls in (Contract, Manner, Pass)]
    part = Part([], torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    assert (FORMAT, *words, list(part.fields())) == (
        1,
        [
            "pipeline", "manner", "shapes", "passes", "offset", "boundary", "encoded", "independent"
        ],
        ["guided_by", "off", "by_keyword", "batching", "part", "narrow"],
        ["name", "rows", "out_rows", "time", "latents", "told"],
        ["box", "place", "moved", "kept"],
    )  # fmt: skip
