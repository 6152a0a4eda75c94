"""Worker processes: the same scores, and ends that are noticed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil
import pytest
import torch
from zoo_ocr import readers
from zoo_ocr.engine import EngineOptions
from zoo_ocr.known import picture
from zoo_ocr.readers import Readers, WorkerError
from zoo_ocr.reward import OCR
from zoo_ocr.worker import pack

from zoo.prompt import Prompt

SAYS = ["OPEN", "Bread", "", "Taxi 12", "Hello\nWorld"]
OPTIONS = EngineOptions(320, 0.5, 32, 0)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ocr():
    return OCR(workers=2)


def sign(*words):
    images = torch.stack([picture(word, size=(96, 128), letters=28) for word in words])
    return images, [Prompt('"open bread taxi"')] * len(words)


def pixels(*words):
    return list((sign(*words)[0] * 255).round().byte().permute(0, 2, 3, 1).numpy())


def gone(pids, timeout=20.0):
    """Whether all processes end within the time."""
    running = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(running, timeout)[1]


@pytest.mark.slow
def test_workers_agree_with_one_process_to_the_last_bit(ocr):
    images, prompts = sign(*SAYS * 3)
    here, there = OCR().score(images, prompts), ocr.score(images, prompts)
    assert torch.equal(here.value, there.value)
    for name, values in here.extras.items():
        torch.testing.assert_close(there.extras[name], values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_both_workers_take_part(ocr):
    before = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in ocr._readers.pids]
    ocr.score(*sign(*SAYS * 4))
    after = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in ocr._readers.pids]
    assert len(before) == 2
    assert all(late > early for early, late in zip(before, after, strict=True))


@pytest.mark.slow
def test_calls_at_the_same_time_do_not_mix_their_images(ocr):
    batches = [sign(word) for word in SAYS * 3]
    alone = [ocr.score(*batch).value.item() for batch in batches]
    with ThreadPoolExecutor(5) as threads:
        together = list(threads.map(lambda batch: ocr.score(*batch).value.item(), batches))
    assert together == alone


@pytest.mark.slow
def test_a_worker_that_dies_between_calls_is_replaced_in_silence(ocr):
    images, prompts = sign(*SAYS)
    before = ocr.score(images, prompts).value
    victim = ocr._readers.pids[0]
    os.kill(victim, signal.SIGKILL)
    assert gone([victim])
    assert torch.equal(ocr.score(images, prompts).value, before)
    assert victim not in ocr._readers.pids


@pytest.mark.slow
def test_a_worker_that_dies_at_work_is_one_clear_error_and_the_next_call_works(monkeypatch):
    one, images = Readers(OPTIONS, workers=1), pixels("OPEN")
    before, victim = one.read(images), one.pids[0]

    def killing(image):
        os.kill(victim, signal.SIGKILL)
        return pack(image)

    with monkeypatch.context() as patched:
        patched.setattr(readers, "pack", killing)
        with pytest.raises(WorkerError, match=r"ended while .* exit code -9; the next") as caught:
            one.read(images)
    assert "\n" not in str(caught.value)
    assert one.read(images) == before
    assert one.pids != [victim]
    one.close()


@pytest.mark.slow
def test_a_call_that_hangs_is_ended_by_interrupt(ocr, monkeypatch):
    images, prompts = sign(*SAYS)
    before, sending = ocr.score(images, prompts).value, Event()

    def announced(image):
        sending.set()
        return pack(image)

    for pid in ocr._readers.pids:
        os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as thread:
        patched.setattr(readers, "pack", announced)
        call = thread.submit(ocr.score, images[:1], prompts[:1])
        assert sending.wait(60)
        assert ocr.interrupt()
        with pytest.raises(WorkerError, match="ended while it read an image"):
            call.result(60)
    assert torch.equal(ocr.score(images, prompts).value, before)


def test_without_workers_there_is_nothing_to_interrupt():
    assert not OCR().interrupt()


@pytest.mark.slow
def test_an_image_that_cannot_be_read_is_an_error_that_leaves_the_worker_alive():
    one = Readers(OPTIONS, workers=1)
    before = one.pids
    with pytest.raises(WorkerError, match="failed while it read an image: ") as caught:
        one.read([pixels("OPEN")[0][:0]])
    assert "\n" not in str(caught.value)
    assert [line.text for line in one.read(pixels("OPEN"))[0]] == ["OPEN"]
    assert one.pids == before
    one.close()


@pytest.mark.slow
def test_workers_end_with_their_reward():
    reward = OCR(workers=2)
    pids = reward._readers.pids
    assert all(psutil.pid_exists(pid) for pid in pids)
    del reward
    assert gone(pids)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(how):
    program = (
        "from zoo_ocr.engine import EngineOptions\n"
        "from zoo_ocr.readers import Readers\n"
        "readers = Readers(EngineOptions(320, 0.5, 32, 0), workers=2)\n"
        "print(*readers.pids, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(how)
        assert parent.wait(60) == -how
    assert gone(pids)


def test_an_interrupt_does_not_end_a_worker(ocr):
    pids = ocr._readers.pids
    for pid in pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    ocr.score(*sign(*SAYS))
    assert ocr._readers.pids == pids


def test_workers_see_no_cuda_device_and_share_no_terminal(ocr):
    for pid in ocr._readers.pids:
        assert psutil.Process(pid).environ()["CUDA_VISIBLE_DEVICES"] == ""
        assert os.getsid(pid) == pid


@pytest.mark.slow
def test_a_worker_imports_neither_torch_nor_zoo():
    program = (
        "import sys, zoo_ocr.worker, rapidocr.inference_engine.onnxruntime\n"
        "assert not {'torch', 'zoo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_worker_that_cannot_start_is_one_clear_error(monkeypatch, tmp_path):
    (tmp_path / "rapidocr.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError, match="failed while it started: ImportError: broken") as caught:
        OCR(workers=2)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_is_trained_on_what_its_workers_read(tmp_path):
    options = [
        "rewards=[{name: ocr, metadata_key: digit, border: 2, min_side: 96, workers: 2}]",
        "data={train: builtin:digits/train, groups_per_epoch: 2, group_size: 4}",
        "eval=null",
        f"output_dir={tmp_path}",
    ]
    command = [sys.executable, "-m", "zoo", "train", str(ROOT / "recipes" / "nft_digits.yaml")]
    command += ["--epochs", "1"] + [word for option in options for word in ("-s", option)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = "".join(path.read_text() for path in tmp_path.rglob("metrics.jsonl"))
    assert "ocr/confidence" in metrics
