"""The published checks find what is wrong: each defect fails the check that is about it."""

import pathlib
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.runs import clean_environment
from zoo.objective.nft import NFT
from zoo.policy.digits import Digits
from zoo.reward.base import KnownAnswer, Reward, Scores
from zoo.rollout import Path, take
from zoo.sampler.base import Solver, Step, StepSolver
from zoo.sampler.flow_sampler import FlowSampler
from zoo.testing import (
    ObjectiveTests,
    PolicyTests,
    RewardTests,
    SamplerTests,
    SolverTests,
    TrackerTests,
    some_images,
    some_prompts,
)
from zoo.tracker.base import ExperimentTracker

FOREIGN_TEST = """
from zoo.reward.base import Reward
from zoo.testing import RewardTests

class Bad(Reward):
    def score(self, images, prompts):
        return images.flatten(1).mean(1)[1:]

class TestBad(RewardTests):
    def make(self):
        return Bad()
"""
EVEN = torch.linspace(1, 0, 6, dtype=torch.float64)


class Light(Reward):
    def score(self, images, prompts):
        return images.flatten(1).mean(1)


class LacksOne(Light):
    def score(self, images, prompts):
        return super().score(images, prompts)[1:]


class Infinite(Light):
    def score(self, images, prompts):
        return super().score(images, prompts).log()


class Overwrites(Light):
    def score(self, images, prompts):
        return images.mul_(0.5).flatten(1).mean(1)


class WithGradient(Light):
    def score(self, images, prompts):
        return super().score(images, prompts) * torch.ones((), requires_grad=True)


class MostlyUnscored(Light):
    def score(self, images, prompts):
        return super().score(images, prompts).where(torch.arange(len(images)) < 1, torch.nan)


class Remembers(Light):
    calls = 0

    def score(self, images, prompts):
        self.calls += 1
        return super().score(images, prompts) + self.calls


class ByPlace(Light):
    def score(self, images, prompts):
        return super().score(images, prompts) + torch.arange(len(images))


class Relative(Light):
    def score(self, images, prompts):
        score = super().score(images, prompts)
        return score - score.mean()


class NeedsTwo(Light):
    groupwise = True

    def score(self, images, prompts):
        assert len(images) > 1
        return super().score(images, prompts)


class NeedsMetadata(Light):
    def score(self, images, prompts):
        return super().score(images, prompts) + len([p.metadata["digit"] for p in prompts])


class InfiniteExtra(Light):
    def score(self, images, prompts):
        score = super().score(images, prompts)
        return Scores(score, {"share": score / 0})


class WrongAnswer(Light):
    def known_answers(self):
        return [KnownAnswer(torch.ones(1, 3, 4, 4), some_prompts(1), torch.zeros(1), 0.5)]


class ReadsPixelsAfterAll(Light):
    reads_pixels = False


class TakesNoVideosAfterAll(Light):
    takes = "both"

    def score(self, images, prompts):
        return images.flatten(0, -4).mean((1, 2, 3))


class ByThread(Light):
    def score(self, images, prompts):
        return super().score(images, prompts) + float(torch.is_grad_enabled())


def require_failure(kit, component, check, arguments):
    class Checked(kit):
        def make(self):
            return component()

    with pytest.raises(AssertionError):
        getattr(Checked(), check)(*arguments)


@pytest.mark.parametrize(
    ("reward", "check", "arguments"),
    [
        (LacksOne, "test_a_score_is_a_finite_number_or_nan_for_each_image", ()),
        (InfiniteExtra, "test_a_score_is_a_finite_number_or_nan_for_each_image", ()),
        (Overwrites, "test_a_score_is_a_finite_number_or_nan_for_each_image", ()),
        (WithGradient, "test_a_score_is_a_finite_number_or_nan_for_each_image", ()),
        (MostlyUnscored, "test_most_of_the_images_are_scored", ()),
        (Infinite, "test_flat_images_are_scored_too", (0.0,)),
        (Remembers, "test_the_same_images_score_the_same_from_any_instance", ()),
        (ByPlace, "test_scores_follow_their_images", ()),
        (Relative, "test_a_score_does_not_depend_on_the_batch_unless_it_is_groupwise", ()),
        (NeedsTwo, "test_a_group_of_any_size_is_scored", ()),
        (ReadsPixelsAfterAll, "test_one_that_reads_no_pixels_scores_without_them", ()),
        (TakesNoVideosAfterAll, "test_one_that_takes_both_scores_videos_too", ()),
        (ByThread, "test_scores_are_the_same_from_another_thread", ()),
        (WrongAnswer, "test_known_answers_are_what_the_reward_gives", ()),
    ],
)
def test_a_reward_with_a_defect_fails(reward, check, arguments):
    require_failure(RewardTests, reward, check, arguments)


