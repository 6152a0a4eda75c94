"""The parts of benchmarks/acceptance.py, each run in a process of its own."""
