"""The SLURM script of docs/clusters, on namespaces of this machine in place of nodes.

`srun` and `scontrol` are stand-ins: they start tasks as SLURM does, with its variables, signal
them all, and give back the highest exit code. What all three scripts go on with, and what the
container and the cloud's machines install, is seen without nodes: there zoo is a stand-in too.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.cli.test_two_nodes import nodes  # noqa: F401  (a fixture)
from tests.runs import RECIPES, ROOT, clean_environment, metrics, overrides, tensors

CLUSTERS = ROOT / "docs/clusters"
SCRIPT = CLUSTERS / "zoo.sbatch"
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_job_whose_recipe_is_wrong_ends_and_queues_nothing(cluster, tmp_path):
    ended = start(cluster, RECIPES["nft"], "-s", "optim.lr=fast")
    assert ended.returncode == 2
    assert "optim.lr" in ended.stderr
    assert not (tmp_path / "queue").exists()


def _without_place(options):
    """Its runs are where the script says."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [part for pair in pairs if "output_dir" not in str(pair[1]) for part in pair]


def read_yaml(name):
    return YAML(typ="safe").load((CLUSTERS / name).read_text(encoding="utf-8"))


def script(name):
    """What a machine of the job runs."""
    if name == "zoo.sbatch":
        return SCRIPT.read_text(encoding="utf-8")
    if name == "sky.yaml":
        return read_yaml(name)["run"]
    (container,) = read_yaml(name)["spec"]["template"]["spec"]["containers"]
    return container["args"][0]


SAYS_ITS_ARGUMENTS = '#!/bin/sh\nprintf "%s\\n" "$@"\n'
STARTS_ONE = '#!/bin/sh\nshift\nSLURM_PROCID=0 SLURM_LOCALID=0 exec "$@"\n'
"""The task of a job that has one."""


@pytest.fixture(params=["zoo.sbatch", "job.yaml", "sky.yaml"])
def told(request, tmp_path):
    """Runs a script as the job `this`, and gives zoo's arguments; runs are in `tmp_path`/runs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("zoo", SAYS_ITS_ARGUMENTS), ("srun", STARTS_ONE), ("scontrol", "#!/bin/sh\necho here\n"),
    ):  # fmt: skip
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    runs = str(tmp_path / "runs")
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}", "ZOO_RUNS": runs, "JOB": "slurm-1",
        "SKYPILOT_TASK_ID": "slurm-1", "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "here",
        "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
    }  # fmt: skip
    shell = "bash" if request.param == "zoo.sbatch" else "sh"
    text = script(request.param).replace("/runs/", f"{runs}/")

    def run():
        return subprocess.run(
            [shell, "-c", text, "zoo", "nft_sd3_pickscore"], env=environment, text=True,
            capture_output=True, timeout=60, check=True,
        ).stdout.split()  # fmt: skip

    return run


def save(tmp_path, *names):
    for name in names:
        checkpoint = tmp_path / "runs" / name
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").touch()


def test_a_job_starts_a_run_in_its_own_folder_whatever_others_have(told, tmp_path):
    save(tmp_path, "slurm-2/r/2026/checkpoints/000003", "slurm-11/r/2026/checkpoints/000003")
    save(tmp_path, "r/2026/checkpoints/000003")
    arguments = told()
    assert arguments[:2] == ["train", "nft_sd3_pickscore"]
    assert f"output_dir={tmp_path}/runs/slurm-1" in arguments
    assert "engine.processes=auto" in arguments


def test_a_job_goes_on_with_its_own_last_run_that_has_a_checkpoint(told, tmp_path):
    save(tmp_path, *(f"slurm-1/r/2026-01-0{i}/checkpoints/00000{5 - i}" for i in (1, 2)))
    save(tmp_path, "slurm-2/r/2026-01-03/checkpoints/000009")
    (tmp_path / "runs/slurm-1/r/2026-01-04").mkdir()
    assert told() == ["train", "--resume", f"{tmp_path}/runs/slurm-1/r/2026-01-02"]


def test_a_half_written_checkpoint_is_none_to_go_on_from(told, tmp_path):
    save(tmp_path, "slurm-1/r/2026-01-02/checkpoints/.new-000003-77")
    assert "--resume" not in told()
    save(tmp_path, "slurm-1/r/2026-01-01/checkpoints/000003")
    assert told() == ["train", "--resume", f"{tmp_path}/runs/slurm-1/r/2026-01-01"]


def test_a_pod_knows_its_job():
    (container,) = read_yaml("job.yaml")["spec"]["template"]["spec"]["containers"]
    (job,) = container["env"]
    assert job["name"] == "JOB"
    assert job["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['job-name']"


def installed(name):
    """The folders that a machine of the job installs, and what it looks for on an index."""
    text = (CLUSTERS / name).read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"pip install (.*)", text)
    words = line.replace("-c constraints.txt", "").split()
    words = [word for word in words if not word.startswith("-")]
    folders = [word for word in words if word == "." or "/" in word]
    return folders, [word for word in words if word not in folders]


@pytest.mark.parametrize("name", ["Dockerfile", "sky.yaml"])
def test_what_is_on_no_index_is_installed_from_its_sources(name):
    folders, sought = installed(name)
    assert "." in folders
    assert sought == []
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for folder in folders
    ]
    ours = {project["name"] for project in projects}
    needed = {
        re.split(r"[^a-z0-9-]", one)[0] for project in projects for one in project["dependencies"]
    }
    assert {one for one in needed if one.startswith("zoo-")} <= ours
    assert name == "Dockerfile" or read_yaml(name)["workdir"] == "."
