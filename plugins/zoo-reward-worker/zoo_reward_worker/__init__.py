"""Rewards for zoo that need a Python environment of their own.

Needs NumPy and nothing else, so it installs beside whatever a reward's packages pin.
"""

from zoo_reward_worker.reward import KnownAnswer, Prompt, Reward, Scores

PROTOCOL = 1
"""The version of the messages between zoo and a worker."""

__all__ = ["PROTOCOL", "KnownAnswer", "Prompt", "Reward", "Scores"]