def test_a_reward_that_trips_over_missing_metadata_fails():
    class Checked(RewardTests):
        def make(self):
            return NeedsMetadata()

    with pytest.raises(KeyError):
        Checked().test_prompts_without_metadata_are_scored_or_refused_in_a_line()


class Overshoots(StepSolver):
    def step(self, field, x, t, s, state, draws):
        return Step(x + 1.1 * (s - t) * field(x, t))


class CountsWrong(Overshoots):
    evals_per_step = 2


class InPlace(Overshoots):
    def step(self, field, x, t, s, state, draws):
        return Step(x.add_((s - t) * field(x, t)))


class Unkeyed(Overshoots):
    def step(self, field, x, t, s, state, draws):
        return Step(x + 0.1 * draws.normal(tuple(x.shape[1:])))


class Mixes(Overshoots):
    def step(self, field, x, t, s, state, draws):
        return Step(x + (s - t) * (field(x, t) + x.mean()))


class Keeps(Solver):
    def integrate(self, field, x, grid, draws):
        return Path(x, 0, x=x[:, None])

    def num_evals(self, num_steps):
        return 0


@pytest.mark.parametrize(
    ("solver", "check", "arguments"),
    [
        (InPlace, "test_clean_latents_are_finite_and_like_the_noise", (EVEN, torch.float64)),
        (CountsWrong, "test_the_field_is_asked_within_the_grid_as_often_as_promised", (EVEN,)),
        (Unkeyed, "test_the_same_draws_give_the_same_path_from_any_instance", ()),
        (Mixes, "test_a_row_does_not_depend_on_its_batch", ()),
        (Overshoots, "test_finer_steps_approach_one_solution", ()),
        (Keeps, "test_a_path_is_kept_by_stochastic_solvers_alone", (EVEN,)),
    ],
)
def test_a_solver_with_a_defect_fails(solver, check, arguments):
    require_failure(SolverTests, solver, check, arguments)


class DropsInvalid(NFT):
    def rows(self, rollout, advantage, draws):
        rows = super().rows(rollout, advantage, draws)
        return take(rows, rows.weight.nonzero().flatten())


class TrainsInvalid(NFT):
    def rows(self, rollout, advantage, draws):
        return super().rows(rollout, advantage.nan_to_num(0.0), draws)


class OneLoss(NFT):
    def loss(self, policy, rows, draws):
        loss = super().loss(policy, rows, draws)
        return replace(loss, per_row=loss.per_row.mean().expand(len(rows.key)))


class Forgets(NFT):
    def state(self):
        return {"made": id(self)}


class Restarts(NFT):
    def rows(self, rollout, advantage, draws):
        rows = super().rows(rollout, advantage, draws)
        return replace(rows, key=torch.arange(len(rows.key)))


@pytest.mark.parametrize(
    ("objective", "check"),
    [
        (DropsInvalid, "test_the_number_of_rows_depends_on_shapes_alone"),
        (TrainsInvalid, "test_rows_of_invalid_images_weigh_nothing"),
        (OneLoss, "test_a_rows_loss_does_not_depend_on_its_batch"),
        (Forgets, "test_the_state_goes_through_json_and_back"),
        (Restarts, "test_keys_are_unique_and_named_over_all_processes"),
    ],
)
def test_an_objective_with_a_defect_fails(objective, check):
    class Checked(ObjectiveTests):
        def make(self):
            return objective()

    with pytest.raises(AssertionError):
        getattr(Checked(), check)()


class Uncounted(Digits):
    def velocity(self, x, t, cond):
        return torch.zeros_like(x)


class BothBranches(Digits):
    def velocity(self, x, t, cond):
        velocity = super().velocity(x, t, replace(cond, guidance=1.0))
        return velocity + (cond.guidance - 1.0) * velocity.detach()


