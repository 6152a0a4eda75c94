"""ImageReward as it was published, in an environment of its own."""

ZOO_API_VERSION = 1
