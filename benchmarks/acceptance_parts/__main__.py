"""One part in this process: `python -m benchmarks.acceptance_parts PART --out FOLDER`."""

import argparse
from pathlib import Path

from benchmarks.acceptance_parts.every import PARTS
from benchmarks.acceptance_parts.part import Report, Setting
from zoo import devices


def main() -> None:
    """Runs it, and writes its file under the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[part.name for part in PARTS])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    chosen = parser.parse_args()
    part = next(part for part in PARTS if part.name == chosen.part)
    setting = Setting(chosen.out, chosen.small, chosen.device)
    devices.let_memory_grow(setting.torch_device)
    report = Report(part.name, setting)
    part.run(setting, report)
    report.end()


if __name__ == "__main__":
    main()
