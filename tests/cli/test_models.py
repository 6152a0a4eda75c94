"""`zoo describe MODEL` and `zoo check --pipeline MODEL`, on a tiny model in a folder."""

import pytest

from tests.runs import RECIPES
from zoo.policy.pipeline.policy import Diffusers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "z"
    options = Diffusers.write_tiny(folder, "ZImagePipeline")
    width, height = options["resolution"]
    overrides = [f"resolution=[{width}, {height}]", "dtype=float32", "lora.rank=4"]
    overrides.append(f"max_text_tokens={options['max_text_tokens']}")
    return str(folder), [word for override in overrides for word in ("-s", override)]


def test_describe_tells_how_a_model_is_asked_without_its_weights(zoo_here, model):
    folder, overrides = model
    done = zoo_here("describe", folder, *overrides)
    assert done.code == 0, done.err
    assert "ZImagePipeline" in done.out
    assert "the scale -1, 0 is none" in done.out
    assert "transformer, guided, call 1 of a step" in done.out


def test_check_tries_a_model(zoo_here, model):
    folder, overrides = model
    done = zoo_here("check", "--pipeline", folder, *overrides)
    assert done.code == 0, done.out + done.err
    for name in ("velocity", "guided", "rows", "trained", "decoded", "encoded", "milliseconds"):
        assert name in done.out


def test_check_wants_recipes_or_a_model(zoo_here, model):
    assert zoo_here("check").code == 2
    done = zoo_here("check", str(RECIPES["nft"]), "--pipeline", model[0])
    assert done.code == 2
    assert "not both" in done.err


def test_an_option_that_the_policy_has_not_is_refused(zoo_here, model):
    done = zoo_here("describe", model[0], "-s", "resolutoin=64")
    assert done.code == 2
    assert "did you mean 'resolution'" in done.err


def test_a_folder_that_is_no_model_is_refused_in_a_line(zoo_here, tmp_path):
    done = zoo_here("describe", str(tmp_path))
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1


def test_no_option_is_named_that_the_command_has_not(zoo_here, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for words in (("describe", "no/model"), ("check", "--pipeline", "no/model")):
        done = zoo_here(*words)
        assert done.code == 2
        (line,) = done.lines
        assert "the model 'no/model' is no folder here and cannot be had from the Hub" in line
        assert "--tiny" not in line
