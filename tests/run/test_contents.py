"""What a run is made of may be elsewhere, and not be something else."""

import json
import shutil

import pytest

from tests.runs import RECIPES
from tests.tiny_models import write_sd3
from tests.train_here import recipe
from zoo.errors import UserError
from zoo.policy.pretrained import Pretrained
from zoo.run import contents
from zoo.run import folder as run_folder

REWARD = "def bright(images, prompts):\n    return images.flatten(1).mean(1)\n"


def begin(tmp_path, path=RECIPES["nft"], **changes):
    """The folder of a run that has just begun."""
    made = recipe(path, output_dir=tmp_path / "out", **changes)
    folder = run_folder.create(made)
    contents.write(folder, made)
    return folder


def with_a_reward(tmp_path, source):
    """The same, with these prompts and a reward of its own."""
    (tmp_path / "r.py").write_text(REWARD)
    rewards = f"[{{name: python, path: '{tmp_path}/r.py:bright', label: bright}}]"
    return begin(tmp_path, data__train=source, rewards=rewards)


@pytest.fixture
def prompts(tmp_path):
    """A file of two prompts."""
    path = tmp_path / "p.txt"
    path.write_text("the digit seven\nthe digit two\n")
    return path


@pytest.fixture
def begun(prompts, tmp_path):
    """A folder of a run with prompts and a reward of its own."""
    return with_a_reward(tmp_path, prompts)


def going_on(folder, *overrides, accept=False):
    changed = run_folder.recipe_of(folder, overrides)
    lines = contents.compare_moved(folder, changed, accept=accept)
    contents.goes_on(folder, changed)
    run_folder.goes_on(folder, changed)
    return lines


