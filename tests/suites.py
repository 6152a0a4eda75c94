"""Small suites of the digits recipes, for tests."""

from pathlib import Path

from tests.runs import ROOT

SHORT = """\
common:
  engine: {device: cpu, micro_batch: {sample: 16, train: 16}}
  data: {groups_per_epoch: 2, group_size: 4}
  sampler: {steps: 3}
  optim: {updates_per_epoch: 1}
  eval: {every: 1, images_per_prompt: 2, steps: 2}
  checkpoint: {every: 1}
"""


def suite(folder: Path, contenders: str, *, name: str = "small", **parts: str) -> Path:
    """The file of a suite; `contenders` is the YAML of that part, `parts` are others."""
    written = {
        "name": name,
        "recipe": str(ROOT / "recipes" / "nft_digits.yaml"),
        "seeds": "[0]",
        "budget": "{epochs: 2}",
        **parts,
    }
    lines = [f"{key}: {value}" for key, value in written.items() if value]
    path = folder / f"{name}.yaml"
    indented = "\n".join(f"  {line}" for line in contenders.strip().splitlines())
    path.write_text("\n".join(lines) + f"\n{SHORT}contenders:\n{indented}\n")
    return path


GRPO = f"{{extends: {ROOT}/recipes/flow_grpo_digits.yaml}}"
