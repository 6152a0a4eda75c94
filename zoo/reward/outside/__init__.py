"""Rewards that run elsewhere: in another Python, or behind HTTP."""
