"""image-reward 1.5 in an environment of its own, and the native reward with the same weights.

Needs pip's registry (200 MB), 8 GB of memory and minutes. Nothing is skipped: where
`envs/zoo-image-reward` is not there, it is made.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.image_reward import ImageReward, write_random
from zoo.reward.networks.blip import FULL
from zoo.reward.outside.isolated import IsolatedReward
from zoo.testing.inputs import some_images
from zoo.testing.rewards import score_all

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugins/zoo-image-reward"
ENVIRONMENT = ROOT / "envs/zoo-image-reward"

# med_config.json of THUDM/ImageReward, which is BLIP's.
CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": FULL.text_width,
    "initializer_range": 0.02,
    "intermediate_size": FULL.text_hidden,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": FULL.num_positions,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": FULL.text_layers,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": FULL.num_words,
    "encoder_width": FULL.text_width,
    "add_cross_attention": True,
}
TEXTS = (
    "a photo of two red apples, on a wooden table",
    "A CAT wearing sunglasses; 1920's style!",
    "",
    "naïve café — 東京 ✓ İstanbul",
    "[ENC] a sign that says [DEC]",
    "a very long prompt, " * 30,
)


@pytest.fixture(scope="module")
def python() -> str:
    """The environment's interpreter, with the plugin and the worker as they are now."""
    if not ENVIRONMENT.exists():
        zoo(["env", "create", str(PLUGIN), "--out", str(ENVIRONMENT)])
    interpreter = str(ENVIRONMENT / "bin/python")
    worker = ROOT / "plugins/zoo-reward-worker"
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps"]
    subprocess.run([*pip, str(worker), str(PLUGIN)], check=True)
    return interpreter


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> dict[str, str]:
    """Random weights of the published size, with a vocabulary, as the native reward loads them."""
    return write_random(tmp_path_factory.mktemp("image_reward"), FULL)


def zoo(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "zoo", *arguments], check=True, cwd=ROOT)


def hub_with_vocabulary(home: Path, vocabulary: Path) -> None:
    """What the hub's cache holds once bert-base-uncased was downloaded."""
    repository, commit = home / "hub/models--bert-base-uncased", "0" * 40
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    (snapshot / "vocab.txt").write_bytes(vocabulary.read_bytes())
    (snapshot / "tokenizer_config.json").write_text('{"do_lower_case": true}')


def cases() -> list[tuple[Tensor, list[Prompt]]]:
    """Two photographs, and noise and patches of several sizes, each with its prompts."""
    photographs = torch.tensor(load_sample_images().images[0])[None].permute(0, 3, 1, 2) / 255
    other = torch.tensor(load_sample_images().images[1])[None].permute(0, 3, 1, 2) / 255
    batches = [photographs, photographs[..., :224, :224], other, other[..., :300, 100:612]]
    batches += [some_images(2, size) for size in (512, 224, 100, 8)]
    texts = [Prompt(text) for text in TEXTS]
    # The first one with every prompt.
    batches[0] = batches[0].expand(len(texts), -1, -1, -1)
    return [
        (b, [texts[(i + j) % len(texts)] for j in range(len(b))]) for i, b in enumerate(batches)
    ]


def test_the_plugins_own_tests_pass_in_its_environment(python, tmp_path):
    """pytest comes from a folder beside the environment, which stays as its lock says."""
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "--target", str(tmp_path), "pytest"], check=True)
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", str(PLUGIN / "tests")],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 7, done.stdout


def test_the_package_and_the_native_reward_agree_to_four_decimals(
    python, options, tmp_path, monkeypatch
):
    hub_with_vocabulary(tmp_path, Path(options["tokenizer"]) / "vocab.txt")
    (tmp_path / "med_config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package = IsolatedReward(
        CPU,
        python=python,
        name="image_reward_package",
        options={"model": options["weights"], "med_config": str(tmp_path / "med_config.json")},
        start_timeout=300.0,
    )
    native = ImageReward(CPU, **options)
    theirs = torch.cat([score_all(package, *case)[""].float() for case in cases()])
    ours = torch.cat([native.score(*case) for case in cases()])
    print(f"differences {(ours - theirs).abs().tolist()}, scores {theirs.tolist()}")  # noqa: T201
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-5)
    # Random weights that scored everything alike would agree as well.
    prompts, images = theirs[: len(TEXTS)].sort().values, theirs[len(TEXTS) :]
    assert float(prompts.diff().min()) > 1e-3
    assert float(images.max() - images.min()) > 0.1
