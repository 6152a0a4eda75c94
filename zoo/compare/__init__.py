"""Contenders side by side: a suite, its runs, what came of them, and the page about it."""
