"""Two nodes, as two network namespaces of this machine: their only way to each other is a cable."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.runs import RECIPES, ROOT, clean_environment, metrics, only_run, overrides, tensors, zoo

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent


def namespaces_can_be_made() -> bool:
    return (
        sys.platform == "linux"
        and os.geteuid() == 0
        and shutil.which("ip") is not None
        and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
    )


@pytest.fixture
def nodes():
    """Two namespaces, the addresses that they have for each other, and the names of their ends."""
    if not namespaces_can_be_made():
        pytest.skip("needs root and the command `ip` to make network namespaces")
    tag = uuid.uuid4().hex[:6]
    found = [(f"zoo{i}{tag}", f"10.99.0.{i + 1}", f"v{i}{tag}") for i in range(2)]
    try:
        for name, _, _ in found:
            ip("netns", "add", name)
        (a, _, end_a), (b, _, end_b) = found
        ip("link", "add", end_a, "netns", a, "type", "veth", "peer", "name", end_b, "netns", b)
        for name, address, end in found:
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield found
    finally:
        for name, _, _ in found:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def torchrun(rank: int, address: str, hostfile: Path) -> list[str]:
    return [
        str(BIN / "torchrun"), "--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1",
        "--master-addr", address, "--master-port", "29500", "-m",
    ]  # fmt: skip


def deepspeed(rank: int, address: str, hostfile: Path) -> list[str]:
    return [
        str(BIN / "deepspeed"), "--hostfile", str(hostfile), "--no_ssh", "--node_rank", str(rank),
        "--master_addr", address, "--master_port", "29501", "--no_local_rank", "--module",
    ]  # fmt: skip


@pytest.mark.parametrize("launcher", [torchrun, deepspeed], ids=lambda value: value.__name__)
def test_two_nodes_make_the_run_of_one_process(launcher, nodes, tmp_path):
    changes = {"epochs": 1, "optim__updates_per_epoch": 5, "data__groups_per_epoch": 7}
    alone = zoo("train", RECIPES["nft"], *overrides("nft", tmp_path / "alone", **changes))
    assert alone.returncode == 0, alone.stderr
    hostfile = tmp_path / "hosts"
    hostfile.write_text("".join(f"{address} slots=1\n" for _, address, _ in nodes))
    changes |= {"engine__processes": "auto", "engine__zero_stage": 2}
    arguments = ["zoo", "train", RECIPES["nft"], *overrides("nft", tmp_path / "two", **changes)]
    running = []
    for rank, (name, _, end) in enumerate(nodes):
        command = [*launcher(rank, nodes[0][1], hostfile), *map(str, arguments)]
        environment = clean_environment(GLOO_SOCKET_IFNAME=end, DS_ACCELERATOR="cpu")
        running.append(subprocess.Popen(
            ["ip", "netns", "exec", name, *command], env=environment, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ))  # fmt: skip
    said = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    assert "epoch 1/1" in said[0]
    assert "epoch 1/1" not in said[1]
    mine, theirs = only_run(tmp_path / "two"), only_run(tmp_path / "alone")
    expected, found = tensors(theirs), tensors(mine)
    apart = max(
        float((found[name] - expected[name]).abs().max())
        for name in expected
        if not name.startswith("optimizer/")
    )
    assert apart < 0.01 * 3e-3
    assert metrics(mine)[-1]["reward"] == pytest.approx(metrics(theirs)[-1]["reward"], rel=1e-5)
