"""The conformance kit: what every component promises, as tests for a package of one's own.

A test class of a package inherits the checks of its kind and says how to build what is checked;
pytest collects the inherited tests:

    from zoo.testing import RewardTests

    class TestMyReward(RewardTests):
        def make(self):
            return MyReward(scale=2.0)

Needs pytest: `pip install 'diffusion-rl-zoo[testing]'`.
"""

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "zoo.testing needs pytest; install it with: pip install 'diffusion-rl-zoo[testing]'"
    ) from error

# Only what is imported after this shows the values of an assert that fails.
_KINDS = ("objectives", "policies", "rewards", "samplers", "solvers", "trackers")
pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in _KINDS))

from zoo.testing.inputs import some_images, some_prompts  # noqa: E402
from zoo.testing.objectives import ObjectiveTests  # noqa: E402
from zoo.testing.policies import PolicyTests  # noqa: E402
from zoo.testing.rewards import RewardTests  # noqa: E402
from zoo.testing.samplers import SamplerTests  # noqa: E402
from zoo.testing.solvers import SolverTests  # noqa: E402
from zoo.testing.trackers import TrackerTests  # noqa: E402

__all__ = [
    "ObjectiveTests",
    "PolicyTests",
    "RewardTests",
    "SamplerTests",
    "SolverTests",
    "TrackerTests",
    "some_images",
    "some_prompts",
]
