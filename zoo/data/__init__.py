"""Prompts: where they come from, and which an epoch draws."""
