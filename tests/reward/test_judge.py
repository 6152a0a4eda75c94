"""The judge: retries, invalid images, contracts, groups and order."""

import threading
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from zoo.prompt import Prompt, PromptError
from zoo.reward.base import Reward, Scores
from zoo.reward.judge import Judge, RewardError, Verdict, WeightedReward, require_enough_valid

NAN, INF = float("nan"), float("inf")


class Scored(Reward):
    """A reward that is one function, and remembers its calls."""

    def __init__(self, function: Callable[[Tensor, Sequence[Prompt]], object], groupwise=False):
        self.function = function
        self.groupwise = groupwise
        self.calls: list[list[float]] = []

    def score(self, images, prompts):
        self.calls.append(values(images).tolist())
        return self.function(images, prompts)


def values(images: Tensor) -> Tensor:
    """The first pixel of each image, which names it."""
    return images[:, 0, 0, 0]


def images(*numbers: float) -> Tensor:
    return torch.tensor(numbers).reshape(-1, 1, 1, 1).repeat(1, 3, 2, 2)


def judge(*rewards: Scored, timeout: float = 10.0, retries: int = 1) -> Judge:
    labels = "abcdef"
    weighted = [WeightedReward(labels[i], reward, i + 1.0) for i, reward in enumerate(rewards)]
    return Judge(weighted, timeout=timeout, retries=retries)


def submit(to: Judge, numbers: Sequence[float], groups: Sequence[int] | None = None) -> None:
    groups = [0] * len(numbers) if groups is None else groups
    prompts = [Prompt(f"{number:g}") for number in numbers]
    to.submit(images(*numbers), prompts, torch.tensor(groups, dtype=torch.long))


def verdict(*rewards: Scored, numbers: Sequence[float] = (1.0, 2.0), **options) -> Verdict:
    to = judge(*rewards, **options)
    submit(to, numbers)
    return to.finish()


def plain() -> Scored:
    return Scored(lambda images, prompts: 10 * values(images))


def raises_times(times: int) -> Callable[[Tensor, Sequence[Prompt]], Tensor]:
    left = [times]

    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("no luck\nsecond line")
        return values(images)

    return score


def test_scores_are_float64_in_the_order_of_submission() -> None:
    to = judge(plain())
    for numbers in ([3.0, 1.0], [2.0], [], [7.0, 5.0, 6.0]):
        submit(to, numbers)
    found = to.finish().scores["a"]
    assert found.dtype == torch.float64
    assert found.tolist() == [30, 10, 20, 70, 50, 60]


def test_order_is_kept_when_batches_take_different_times() -> None:
    second = threading.Event()

    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        if float(values(images)[0]) == 1.0:
            assert second.wait(10)
        return values(images)

    slow, quick = Scored(score), Scored(lambda images, prompts: second.set() or values(images))
    to = judge(slow, quick)
    for number in (1.0, 2.0, 3.0):
        submit(to, [float(number)])
    found = to.finish()
    assert found.scores["a"].tolist() == found.scores["b"].tolist() == [1, 2, 3]


def test_submitting_does_not_wait_for_the_reward() -> None:
    release = threading.Event()
    held = Scored(lambda images, prompts: release.wait(10) and values(images))
    to = judge(held)
    submit(to, [1.0])
    submit(to, [2.0])
    release.set()
    assert to.finish().scores["a"].tolist() == [1, 2]


