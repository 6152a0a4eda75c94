"""Gradients and processes: who computes them, and how they are put together."""
