"""What was found of a pipeline is found once; what does not hold of it is found anew."""

import json
from dataclasses import replace

import diffusers
import pytest
import torch

from zoo.policy.lora import Lora
from zoo.policy.pipeline import known, learned
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.written import from_json, to_json

CPU, META = torch.device("cpu"), torch.device("meta")
KIND = "StableDiffusion3Pipeline"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the cache, of which this process knows nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(known, "_FOUND", {})
    monkeypatch.setattr(known, "_FORGOTTEN", set())
    return tmp_path / "zoo" / "contracts"


@pytest.fixture
def found(monkeypatch):
    """What was found anew, in their order."""
    every, learn = [], learned.learn

    def noted(seam):
        every.append(learn(seam))
        return every[-1]

    monkeypatch.setattr(learned, "learn", noted)
    return every


@pytest.fixture
def load(tiny):
    """A policy as a new process has it: it knows what is in the cache."""

    def made(device=CPU, **changes):
        known._FOUND.clear()
        return Diffusers(device, **{**tiny(KIND), "lora": Lora(rank=4, alpha=8), **changes})

    return made


def rewrite(path, **changes):
    """Has a file of the cache say something else."""
    contract = replace(from_json(json.loads(path.read_text())), **changes)
    path.write_text(json.dumps(to_json(contract)))


def test_a_pipeline_is_learned_once(cache, found, load):
    first = load()
    (path,) = cache.iterdir()
    assert from_json(json.loads(path.read_text())).describe() == first.contract.describe()
    second = load()
    assert len(found) == 1
    assert to_json(second.contract) == to_json(first.contract)
    assert second.verified == first.verified
    assert second.seam.manner is second.contract.manner


def test_shapes_alone_are_learned_once_too(cache, found, load):
    load(META), load(META)
    assert len(found) == 1


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "change", [{"resolution": 32}, {"negative": "a"}, {"dtype": "bfloat16"}, {"device": META}]
)
def test_what_it_depends_on_is_told_apart(cache, found, load, change):
    load(), load(**change)
    assert len(found) == 2
    assert len(list(cache.iterdir())) == 2


def test_another_diffusers_is_asked_anew(cache, found, load, monkeypatch):
    load()
    monkeypatch.setattr(diffusers, "__version__", "99.0")
    load()
    assert len(found) == 2


def wrong(contract):
    """Contracts that the pipeline does not keep: one is refused, others break what asks by it."""
    (key, (one,)), *others = contract.passes.items()
    late = {path: (start, slope / 2) for path, (start, slope) in one.time.items()}
    return {
        "time": {"passes": {key: (replace(one, time=late),), **dict(others)}},
        "shapes": {"shapes": ((16, 8, 9),)},
        "passes": {"passes": {}},
        "encoded": {"encoded": {}},
    }


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("which", ["time", "shapes", "passes", "encoded"])
def test_what_does_not_hold_is_learned_anew_and_replaced(cache, found, load, which):
    first = load()
    (path,) = cache.iterdir()
    right = path.read_text()
    rewrite(path, **wrong(first.contract)[which])
    assert path.read_text() != right
    second = load()
    assert len(found) == 2
    assert to_json(second.contract) == to_json(first.contract)
    assert second.verified == first.verified
    assert path.read_text() == right
    x = torch.zeros(1, *second.latent_shape)
    with torch.no_grad():
        velocities = [each.velocity(x, torch.ones(1), _cond(each)) for each in (first, second)]
    assert torch.equal(*velocities)


def _cond(policy):
    from zoo.prompt import Prompt

    return policy.encode([Prompt("a red cat")])


def test_at_another_size_too(cache, found, load):
    first = load().sized({"resolution": 32, "frames": None})
    for path in cache.iterdir():
        rewrite(path, encoded={})
    second = load().sized({"resolution": 32, "frames": None})
    assert len(found) == 4
    assert to_json(second.contract) == to_json(first.contract)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\xff"])
def test_a_broken_file_is_none(cache, found, load, text):
    load()
    (path,) = cache.iterdir()
    right = path.read_text()
    path.write_text(text, encoding="latin-1")
    load()
    assert len(found) == 2
    assert path.read_text() == right


def test_a_cache_that_cannot_be_written_is_none(cache, found, load):
    cache.parent.write_text("in its place")
    load(), load()
    assert len(found) == 2


def test_a_pipeline_that_is_refused_is_not_kept(cache, load, monkeypatch):
    def refuse(*arguments):
        raise UnsupportedError("no")

    monkeypatch.setattr("zoo.policy.pipeline.loaded.verify", refuse)
    with pytest.raises(UnsupportedError, match="no"):
        load()
    assert not cache.exists()


def test_a_run_that_goes_on_uses_what_it_began_with(cache, found, load):
    began = replace(load().contract, independent=False)
    of_run = load()._learned.known.asked
    with known.recalling({of_run: began}):
        assert load().contract is began
        # What another run found is asked otherwise.
        assert load(resolution=32).contract is not began
    assert load().contract.independent
    assert len(found) == 2


def test_what_a_run_began_with_is_checked(cache, found, load):
    first = load()
    of_run = first._learned.known.asked
    with known.recalling({of_run: replace(first.contract, encoded={})}):
        assert to_json(load().contract) == to_json(first.contract)
