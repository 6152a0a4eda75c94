"""What is rehearsed needs a process that has the pretend accelerator: see `test_rehearsals`."""

import os

HERE = "ZOO_REHEARSAL"
"""The variable that says so of a process."""

collect_ignore = [] if HERE in os.environ else ["on_it"]
