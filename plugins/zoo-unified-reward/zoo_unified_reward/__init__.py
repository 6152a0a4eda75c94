"""A reward that asks a vision language model behind an OpenAI-compatible server."""

ZOO_API_VERSION = 1
