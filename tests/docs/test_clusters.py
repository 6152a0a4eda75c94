"""The SLURM script of docs/clusters, on namespaces of this machine in place of nodes.

`srun` and `scontrol` are stand-ins: they start tasks as SLURM does, with its variables, signal
them all, and give back the highest exit code.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_two_nodes import nodes  # noqa: F401  (a fixture)
from tests.runs import RECIPES, ROOT, clean_environment, metrics, overrides, tensors

pytestmark = pytest.mark.slow
SCRIPT = ROOT / "docs/clusters/zoo.sbatch"
BIN = Path(sys.executable).parent

SRUN = '''#!{python}
"""Starts a task on each node; signals them all once a run has so many lines of metrics."""
import os, signal, subprocess, sys, time
from pathlib import Path

arguments = [a for a in sys.argv[1:] if a != "--kill-on-bad-exit=1"]
nodes, ends = os.environ["STAND_IN_NODES"].split(), os.environ["STAND_IN_ENDS"].split()
tasks = []
for i, (node, end) in enumerate(zip(nodes, ends)):
    own = {{"SLURM_PROCID": str(i), "SLURM_LOCALID": "0", "GLOO_SOCKET_IFNAME": end}}
    command = ["ip", "netns", "exec", node, *arguments]
    tasks.append(subprocess.Popen(command, env={{**os.environ, **own}}))
until = int(os.environ["STAND_IN_SIGNAL_AT"])
runs = Path(os.environ["ZOO_RUNS"])
while any(task.poll() is None for task in tasks):
    time.sleep(0.05)
    lines = sum(p.read_text().count("\\n") for p in runs.glob("*/*/*/metrics.jsonl"))
    if until and lines > until:
        for task in tasks:
            task.send_signal(signal.SIGUSR1)
        until = 0
    if any(task.poll() not in (None, 0, 138) for task in tasks):
        for task in tasks:
            task.kill()
sys.exit(max(task.wait() for task in tasks))
'''
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo "$STAND_IN_FIRST"; else echo "$@" >> "$STAND_IN_QUEUE"; fi
"""


@pytest.fixture
def cluster(tmp_path, nodes):  # noqa: F811
    """The environment of a job of two nodes with a process each."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return clean_environment(
        PATH=f"{folder}:{BIN}:{os.environ['PATH']}", ZOO_RUNS=str(tmp_path / "runs"),
        SLURM_JOB_ID="4711", SLURM_JOB_NODELIST="n[0-1]", SLURM_NTASKS="2",
        SLURM_NTASKS_PER_NODE="1", STAND_IN_NODES=" ".join(name for name, _, _ in nodes),
        STAND_IN_ENDS=" ".join(end for _, _, end in nodes), STAND_IN_FIRST=nodes[0][1],
        STAND_IN_QUEUE=str(tmp_path / "queue"), STAND_IN_SIGNAL_AT="0",
    )  # fmt: skip


def start(environment, *arguments):
    return subprocess.run(
        ["bash", SCRIPT, *map(str, arguments)], env=environment, cwd=ROOT, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_job_that_is_signalled_queues_itself_and_goes_on_as_if_it_never_was(cluster, tmp_path):
    arguments = [RECIPES["nft"], *_without_place(overrides("nft", tmp_path, epochs=3))]
    first = start({**cluster, "STAND_IN_SIGNAL_AT": "1"}, *arguments)
    assert first.returncode == 138, first.stdout + first.stderr
    assert (tmp_path / "queue").read_text() == "requeue 4711\n"
    second = start(cluster, *arguments)
    assert second.returncode == 0, second.stdout + second.stderr
    assert (tmp_path / "queue").read_text() == "requeue 4711\n"
    (run,) = (tmp_path / "runs/slurm-4711").glob("*/*")
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3]

    alone = start({**cluster, "SLURM_JOB_ID": "4712"}, *arguments)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    (other,) = (tmp_path / "runs/slurm-4712").glob("*/*")
    found, expected = tensors(run), tensors(other)
    assert found.keys() == expected.keys()
    assert all(bool((found[name] == expected[name]).all()) for name in expected)


def test_a_job_whose_recipe_is_wrong_ends_and_queues_nothing(cluster, tmp_path):
    ended = start(cluster, RECIPES["nft"], "-s", "optim.lr=fast")
    assert ended.returncode == 2
    assert "optim.lr" in ended.stderr
    assert not (tmp_path / "queue").exists()


def _without_place(options):
    """Its runs are where the script says."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [part for pair in pairs if "output_dir" not in str(pair[1]) for part in pair]
