"""`python -m tests.invariants.make_gold` writes the gold curve anew; say in the commit why."""

import json
import tempfile
from pathlib import Path

from tests.invariants.gold import FILE, curve

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(curve(Path(folder)), indent=2) + "\n")
