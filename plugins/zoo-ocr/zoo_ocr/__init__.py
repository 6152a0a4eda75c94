"""Text rendering as a reward: an OCR engine reads the image, an edit distance compares."""

ZOO_API_VERSION = 1
