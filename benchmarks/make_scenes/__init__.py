"""Makes the weights of the task `scenes`: `python -m benchmarks.make_scenes`."""
