"""A modular reinforcement-learning zoo for diffusion and flow-matching models."""

__version__ = "0.1.0"

API_VERSION = 1
"""The version of the interfaces that plugins are written against."""
