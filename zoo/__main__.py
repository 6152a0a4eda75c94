"""`python -m zoo`: the command `zoo`."""

from zoo.cli.main import run

run()