def test_a_run_may_find_the_same_elsewhere_and_remembers_it(begun, tmp_path):
    rows = [{"prompt": "the digit seven"}, {"prompt": "the digit two"}]
    (tmp_path / "moved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.move(tmp_path / "r.py", tmp_path / "moved.py")
    before = json.loads((begun / "contents.json").read_text())
    moved = (f"data.train={tmp_path}/moved.jsonl", f"rewards.0.path={tmp_path}/moved.py:bright")
    assert going_on(begun, *moved) == []
    (tmp_path / "p.txt").unlink()
    assert going_on(begun) == []
    assert run_folder.recipe_of(begun).data.train == f"{tmp_path}/moved.jsonl"
    assert json.loads((begun / "contents.json").read_text()) == before


@pytest.mark.slow
def test_another_content_is_refused_with_both_places_and_taken_knowingly(begun, tmp_path):
    (tmp_path / "other.txt").write_text("the digit seven\n")
    (tmp_path / "other.py").write_text(f"{REWARD}\n")
    for key, then, now in (
        ("data.train", f"{tmp_path}/p.txt", f"{tmp_path}/other.txt"),
        ("rewards.0.path", f"{tmp_path}/r.py:bright", f"{tmp_path}/other.py:bright"),
    ):
        with pytest.raises(UserError) as error:
            going_on(begun, f"{key}={now}")
        said = str(error.value)
        assert said.startswith(
            f"-s {key}={now}: {key} is '{now}', where the run began with '{then}"
        )
        assert "its content is another" in said
        assert said.endswith("--moved")
        (line,) = going_on(begun, f"{key}={now}", accept=True)
        assert line.startswith(f"{key} is '{now}' from here on, and its content is another")
        # From now on it is this one.
        assert going_on(begun) == []


def test_what_an_earlier_version_began_is_not_known(begun, tmp_path):
    (begun / "contents.json").unlink()
    shutil.copy(tmp_path / "p.txt", tmp_path / "same.txt")
    assert going_on(begun) == []
    override = f"data.train={tmp_path}/same.txt"
    with pytest.raises(UserError, match="whether its content is the same is not known"):
        going_on(begun, override)
    assert len(going_on(begun, override, accept=True)) == 1


def test_a_shipped_model_that_has_become_another_is_refused_and_taken_knowingly(begun):
    path = begun / "contents.json"
    known = json.loads(path.read_text())
    assert list(known["policy"]) == ["digits.safetensors"]
    of_today = known["policy"]["digits.safetensors"]
    path.write_text(json.dumps(known | {"policy": {"digits.safetensors": "of last year"}}))
    with pytest.raises(UserError, match=r"'digits', which comes with its package, is another") as e:
        going_on(begun)
    assert "(digits.safetensors); use the version" in str(e.value)
    with pytest.raises(UserError, match=r"is another than the run began with"):
        contents.require_shipped(begun, run_folder.recipe_of(begun))
    (line,) = going_on(begun, accept=True)
    assert line.endswith("(digits.safetensors) (--moved)")
    # From now on it is this one.
    assert going_on(begun) == []
    assert json.loads(path.read_text())["policy"] == {"digits.safetensors": of_today}


def test_a_shipped_folder_is_known_by_each_of_its_files(tmp_path):
    folder = begin(tmp_path, RECIPES["nft"].with_name("nft_scenes.yaml"))
    known = json.loads((folder / "contents.json").read_text())["policy"]
    assert {"scenes/transformer/diffusion_pytorch_model.safetensors", "scenes/vae/config.json",
            "scenes/model_index.json"} <= known.keys()  # fmt: skip


def test_a_model_that_is_named_is_none_that_is_shipped(tmp_path):
    (tmp_path / "d.safetensors").touch()
    folder = begin(tmp_path, policy=f"{{name: digits, checkpoint: {tmp_path}/d.safetensors}}")
    assert "policy" not in json.loads((folder / "contents.json").read_text())


def test_no_prompts_to_evaluate_with_are_another_content(begun, tmp_path):
    with pytest.raises(UserError, match=r"data.eval is none, where the run began with 'builtin"):
        going_on(begun, "data.eval=null")
    assert len(going_on(begun, "data.eval=null", accept=True)) == 1
    with pytest.raises(UserError, match=r"data.eval is '.*', where the run began with none, and"):
        going_on(begun, f"data.eval={tmp_path}/p.txt")


@pytest.mark.slow
def test_stages_have_places_of_their_own(prompts, tmp_path):
    stages = f"[{{epochs: 1}}, {{epochs: 1, data: {{train: '{prompts}'}}}}]"
    folder = begin(tmp_path, epochs=2, stages=stages)
    shutil.copy(tmp_path / "p.txt", tmp_path / "same.txt")
    assert going_on(folder, f"stages.1.data.train={tmp_path}/same.txt") == []
    with pytest.raises(UserError, match=r"stages\.0\.data\.train=.*its content is another"):
        going_on(folder, f"stages.0.data.train={tmp_path}/same.txt")


def test_only_places_may_change(begun):
    for override in ("data.group_size=8", "policy.lora.rank=4", "rewards.0.weight=2"):
        with pytest.raises(UserError, match=r"may change only engine.*data\.train, data\.eval"):
            run_folder.recipe_of(begun, [override])


def test_a_model_is_known_by_its_parts_and_not_by_its_folder(tmp_path):
    write_sd3(tmp_path / "a")
    found = Pretrained(str(tmp_path / "a")).fingerprints()
    assert {"transformer", "vae", "text_encoder"} <= found.keys()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "README.md").write_text("a model")
    assert Pretrained(str(tmp_path / "b")).fingerprints() == found
    weights = next((tmp_path / "b" / "transformer").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = Pretrained(str(tmp_path / "b")).fingerprints()
    assert {name for name in found if found[name] != other[name]} == {"transformer"}
    with pytest.raises(ValueError, match=r"has no usable 'model_index\.json'"):
        Pretrained(str(tmp_path)).fingerprints()


def test_a_damaged_file_of_fingerprints_is_named(begun, tmp_path):
    (begun / "contents.json").write_text('{"data.train": 1}')
    shutil.copy(tmp_path / "p.txt", tmp_path / "same.txt")
    with pytest.raises(UserError, match=r"contents\.json is damaged \(data\.train: input should"):
        going_on(begun, f"data.train={tmp_path}/same.txt")


def test_a_source_of_several_may_be_elsewhere_and_their_weights_are_the_runs(prompts, tmp_path):
    (tmp_path / "q.txt").write_text("the digit one\n")
    entries = f"[{{source: {prompts}, weight: 2}}, {{source: {tmp_path}/q.txt}}]"
    folder = with_a_reward(tmp_path, entries)
    shutil.move(tmp_path / "q.txt", tmp_path / "moved.txt")
    assert going_on(folder, f"data.train.1.source={tmp_path}/moved.txt") == []
    (tmp_path / "other.txt").write_text("the digit nine\n")
    with pytest.raises(UserError, match=r"data.train.1.source is '.*other.txt', where the run"):
        going_on(folder, f"data.train.1.source={tmp_path}/other.txt")
    with pytest.raises(UserError, match="other sources, weights or rewards than the run began"):
        going_on(folder, entries.join(("data.train=", "")).replace("weight: 2", "weight: 3"))
    with pytest.raises(UserError, match="a run that goes on may change only"):
        run_folder.recipe_of(folder, ["data.train.0.weight=3"])
