"""zoo from Python, for notebooks and scripts: `zoo.train`, `zoo.open_run`, and the `Run` of both.

What is here stays: names, arguments and what they give. The command line does the same work.
"""

from zoo.api.columns import Columns
from zoo.api.images import Images
from zoo.api.run import Run, open_run
from zoo.api.training import train

__all__ = ["Columns", "Images", "Run", "open_run", "train"]
