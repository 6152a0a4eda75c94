"""The whole reward, on tiny random models."""

import pytest
import torch
from zoo_geneval.crops import crop
from zoo_geneval.metadata import COLORS, read_wanted
from zoo_geneval.reward import GenEval

from zoo.prompt import Prompt, PromptError
from zoo.reward.geneval.scoring import Found, accuracy, strict_accuracy, training_score
from zoo.reward.geneval.wanted import TAGS
from zoo.testing import RewardTests, some_images

CPU = torch.device("cpu")
DOG, BUS, CAT = ({"class": name, "count": 1} for name in ("dog", "bus", "cat"))
PROMPTS = [
    Prompt("a photo of a dog", {"tag": "single_object", "include": [DOG]}),
    Prompt("a photo of a bus and a cat", {"tag": "two_object", "include": [BUS, CAT]}),
    Prompt(
        "a photo of three dogs",
        {
            "tag": "counting",
            "include": [{"class": "dog", "count": 3}],
            "exclude": [{"class": "dog", "count": 4}],
        },
    ),
    Prompt("a photo of a red dog", {"tag": "colors", "include": [{**DOG, "color": "red"}]}),
    Prompt(
        "a photo of a cat left of a bus",
        {"tag": "position", "include": [BUS, {**CAT, "position": ["left of", 0]}]},
    ),
    Prompt(
        "a photo of a pink bus and a white cat",
        {"tag": "color_attr", "include": [{**BUS, "color": "pink"}, {**CAT, "color": "white"}]},
    ),
]
EVERY_COLOR = [
    Prompt(name, {"tag": "colors", "include": [{"class": name, "count": 1, "color": color}]})
    for name in ("bed", "dog", "bus", "cat", "train")
    for color in COLORS
]


def some_prompts(num):
    return [PROMPTS[i % len(PROMPTS)] for i in range(num)]


class TestGenEvalContract(RewardTests):
    @pytest.fixture(autouse=True)
    def models(self, tiny):
        self.options = tiny

    def make(self):
        return GenEval(CPU, **self.options)

    def images(self, num):
        return some_images(num, 48)

    def prompts(self, num):
        return some_prompts(num)


def scores(tiny, images, prompts, **changes):
    return GenEval(CPU, **tiny | changes).score(images, prompts)


@pytest.mark.slow
def test_the_score_is_that_of_the_objects_that_the_detector_finds(tiny):
    prompts = [*some_prompts(24), *EVERY_COLOR]
    images = some_images(len(prompts), 48)
    reward = GenEval(CPU, **tiny)
    found = reward.score(images, prompts)
    asked = [read_wanted(prompt) for prompt in prompts]
    counted = {tag: 0 for tag in TAGS}
    for i, each in enumerate(asked):
        (detected,) = reward._detector.find(
            images[i : i + 1], [each.names], [reward._limits[each.tag]]
        )
        objects = {
            name: [
                Found(one.box, *reward._namer.name([crop(images[i], one, 32)], [name]))
                for one in of_class
            ]
            for name, of_class in detected.items()
        }
        counted[each.tag] += sum(map(len, objects.values()))
        right = accuracy(each, objects, position_threshold=0.1)
        strict = strict_accuracy(each, objects, position_threshold=0.1)
        trained = training_score(
            each, objects, position_threshold=0.1, clamp=False, partial_position=True
        )
        assert found.value[i] == pytest.approx(trained, abs=1e-6)
        assert found.extras["accuracy"][i] == right
        assert found.extras["strict_accuracy"][i] == strict
    assert min(counted.values()) > 0
    assert 0 < found.extras["accuracy/colors"].nanmean() < 1
    assert len(found.value.unique()) > 3


def test_accuracies_are_recorded_for_the_prompts_own_tag(tiny):
    extras = scores(tiny, some_images(12, 48), some_prompts(12)).extras
    for kind in ("accuracy", "strict_accuracy"):
        for i, tag in enumerate(TAGS):
            own = torch.arange(12).remainder(6) == i
            by_tag = extras[f"{kind}/{tag}"]
            assert torch.equal(by_tag.isnan(), ~own)
            assert torch.equal(by_tag[own], extras[kind][own])
    assert len(extras) == 2 + 2 * len(TAGS)


@pytest.mark.slow
def test_the_score_that_is_asked_for_is_the_value(tiny):
    images, prompts = some_images(12, 48), some_prompts(12)
    trained = scores(tiny, images, prompts)
    assert not torch.equal(trained.value, trained.extras["accuracy"])
    for score, name in (("accuracy", "accuracy"), ("strict", "strict_accuracy")):
        found = scores(tiny, images, prompts, score=score)
        assert torch.equal(found.value, trained.extras[name])
        assert torch.equal(found.extras[name], trained.extras[name])
    assert trained.value.dtype == found.value.dtype == torch.float32


