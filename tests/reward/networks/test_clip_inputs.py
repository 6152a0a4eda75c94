"""What the rewards on CLIP are fed: prompts, images, devices; alone, in batches and after rests."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo.prompt import Prompt
from zoo.reward.aesthetic import Aesthetic
from zoo.reward.clipscore import ClipScore
from zoo.reward.hpsv2 import HPSv2
from zoo.reward.pickscore import PickScore
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
ALL = (Aesthetic, ClipScore, HPSv2, PickScore)
READERS = (ClipScore, HPSv2, PickScore)
EACH = pytest.mark.parametrize("cls", ALL)
PROMPTS = [Prompt("a red cube, on a blue sphere!"), Prompt("two dogs"), Prompt(""), Prompt("🐶")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return {cls: cls.write_tiny(folder / cls.__name__) for cls in ALL}


@pytest.mark.parametrize("cls", READERS)
def test_the_prompt_and_the_image_both_matter(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(4, 40)
    of_prompts = reward.score(images[:1].expand(4, -1, -1, -1), PROMPTS)
    of_images = reward.score(images, PROMPTS[:1] * 4)
    for scores in (of_prompts, of_images):
        assert len(set(scores.tolist())) == 4
        assert float(scores.max() - scores.min()) > 1e-2


@EACH
def test_a_score_is_that_of_its_image_and_prompt_alone(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(4, 40)
    whole, order = reward.score(images, PROMPTS), [2, 0, 3, 1]
    turned = reward.score(images[order], [PROMPTS[i] for i in order])
    torch.testing.assert_close(turned, whole[order], rtol=1e-5, atol=2e-6)
    for i in range(4):
        alone = reward.score(images[i : i + 1], PROMPTS[i : i + 1])
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("cls", READERS)
def test_the_prompt_of_several_images_is_embedded_once(written, cls, monkeypatch):
    reward, images = cls(CPU, **written[cls]), some_images(4, 40)
    model, rows = reward._clip._model, []
    embed = model.get_text_features

    def watched(input_ids, **others):
        rows.append(len(input_ids))
        return embed(input_ids=input_ids, **others)

    monkeypatch.setattr(model, "get_text_features", watched)
    reward.score(images, [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[0]])
    assert rows == [2]


@pytest.mark.parametrize("cls", READERS)
def test_a_prompt_is_read_to_its_77th_token(written, cls):
    reward, image = cls(CPU, **written[cls]), some_images(1, 28)
    # Two of them are the start and the end.
    texts = ("b " * 75, "b " * 75 + "dog", "b " * 5000, "b " * 74 + "d")
    scores = [float(reward.score(image, [Prompt(text)])) for text in texts]
    assert scores[0] == scores[1] == scores[2] != scores[3]


@pytest.mark.fast_cases(4)
@EACH
@pytest.mark.parametrize("text", ["", " ", "🐶" * 40, "é\n\t漢字", "<|endoftext|> a", "a" * 10_000])
def test_any_text_is_scored(written, cls, text):
    assert cls(CPU, **written[cls]).score(some_images(1, 28), [Prompt(text)]).isfinite().all()


@EACH
def test_an_image_that_is_not_finite_is_not_scored_and_the_others_are(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(3, 28)
    wanted = reward.score(images, PROMPTS[:3])
    images[1, 0, 3, 3] = torch.nan
    found = reward.score(images, PROMPTS[:3])
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]])


@pytest.mark.fast_cases(4)
@EACH
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (27, 29)])
def test_images_of_any_shape_are_scored(written, cls, shape):
    images = some_images(2, 200)[..., : shape[0], : shape[1]]
    assert cls(CPU, **written[cls]).score(images, PROMPTS[:2]).isfinite().all()


@EACH
def test_loading_and_writing_draw_nothing_from_the_runs_generator(tmp_path, cls):
    before = torch.get_rng_state()
    cls(CPU, **cls.write_tiny(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@EACH
def test_what_is_written_is_small(written, cls):
    folder = Path(next(iter(written[cls].values())))
    files = (folder if folder.is_dir() else folder.parent).iterdir()
    assert sum(file.stat().st_size for file in files) < 3e6


@EACH
def test_scores_are_the_same_after_a_rest(written, cls):
    reward, images = cls(CPU, **written[cls], offload=True), some_images(4, 28)
    wanted = cls(CPU, **written[cls]).score(images, PROMPTS)
    for _ in range(2):
        assert torch.equal(reward.score(images, PROMPTS), wanted)
        reward.rest()


@EACH
def test_another_device_than_the_runs_is_used(written, cls):
    reward = cls(torch.device("meta"), **written[cls], run_on="cpu")
    images = some_images(2, 28)
    wanted = cls(CPU, **written[cls]).score(images, PROMPTS[:2])
    assert torch.equal(reward.score(images, PROMPTS[:2]), wanted)


@pytest.mark.parametrize("cls", [ClipScore, PickScore])
def test_the_scale_is_exact_in_bfloat16_too(tmp_path, cls):
    options = cls.write_tiny(tmp_path)
    state, scores = load_file(tmp_path / "model.safetensors"), []
    for scale in (100.0, 50.0):
        state["logit_scale"] = torch.tensor(math.log(scale))
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        reward = cls(CPU, **options, dtype="bfloat16")
        scores.append(reward.score(some_images(4, 32), PROMPTS))
    # In bfloat16 the first would be 98.9.
    torch.testing.assert_close(scores[0], 2 * scores[1], rtol=1e-5, atol=1e-7)


def test_entities_in_a_prompt_are_read_by_hpsv2_as_what_they_stand_for(written):
    reward, image = HPSv2(CPU, **written[HPSv2]), some_images(1, 32)
    texts = ("cats &amp; dogs", "cats &amp;amp; dogs", "cats & dogs", "cats and dogs")
    found = [float(reward.score(image, [Prompt(text)])) for text in texts]
    assert found[0] == found[1] == found[2] != found[3]
