"""A live page of runs, made of the parts of a run's report."""
