"""Tiny random pipelines of every diffusers family, made by rule: nothing is downloaded."""

from zoo.policy.tiny_pipelines.build import build_tiny, write_tiny_pipeline
from zoo.policy.tiny_pipelines.call import TinyCall

__all__ = ["TinyCall", "build_tiny", "write_tiny_pipeline"]
