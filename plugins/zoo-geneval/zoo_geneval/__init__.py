"""The GenEval reward: what an image shows, by an instance segmenter and CLIP."""

ZOO_API_VERSION = 1
