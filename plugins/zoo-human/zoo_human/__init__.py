"""People's votes as a reward: they compare a run's images in their browsers."""

ZOO_API_VERSION = 1