class Bright(Digits):
    def decode(self, latents):
        return ((latents + 1.0) / 2.0).repeat(1, 3, 1, 1)


class Rises(Digits):
    def grid(self, num_steps):
        return super().grid(num_steps).flip(0)


@pytest.mark.parametrize(
    ("policy", "check", "arguments"),
    [
        (Uncounted, "test_rows_through_the_network_are_counted", ()),
        (Uncounted, "test_every_set_of_weights_is_used_by_the_forward", ()),
        (BothBranches, "test_gradients_flow_through_the_conditional_branch_only", ()),
        (Bright, "test_decoded_images_are_float32_and_in_range", (100.0,)),
        (Rises, "test_a_grid_falls_from_at_most_one_to_zero", (10,)),
    ],
)
def test_a_policy_with_a_defect_fails(policy, check, arguments):
    class Checked(PolicyTests):
        def make(self):
            return policy(torch.device("cpu"))

    with pytest.raises(AssertionError):
        getattr(Checked(), check)(*arguments)


class WritesHere(ExperimentTracker):
    def record(self, metrics):
        pathlib.Path("numbers.txt").write_text(str(metrics))


class TakesPicturesAway(WritesHere):
    def record(self, metrics):
        pass

    def picture(self, name, path, epoch):
        path.unlink(missing_ok=True)


class TakesTheEpoch(ExperimentTracker):
    def record(self, metrics):
        del metrics["epoch"]


@pytest.mark.parametrize(
    ("tracker", "check", "arguments"),
    [
        (WritesHere, "test_it_takes_a_run_and_goes_on_with_it", ("tmp_path", "monkeypatch")),
        (TakesPicturesAway, "test_it_takes_a_run_and_goes_on_with_it", ("tmp_path", "monkeypatch")),
        (TakesTheEpoch, "test_what_it_is_given_stays_as_it_is", ("tmp_path",)),
    ],
)
def test_a_tracker_with_a_defect_fails(tracker, check, arguments, request):
    require_failure(TrackerTests, tracker, check, map(request.getfixturevalue, arguments))


class SameNoise(FlowSampler):
    def sample(self, policy, prompts, cond, draws, *, keep_path):
        draws = replace(draws, keys=torch.arange(len(prompts)))
        return super().sample(policy, prompts, cond, draws, keep_path=keep_path)


class CountsOne(FlowSampler):
    def sample(self, policy, prompts, cond, draws, *, keep_path):
        path = super().sample(policy, prompts, cond, draws, keep_path=keep_path)
        return replace(path, num_evals=1)


class KeepsAlways(FlowSampler):
    def sample(self, policy, prompts, cond, draws, *, keep_path):
        return super().sample(policy, prompts, cond, draws, keep_path=True)


@pytest.mark.parametrize(
    ("sampler", "check"),
    [
        (SameNoise, "test_a_row_does_not_depend_on_its_batch"),
        (CountsOne, "test_the_forwards_told_are_those_of_the_network"),
        (KeepsAlways, "test_the_path_is_kept_if_it_is_asked_for"),
    ],
)
def test_a_sampler_with_a_defect_fails(sampler, check):
    class Checked(SamplerTests):
        def make(self, solver, guidance):
            return sampler(solver=solver, steps=3, guidance=guidance)

    with pytest.raises(AssertionError):
        getattr(Checked(), check)()


def test_images_and_prompts_are_the_same_for_everyone():
    images = some_images(6)
    assert images.shape == (6, 3, 8, 8)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert torch.equal(some_images(4), images[:4])
    assert some_images(2, size=32).shape == (2, 3, 32, 32)
    assert some_prompts(7)[5:] == some_prompts(2)


def test_without_pytest_the_import_says_what_to_install():
    code = "import sys; sys.modules['pytest'] = None; import zoo.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = "zoo.testing needs pytest; install it with: pip install 'diffusion-rl-zoo[testing]'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {said}"


@pytest.mark.slow
def test_a_check_that_fails_outside_shows_its_values(tmp_path):
    (tmp_path / "test_it.py").write_text(FOREIGN_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean_environment()
    )
    assert done.returncode == 1
    assert "assert torch.Size([6]) == (7,)" in done.stdout
