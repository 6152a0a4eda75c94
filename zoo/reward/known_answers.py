"""Known answers: whether a reward, where it was installed, still says what it must."""

from dataclasses import dataclass

import torch

from zoo.reward.base import PerImage, Reward, Scores
from zoo.reward.timed_call import Raised, RewardError, TimedCall, interrupt


@dataclass(frozen=True)
class KnownAnswerScore:
    """One known answer and what the reward really said."""

    wanted: PerImage
    scored: PerImage
    tolerance: float

    @property
    def right(self) -> bool:
        """Whether every score is within the tolerance; NaN never is."""
        return bool(((self.scored - self.wanted).abs() <= self.tolerance).all())

    @property
    def line(self) -> str:
        """The score that is furthest off, in words."""
        away = (self.scored - self.wanted).abs().nan_to_num(torch.inf)
        worst = int(away.argmax())
        return (
            f"scored {float(self.scored[worst]):.5g} where {float(self.wanted[worst]):.5g} is "
            f"known (tolerance {self.tolerance:g})"
        )


def score_known_answers(
    reward: Reward, label: str, device: torch.device, timeout: float
) -> list[KnownAnswerScore]:
    """Scores the images of each known answer; empty where the reward has none.

    Raises:
        RewardError: the reward raises, or takes over `timeout` seconds; in one line.
    """
    cannot = f"reward '{label}' cannot score its known answers:"
    call = TimedCall(lambda: _score(reward, device), device)
    outcome = call.within(timeout)
    if outcome is None:
        interrupt(reward, call)
        raise RewardError(f"{cannot} they took over {timeout:g} s")
    if isinstance(outcome, Raised):
        refused = RewardError(f"{cannot} {outcome.line}")
        refused.add_note(outcome.trace)  # which --debug shows
        raise refused
    return outcome


def _score(reward: Reward, device: torch.device) -> list[KnownAnswerScore]:
    answers = []
    for known in reward.known_answers():
        with torch.no_grad():
            said = reward.score(known.images.to(device), known.prompts)
        value = said.value if isinstance(said, Scores) else said
        answers.append(
            KnownAnswerScore(known.scores.double().cpu(), value.double().cpu(), known.tolerance)
        )
    return answers


def require_known_answers(reward: Reward, label: str, device: torch.device, timeout: float) -> None:
    """Stops a run whose reward is not what it was when its answers were written down.

    Raises:
        RewardError: a known answer is not given, or not within `timeout` seconds, or the reward
            raises; in one line.
    """
    answers = score_known_answers(reward, label, device, timeout)
    wrong = next((answer for answer in answers if not answer.right), None)
    if wrong:
        raise RewardError(
            f"reward '{label}' does not give its known answers: it {wrong.line}; its packages or "
            "weights are not those that it was written for (zoo probe shows all)"
        )
