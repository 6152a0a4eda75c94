"""Files that are malformed at random: refused in a line or done without, never taken for others."""

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import save_file

from tests.attack.cases import (
    HangError,
    cases,
    draw_of,
    limited,
    mutated,
    mutated_bytes,
    require_none,
)
from tests.loras import LORA, by_peft, started, values
from tests.runs import RECIPES
from zoo.data.digits import WORDS
from zoo.errors import UserError
from zoo.policy.lora_files import LoraError
from zoo.run import checkpoint
from zoo.training.state import progress_of


def damaged(data, draw):
    """The file's bytes, changed; of JSON often a part of what it says."""
    try:
        lines = (
            [json.loads(line) for line in data.decode().splitlines()]
            if draw.random() < 0.5
            else None
        )
    except ValueError:
        lines = None
    if lines:
        place = draw.randrange(len(lines))
        lines[place] = mutated(lines[place], draw)
        return "".join(json.dumps(line) + "\n" for line in lines).encode(errors="surrogatepass")
    try:
        whole = json.loads(data) if draw.random() < 0.7 else None
    except ValueError:
        whole = None
    if whole is not None:
        return json.dumps(mutated(whole, draw)).encode()
    return mutated_bytes(data, draw)


def checkpoint_says(folder):
    """All that a checkpoint holds."""
    found, progress = checkpoint.load(folder), progress_of(folder)
    return found.state, progress, {name: found.tensors[name] for name in found.tensors}


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_or_the_same(trained, tmp_path):
    newest = checkpoint.latest(trained[0])
    state, progress, tensors = checkpoint_says(newest)
    faults = {}
    for number in cases(100):
        draw = draw_of("checkpoint", number)
        folder = tmp_path / f"{number}" / newest.name
        shutil.copytree(newest, folder)
        file = folder / draw.choice(["state.json", "tensors.safetensors"])
        file.write_bytes(damaged(file.read_bytes(), draw))
        try:
            with limited(20):
                found = checkpoint_says(folder)
            same = found[:2] == (state, progress) and found[2].keys() == tensors.keys()
            if not same or any(not torch.equal(found[2][key], tensors[key]) for key in tensors):
                faults[number] = f"{file.name}: another state is taken"
        except UserError as error:
            if len(error.lines) != 1 or not error.lines[0].isprintable():
                faults[number] = f"{file.name}: {error}"
        except BaseException as error:
            faults[number] = f"{file.name}: {error!r}"[:300]
        shutil.rmtree(folder.parent)
    require_none(faults)


RECORDS = ["recipe.json", "environment.json", "probes.json", "end.json", "metrics.jsonl",
           "contents.json", "prompt_lengths.json", "evaluations", "images"]  # fmt: skip


@pytest.mark.slow
def test_a_damaged_record_costs_its_part_of_a_report(trained, fault_of, tmp_path):
    faults, run = {}, trained[0]
    for number in cases(100):
        draw = draw_of("record", number)
        folder = tmp_path / "run"
        shutil.copytree(run, folder)
        file = folder / draw.choice(RECORDS)
        if file.is_dir():
            file = draw.choice(sorted(path for path in file.iterdir() if path.is_file()))
        file.write_bytes(damaged(file.read_bytes(), draw))
        # A report takes seconds.
        command = draw.choice([["report"], *[["best"]] * 5, *[["train", "--resume"]] * 5])
        if fault := fault_of(*command, folder, seconds=60):
            faults[number] = f"{command[0]} of {file.name}: {fault}"
        shutil.rmtree(folder)
    require_none(faults)


@pytest.mark.slow
def test_a_damaged_lora_is_refused_or_the_same(tmp_path):
    by_peft(tmp_path / "whole")
    weights = values(started(tmp_path / "whole"))
    faults = {}
    for number in cases(60):
        draw = draw_of("lora", number)
        shutil.copytree(tmp_path / "whole", tmp_path / "changed")
        file = draw.choice([path for path in (tmp_path / "changed").iterdir() if path.is_file()])
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            # The tensors' own bytes have no checksum; the header has.
            size = 8 + int.from_bytes(data[:8], "little")
            changed = mutated_bytes(data[:size], draw) + data[size:]
        else:
            changed = damaged(data, draw)
        file.write_bytes(changed)
        try:
            with limited(20):
                found = started(tmp_path / "changed", LORA)
            if values(found).keys() != weights.keys():
                faults[number] = f"{file.name}: other layers"
        except LoraError as error:
            if "\n" in str(error):
                faults[number] = f"{file.name}: {error}"
        except BaseException as error:
            faults[number] = f"{file.name}: {error!r}"[:300]
        shutil.rmtree(tmp_path / "changed")
    require_none(faults)


def prompt_files(folder):
    """One of every kind, the same prompts in each."""
    import pyarrow as pa
    import pyarrow.parquet

    rows = [{"prompt": f"the digit {word}", "digit": i, "tag": "one"}
            for i, word in enumerate(WORDS)]  # fmt: skip
    files = {
        "p.txt": "".join(f"{row['prompt']}\n" for row in rows).encode(),
        "p.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "p.json": json.dumps(rows).encode(),
        "p.csv": (
            "prompt,digit\n" + "".join(f'"{r["prompt"]}",{r["digit"]}\n' for r in rows)
        ).encode(),
        "p.tsv": (
            "prompt\tdigit\n" + "".join(f"{r['prompt']}\t{r['digit']}\n" for r in rows)
        ).encode(),
    }
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / "p.parquet")
    return {**files, "p.parquet": (folder / "p.parquet").read_bytes()}


@pytest.mark.slow
def test_a_damaged_file_of_prompts_is_read_or_refused(fault_of, tmp_path):
    files, faults = prompt_files(tmp_path), {}
    for number in cases(100):
        draw = draw_of("prompts", number)
        name = draw.choice(list(files))
        (tmp_path / name).write_bytes(damaged(files[name], draw))
        if fault := fault_of("prompts", tmp_path / name):
            faults[number] = f"{name}: {fault}"
    require_none(faults)


@pytest.mark.slow
def test_a_damaged_model_of_digits_is_refused_or_read(fault_of, tmp_path):
    from zoo.policy.digits import Digits

    network = Digits(torch.device("cpu"), lora=None).weights.network
    save_file(
        {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "w"
    )
    data, faults = (tmp_path / "w").read_bytes(), {}
    for number in cases(20):
        (tmp_path / "w.safetensors").write_bytes(mutated_bytes(data, draw_of("model", number)))
        chosen = ["-s", f"policy.checkpoint={tmp_path / 'w.safetensors'}", "--overwrite"]
        out = ["-o", tmp_path / "x.png", "-n", 1, "-p", "the digit two"]
        if fault := fault_of("sample", RECIPES["nft"], *out, *chosen):
            faults[number] = fault
    require_none(faults)


def forever():
    while True:
        pass


@pytest.mark.parametrize("hang", [forever, lambda: time.sleep(9)], ids=["computes", "waits"])
def test_a_hang_is_seen(hang):
    with pytest.raises(HangError), limited(0.2):
        hang()