@pytest.mark.slow
def test_counting_has_a_threshold_of_its_own(tiny):
    images = some_images(2, 48)
    many = [PROMPTS[2]] * 2
    one = [Prompt("dogs", {**many[0].metadata, "tag": "single_object"})] * 2
    strict = {"counting_threshold": 1.0}
    assert scores(tiny, images, many, **strict).value.tolist() == [0.0, 0.0]
    assert torch.equal(scores(tiny, images, one, **strict).value, scores(tiny, images, many).value)
    assert (scores(tiny, images, many).value != 0).all()


@pytest.mark.slow
def test_options_reach_the_score(tiny):
    images = some_images(4, 48)
    dogs = [Prompt("a dog", {"tag": "single_object", "include": [DOG]})] * 4
    free = scores(tiny, images, dogs).value
    assert (free < 0).any()
    assert torch.equal(scores(tiny, images, dogs, clamp=True).value, free.clamp(min=0))
    assert scores(tiny, images, dogs, max_objects=1).value.tolist() == [1.0] * 4
    assert scores(tiny, images, dogs, max_overlap=0.01).value.tolist() == [1.0] * 4
    assert scores(tiny, images, dogs, threshold=1.0).value.tolist() == [0.0] * 4


def test_each_of_several_objects_has_one_of_the_ten_colors(tiny):
    images = some_images(1, 48).expand(len(COLORS), 3, 48, 48)
    two_dogs = [
        Prompt(color, {"tag": "colors", "include": [{**DOG, "count": 2, "color": color}]})
        for color in COLORS
    ]
    found = scores(tiny, images, two_dogs, max_objects=2).value
    # Each earns 1 for its count, and over all colours two dogs earn a half each.
    assert found.sum().item() == pytest.approx((len(COLORS) + 2 / 2) / 2)


def test_a_wrong_position_earns_as_much_as_is_asked(tiny):
    options = {"max_objects": 1}
    placed = [
        Prompt(
            "a dog left of a dog",
            {
                "tag": "position",
                "include": [
                    DOG,
                    {**DOG, "position": ["left of", 0]},
                ],
            },
        )
    ]
    images = some_images(1, 48)
    assert scores(tiny, images, placed, **options).value.tolist() == [0.75]
    none = scores(tiny, images, placed, **options, partial_position=False)
    assert none.value.tolist() == pytest.approx([2 / 3])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_is_not_scored(tiny, bad):
    images = some_images(3, 48)
    whole = scores(tiny, images, PROMPTS[:3])
    images[1, 0, 5, 5] = bad
    found = scores(tiny, images, PROMPTS[:3])
    assert found.value.isnan().tolist() == [False, True, False]
    assert all(bool(extra[1].isnan()) for extra in found.extras.values())
    assert torch.equal(found.value[[0, 2]], whole.value[[0, 2]])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_scores_too(tiny, dtype):
    found = scores(tiny, some_images(6, 48), some_prompts(6), dtype=dtype)
    assert found.value.isfinite().all()
    assert found.value.dtype == torch.float32


def test_batches_of_the_networks_change_nothing(tiny):
    images, prompts = some_images(8, 48), EVERY_COLOR[:8]
    small = scores(tiny, images, prompts, detector_batch=3, clip_batch=2)
    large = scores(tiny, images, prompts)
    assert torch.equal(small.value, large.value)


def test_images_of_any_shape_are_scored(tiny):
    for shape in ((64, 48), (20, 100), (8, 8)):
        images = some_images(2, 100)[:, :, : shape[0], : shape[1]]
        assert scores(tiny, images, PROMPTS[3:5]).value.isfinite().all()


def test_a_prompt_of_another_task_is_refused_in_a_line(tiny):
    prompts = [PROMPTS[0], Prompt("the digit seven", {"digit": 7})]
    with pytest.raises(PromptError, match="'the digit seven' has no 'tag' and 'include'"):
        scores(tiny, some_images(2, 48), prompts)


def test_it_is_registered_and_a_recipe_can_build_it(tiny):
    from zoo.registry import load

    assert load("rewards", "geneval") is GenEval


def test_tiny_models_are_the_same_each_time(tiny, tmp_path):
    again = GenEval.write_tiny(tmp_path)
    images = some_images(10, 48)
    found, other = (scores(options, images, EVERY_COLOR[:10]) for options in (tiny, again))
    assert torch.equal(found.value, other.value)
