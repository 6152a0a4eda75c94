"""The ODE solvers of torchdiffeq and SciPy, as solvers that a recipe names."""

ZOO_API_VERSION = 1
