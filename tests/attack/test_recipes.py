"""Recipes and suites of which parts are changed at random: checked, or refused in lines, soon."""

import pytest
import yaml

from tests.attack.cases import cases, draw_of, limited, mutated, mutated_bytes, require_none
from tests.runs import ROOT
from zoo.cli.compare import _examine
from zoo.compare.planned_runs import plan_runs
from zoo.compare.suite import load_suite
from zoo.errors import UserError
from zoo.recipe.recipe import load_recipe

BASES = [
    "nft_digits", "flow_grpo_digits", "dpo_digits", "dpo_digits_offline", "nft_digits_stages",
    "nft_digits_multi", "nft_digits_dopri5", "nft_digits_zero",
]  # fmt: skip
SLOWER = ["nft_sd3_24gb", "nft_flux_pickscore", "nft_sd3_multi"]
"""Those that `--tiny` alone can check here."""


@pytest.mark.slow
def test_a_mutated_recipe_is_checked_or_refused(fault_of, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    # It measures this machine, which takes a second and is the same for all.
    monkeypatch.setattr("zoo.cli.check_cost.reachable", lambda *given: 1e9)
    # What is imported late is so before the time is taken.
    assert fault_of("check", ROOT / "recipes" / "nft_digits_zero.yaml", seconds=200) == ""
    faults, whole = {}, {}
    for number in cases(2000):
        draw = draw_of("recipe", number)
        name = draw.choice(SLOWER if number % 20 == 0 else BASES)
        path, tiny = ROOT / "recipes" / f"{name}.yaml", ["--tiny"] if name in SLOWER else []
        changed = tmp_path / "r.yaml"
        if number % 3:
            if name not in whole:
                whole[name] = load_recipe(path).resolved()
            text = yaml.safe_dump(mutated(whole[name], draw), sort_keys=False).encode()
        else:
            text = path.read_text().replace("extends: ", f"extends: {path.parent}/").encode()
            text = mutated_bytes(text, draw)
        changed.write_bytes(text)
        if fault := fault_of("check", changed, *tiny):
            faults[number] = f"{name}: {fault}"
    require_none(faults)


@pytest.mark.slow
def test_a_mutated_suite_is_planned_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    faults = {}
    for number in cases(100):
        draw = draw_of("suite", number)
        path = ROOT / "benchmarks" / draw.choice(["digits.yaml", "solvers.yaml", "ablations.yaml"])
        text = path.read_text().replace("../recipes", str(ROOT / "recipes"))
        if number % 2:
            text = yaml.safe_dump(mutated(yaml.safe_load(text), draw), sort_keys=False)
        (tmp_path / "s.yaml").write_bytes(
            text.encode() if number % 2 else mutated_bytes(text.encode(), draw)
        )
        try:
            with limited(60):
                plan_runs(load_suite(tmp_path / "s.yaml"), tmp_path / "out", _examine, tiny=True)
        except UserError as error:
            if not all(line.isprintable() for line in error.lines):
                faults[number] = repr(error.lines)
        except BaseException as error:
            faults[number] = repr(error)[:300]
    require_none(faults)