def test_several_rewards_score_the_same_images_with_their_prompts() -> None:
    def from_text(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return torch.tensor([float(prompt.text) for prompt in prompts])

    to = judge(plain(), Scored(from_text), Scored(from_text, groupwise=True))
    submit(to, [4.0, 2.0], [1, 0])
    submit(to, [3.0], [1])
    found = to.finish()
    assert list(found.scores) == ["a", "b", "c"]
    assert found.scores["a"].tolist() == [40, 20, 30]
    assert found.scores["b"].tolist() == found.scores["c"].tolist() == [4, 2, 3]
    assert to.weights == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert found.failures == ()


def test_finishing_starts_afresh() -> None:
    to = judge(plain(), Scored(lambda images, prompts: values(images), groupwise=True))
    for numbers in ([1.0, 2.0], [3.0]):
        submit(to, numbers)
        found = to.finish()
        assert found.scores["a"].tolist() == [10 * n for n in numbers]
        assert found.scores["b"].tolist() == numbers


@pytest.mark.parametrize("groupwise", [False, True])
def test_nothing_submitted_gives_nothing(groupwise) -> None:
    to = judge(Scored(lambda images, prompts: values(images), groupwise))
    submit(to, [])
    assert to.finish().scores["a"].shape == (0,)


def test_a_reward_that_raises_once_is_tried_again() -> None:
    reward = Scored(raises_times(1))
    found = verdict(reward)
    assert found.scores["a"].tolist() == [1, 2]
    assert found.failures == ()
    assert found.retried == {"a": 1}
    assert len(reward.calls) == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_a_reward_that_always_raises_gives_invalid_images_and_one_line(retries) -> None:
    broken = Scored(raises_times(99))
    found = verdict(broken, plain(), retries=retries)
    assert found.scores["a"].isnan().tolist() == [True, True]
    assert found.scores["b"].tolist() == [10, 20]
    assert len(broken.calls) == 1 + retries
    assert found.retried == {"a": retries, "b": 0}
    tries = " (3 tries)" if retries else ""
    assert found.failures == (
        f"reward 'a' raised RuntimeError: no luck{tries}; its images are invalid",
    )


def test_an_error_without_a_message_is_reported() -> None:
    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        raise KeyError

    assert verdict(Scored(score)).failures[0].startswith("reward 'a' raised KeyError")


def test_one_failed_batch_leaves_the_others_valid() -> None:
    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        if 2.0 in values(images).tolist():
            raise OSError("down")
        return values(images)

    to = judge(Scored(score))
    for numbers in ([1.0], [2.0, 3.0], [4.0]):
        submit(to, numbers)
    found = to.finish()
    assert found.scores["a"].nan_to_num(-1).tolist() == [1, -1, -1, 4]
    assert len(found.failures) == 1


def test_a_prompt_that_cannot_be_used_is_not_tried_again() -> None:
    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        raise PromptError("the prompt has no digit")

    found = verdict(Scored(score), retries=3)
    assert found.retried == {"a": 0}
    assert found.failures == (
        "reward 'a' raised PromptError: the prompt has no digit; its images are invalid",
    )


def test_a_prompt_that_cannot_be_used_costs_its_own_images_only():
    def only_even(images, prompts):
        odd = [prompt.text for prompt in prompts if int(prompt.text) % 2]
        if odd:
            raise PromptError(f"{odd[0]} is odd")
        return Scores(values(images), {"double": 2 * values(images)})

    scorer = Scored(only_even)
    found = verdict(scorer, numbers=(2.0, 2.0, 3.0, 4.0, 2.0))
    torch.testing.assert_close(
        found.scores["a"], torch.tensor([2, 2, NAN, 4, 2]).double(), equal_nan=True
    )
    torch.testing.assert_close(found.scores["a"] * 2, found.extras["a/double"], equal_nan=True)
    assert found.failures == ("reward 'a' raised PromptError: 3 is odd; its images are invalid",)
    assert [len(call) for call in scorer.calls] == [5, 2, 1, 1, 1]
    assert found.retried == {"a": 0}


def test_after_a_call_that_hangs_the_collection_is_invalid_and_the_next_one_is_scored() -> None:
    release = threading.Event()

    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        if float(values(images)[0]) == 2.0:
            release.wait(10)
        return values(images)

    to = judge(Scored(score), timeout=0.1, retries=1)
    for number in (1.0, 2.0, 3.0):
        submit(to, [float(number)])
    found = to.finish()
    assert found.scores["a"].nan_to_num(-1).tolist() == [1, -1, -1]
    assert found.failures == (
        "reward 'a' took over 0.1 s; its images are invalid",
        "reward 'a' hangs; its images are invalid",
    )
    submit(to, [4.0])
    assert to.finish().scores["a"].tolist() == [4]
    release.set()


def test_a_closed_judge_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    to = judge(plain(), plain())
    submit(to, [1.0])
    to.finish()
    lanes = set(threading.enumerate()) - before
    assert len(lanes) >= 2
    to.close()
    for thread in lanes:
        thread.join(10)
    assert not lanes & set(threading.enumerate())


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.zeros(3), r"returned shape \[3\] for 2 images.*shape \[2\]"),
        (torch.zeros(1), r"returned shape \[1\] for 2 images"),
        (torch.zeros(2, 1), r"returned shape \[2, 1\] for 2 images"),
        (torch.tensor(0.5), r"returned shape \[\] for 2 images"),
        ([0.1, 0.2], r"returned list; it must return a tensor of one number an image, shape \[2\]"),
        (None, "returned NoneType"),
        (0.5, "returned float"),
    ],
)
@pytest.mark.parametrize("groupwise", [False, True])
def test_a_broken_contract_stops_the_run_without_retries(result, message, groupwise) -> None:
    reward = Scored(lambda images, prompts: result, groupwise)
    with pytest.raises(RewardError, match=f"reward 'a' {message}"):
        verdict(reward, retries=3)
    assert len(reward.calls) == 1


def test_extras_of_the_wrong_length_stop_the_run() -> None:
    # Under pytest the annotations of Scores would refuse it, in the reward's own code.
    wrong = object.__new__(Scores)
    wrong.__dict__.update(value=torch.zeros(2), extras={"tag": torch.zeros(1)})
    with pytest.raises(RewardError, match=r"shape \[1\] for 2 images"):
        verdict(Scored(lambda images, prompts: wrong))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_is_invalid_and_is_no_failure(bad) -> None:
    reward = Scored(lambda images, prompts: torch.tensor([bad, 2.0]))
    found = verdict(reward)
    assert found.scores["a"].isnan().tolist() == [True, False]
    assert found.failures == ()
    assert len(reward.calls) == 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float16, torch.float64])
def test_any_numbers_will_do(dtype) -> None:
    found = verdict(Scored(lambda images, prompts: values(images).to(dtype)), numbers=(0.0, 1.0))
    assert found.scores["a"].tolist() == [0, 1]
    assert found.failures == ()


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(RewardError, match="'a' returned complex numbers; it must return real ones"):
        verdict(Scored(lambda images, prompts: values(images).to(torch.complex64)))


def test_rewards_run_without_gradients() -> None:
    weight = torch.ones(1, requires_grad=True)
    found = verdict(Scored(lambda images, prompts: values(images) * weight))
    assert not found.scores["a"].requires_grad


def test_a_reward_is_given_the_images_of_prompts_that_ask_for_it() -> None:
    single, other, whole = plain(), plain(), Scored(lambda i, p: 2 * values(i), groupwise=True)
    to = judge(single, other, whole)
    for numbers, labels in (((1.0, 2.0), "a"), ((3.0, 4.0), "abc"), ((5.0, 6.0), "c")):
        prompts = [Prompt("p", judged_by=frozenset(labels))] * 2
        to.submit(images(*numbers), prompts, torch.full((2,), int(numbers[0])))
    mixed = [Prompt("p", judged_by=frozenset("b")), Prompt("all")]
    to.submit(images(7.0, 8.0), mixed, torch.tensor([7, 8]))
    found = to.finish()
    expected = {
        "a": [10, 20, 30, 40, NAN, NAN, NAN, 80],
        "b": [NAN, NAN, 30, 40, NAN, NAN, 70, 80],
        "c": [NAN, NAN, 6, 8, 10, 12, NAN, 16],
    }
    for label, scores in expected.items():
        torch.testing.assert_close(
            found.scores[label], torch.tensor(scores).double(), equal_nan=True
        )
    assert single.calls == [[1.0, 2.0], [3.0, 4.0], [8.0]]
    assert other.calls == [[3.0, 4.0], [7.0, 8.0]]
    assert whole.calls == [[3.0, 4.0], [5.0, 6.0], [8.0]]
    assert found.failures == ()


def test_a_groupwise_reward_gets_whole_groups_from_interleaved_batches() -> None:
    reward = Scored(lambda images, prompts: values(images) - values(images).mean(), groupwise=True)
    to = judge(reward, plain())
    submit(to, [1.0, 10.0, 3.0], [5, 2, 5])
    submit(to, [20.0], [2])
    submit(to, [8.0, 30.0, 7.0], [5, 2, 9])
    found = to.finish()
    assert sorted(reward.calls) == [[1, 3, 8], [7], [10, 20, 30]]
    assert found.scores["a"].tolist() == [-3, -10, -1, 0, 4, 10, 0]
    assert found.scores["b"].tolist() == [10, 100, 30, 200, 80, 300, 70]


def test_a_failed_group_is_invalid_alone() -> None:
    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        if 10.0 in values(images).tolist():
            raise OSError("down")
        return values(images)

    to = judge(Scored(score, groupwise=True))
    submit(to, [1.0, 10.0, 3.0, 20.0], [5, 2, 5, 2])
    found = to.finish()
    assert found.scores["a"].nan_to_num(-1).tolist() == [1, -1, 3, -1]
    assert len(found.failures) == 1


def test_extras_are_labelled_and_missing_where_a_batch_has_none() -> None:
    def score(images: Tensor, prompts: Sequence[Prompt]) -> Tensor | Scores:
        number = float(values(images)[0])
        if number == 3.0:
            raise OSError("down")
        if number == 2.0:
            return values(images)
        return Scores(values(images), {"strict": values(images) / 2, "tag": INF * values(images)})

    to = judge(Scored(score), plain())
    for number in (1.0, 2.0, 3.0, 4.0):
        submit(to, [float(number)])
    found = to.finish()
    assert sorted(found.extras) == ["a/strict", "a/tag"]
    assert found.extras["a/strict"].nan_to_num(-1).tolist() == [0.5, -1, -1, 2]
    assert found.extras["a/tag"].isnan().all()
    assert found.scores["a"].nan_to_num(-1).tolist() == [1, 2, -1, 4]


def test_groupwise_extras_are_put_where_their_images_are() -> None:
    reward = Scored(
        lambda images, prompts: Scores(values(images), {"twice": 2 * values(images)}),
        groupwise=True,
    )
    to = judge(reward)
    submit(to, [1.0, 2.0, 3.0], [1, 0, 1])
    assert to.finish().extras["a/twice"].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("score", "allowed", "fails"),
    [
        ([1.0, 2.0, NAN, 4.0], 0.25, False),
        ([1.0, NAN, NAN, 4.0], 0.25, True),
        ([NAN, NAN], 1.0, True),
        ([1.0, 2.0], 0.0, False),
        ([1.0, NAN], 0.0, True),
    ],
)
def test_a_run_stops_when_too_many_images_are_invalid(score, allowed, fails) -> None:
    scores = {"good": torch.zeros(len(score)), "a": torch.tensor(score)}
    if not fails:
        return require_enough_valid(scores, (), max_invalid=allowed)
    with pytest.raises(RewardError, match=r"invalid for reward 'a'.*NaN or infinity"):
        require_enough_valid(scores, (), max_invalid=allowed)
    with pytest.raises(RewardError, match="reward 'a' raised OSError"):
        require_enough_valid(
            scores, ("reward 'b' hung", "reward 'a' raised OSError"), max_invalid=allowed
        )
    return None
