"""The live pages: what they show of folders that are being written, and what they let nobody do."""

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from zoo.cli.watch import watch
from zoo.errors import UserError
from zoo.storage import lock
from zoo.watch.runs import Runs
from zoo.watch.server import Watching, application

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def line(epoch, **more):
    return {
        "epoch": epoch, "reward": 0.1 * epoch, "step": epoch, "seconds/collect": 1.0,
        "seconds/learn": 2.0, **more,
    }  # fmt: skip


def write_run(folder, epochs=3, name="mine", of=10):
    folder.mkdir(parents=True)
    recipe = {"name": name, "epochs": of, "policy": {"name": "digits"}, "rewards": []}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "environment.json").write_text("{}")
    write_lines(folder, [line(epoch) for epoch in range(epochs + 1)])
    return folder


def write_lines(folder, lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))


@pytest.fixture
def runs(tmp_path):
    for number in (1, 2):
        write_run(tmp_path / "mine" / f"2026-01-0{number}", epochs=number)
    return tmp_path


@pytest.fixture
def client(runs):
    return TestClient(application(Watching(Runs(runs))), base_url="http://127.0.0.1")


def test_all_runs_of_a_folder_are_listed_the_newest_first(client):
    page = client.get("/").text
    assert page.index('scope="row">mine/2026-01-02') < page.index('scope="row">mine/2026-01-01')
    assert "2 / 10" in page
    assert "stopped" in page
    assert "image/svg+xml" in page


def test_the_chosen_runs_and_metric_are_drawn(client):
    page = client.get("/", params={"run": ["mine/2026-01-01"], "by": "step"}).text
    assert 'value="mine/2026-01-01" checked' in page
    assert "<option selected>step</option>" in page
    assert 'alt="step by epoch: mine/2026-01-01 from 0 to 1"' in page
    assert "No odd yet." in client.get("/", params={"by": "odd"}).text


def test_one_run_has_its_summary_first_and_more_when_asked(client):
    page = client.get("/run/mine/2026-01-02").text
    assert "<h1>mine: 2026-01-02</h1>" in page
    assert 'data-later="samples monitor costs probes"' in page
    assert "Seconds of each phase" not in page
    assert "Seconds of each phase" in client.get("/run/mine/2026-01-02/section/costs").text


def test_the_folder_of_one_run_is_watched_too(runs):
    one = Runs(runs / "mine" / "2026-01-02")
    assert [run.name for run in one.all()] == ["2026-01-02"]


@pytest.mark.parametrize(
    "path", ["/run/other", "/run/../mine", "/run/mine/2026-01-02/section/odd", "/etc/passwd"]
)
def test_what_is_not_there_is_not_found(path, client):
    assert client.get(path).status_code == 404


def test_the_state_changes_with_the_run_and_only_then(client, runs):
    first, other = "/state?run=mine/2026-01-01", "/state?run=mine/2026-01-02"
    before, all_before, beside = (client.get(at).text for at in (first, "/state", other))
    assert client.get(first).text == before
    write_lines(runs / "mine" / "2026-01-01", [line(epoch) for epoch in range(5)])
    assert client.get(first).text != before
    assert client.get("/state").text != all_before
    assert client.get(other).text == beside
    assert "4 of 10" in client.get("/run/mine/2026-01-01").text


def test_a_run_that_is_being_written_is_read_as_far_as_it_is(client, runs):
    metrics = runs / "mine" / "2026-01-01" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 2, "rew')
    assert "1 of 10" in client.get("/run/mine/2026-01-01").text


def test_a_damaged_run_does_not_take_the_others_along(client, runs):
    (runs / "mine" / "2026-01-01" / "recipe.json").write_text("[")
    page = client.get("/")
    assert page.status_code == 200
    assert "mine/2026-01-02" in page.text
    assert client.get("/run/mine/2026-01-01").status_code == 404


@pytest.fixture
def locked(runs, monkeypatch):
    """What nobody but root can look into; the tests then run as somebody else."""
    for path in (runs, *runs.rglob("*")):
        path.chmod(0o755)
    folders = write_run(runs / "mine" / "2026-01-03"), runs / "theirs"
    folders[1].mkdir()
    (runs / "link").symlink_to(folders[1] / "deeper")
    for folder in folders:
        folder.chmod(0)
    monkeypatch.chdir(runs)  # what is above is root's alone
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)
    for folder in folders:
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_read_is_said_and_the_others_are_shown(locked):
    found = Runs(Path())
    assert [run.name for run in found.all()] == ["mine/2026-01-02", "mine/2026-01-01"]
    assert found.named("mine/2026-01-03") is None
    assert found.unread() == [
        "link cannot be read: Permission denied",
        "mine/2026-01-03 cannot be read: Permission denied",
        "theirs cannot be read: Permission denied",
    ]


def test_the_page_says_what_cannot_be_read(client, runs):
    before = client.get("/state").text
    (runs / "mine" / "2026-01-01" / "recipe.json").write_text("[")
    assert "mine/2026-01-01 cannot be read: " in client.get("/").text
    assert client.get("/state").text != before


def test_names_of_others_are_shown_and_not_run(client, runs):
    write_run(runs / "<b>x" / "2026-01-03", name="<script>alert(1)</script>\x1b")
    page = client.get("/").text
    assert "<b>x" not in page
    assert "&lt;b&gt;x/2026-01-03" in page
    one = client.get("/run/%3Cb%3Ex/2026-01-03").text
    assert "<script>alert" not in one
    assert r"\x1b" in one


def test_time_left_is_of_recent_epochs_while_a_process_writes(runs):
    folder = runs / "mine" / "2026-01-02"
    (before,) = (run for run in Runs(runs).all() if run.record.folder == folder)
    assert (before.status, before.seconds_left) == ("stopped", None)
    descriptor = lock.take(folder)
    try:
        (now,) = (run for run in Runs(runs).all() if run.record.folder == folder)
    finally:
        os.close(descriptor)
    assert (now.status, now.seconds_left) == ("going on", 8 * 3.0)


def test_a_run_that_was_written_by_one_that_has_gone_is_stopped(runs):
    (runs / "mine" / "2026-01-02" / lock.LOCK).write_text("999999999\n")
    assert {run.status for run in Runs(runs).all()} == {"stopped"}


def test_a_long_run_is_drawn_with_few_points_and_all_evaluations(runs):
    folder = runs / "mine" / "2026-01-02"
    lines = [line(epoch, **({"eval/x": 1.0} if epoch % 7 == 3 else {})) for epoch in range(5001)]
    write_lines(folder, lines)
    (run,) = (run for run in Runs(runs).all() if run.record.folder == folder)
    kept = [int(each["epoch"]) for each in run.record.metrics]
    assert len(kept) < 1200
    assert kept == sorted(set(kept))
    assert {0, 5000, *range(3, 5001, 7)} <= set(kept)


def test_pages_of_fifty_runs_and_of_a_long_one_are_small(runs, client):
    for number in range(50):
        write_run(runs / "many" / f"2026-02-{number:02}")
    write_lines(runs / "mine" / "2026-01-02", [line(epoch) for epoch in range(5001)])
    sent = client.get("/").text + client.get("/run/mine/2026-01-02").text
    sent += "".join(
        client.get(f"/run/mine/2026-01-02/section/{anchor}").text
        for anchor in ("samples", "monitor", "costs", "probes")
    )
    assert sent.count("many/2026-02-") >= 50
    assert len(sent) < 2e6


def test_another_name_of_the_server_is_not_answered(client):
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400


def test_nothing_asks_the_network_and_scripts_are_its_own(client):
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert client.get("/watch.js").headers["content-type"].startswith("text/javascript")


def test_without_control_nothing_can_be_stopped(client):
    assert '<form method="post"' not in client.get("/run/mine/2026-01-01").text
    assert client.post("/stop", data={"run": "mine/2026-01-01"}).status_code == 404


@pytest.fixture
def sleeper(runs):
    """A process that holds the lock of a run as zoo train does."""
    folder = runs / "mine" / "2026-01-02"
    descriptor = lock.take(folder)
    process = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    os.close(descriptor)
    (folder / lock.LOCK).write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def stranger(runs):
    """A process that has the number of one that wrote a run, and nothing else of it."""
    process = subprocess.Popen(["sleep", "60"])
    (runs / "mine" / "2026-01-02" / lock.LOCK).write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def test_with_control_a_run_is_asked_to_save_and_end(runs, sleeper):
    watching = Watching(Runs(runs), control=True)
    client = TestClient(application(watching), base_url="http://127.0.0.1")
    page = client.get("/run/mine/2026-01-02").text
    assert watching.token in page
    assert "Save and stop this run" not in client.get("/run/mine/2026-01-01").text
    wrong = client.post("/stop", data={"run": "mine/2026-01-02", "token": "guess"})
    assert (wrong.status_code, sleeper.poll()) == (403, None)
    other = client.post("/stop", data={"run": "mine/2026-01-01", "token": watching.token})
    assert other.status_code == 404
    done = client.post(
        "/stop", data={"run": "mine/2026-01-02", "token": watching.token}, follow_redirects=False
    )
    assert (done.status_code, done.headers["location"]) == (303, "/run/mine/2026-01-02")
    assert sleeper.wait(10) == -15


@pytest.mark.parametrize(
    "held",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
        ),
    ],
)
def test_a_stranger_with_the_number_of_a_stopped_run_is_never_signalled(held, runs, stranger):
    folder = runs / "mine" / "2026-01-02"
    if held:  # as by a worker that outlived its launcher, or by another machine
        descriptor = lock.take(folder)
        (folder / lock.LOCK).write_text(f"{stranger.pid}\n")
    watching = Watching(Runs(runs), control=True)
    client = TestClient(application(watching), base_url="http://127.0.0.1")
    assert "Save and stop this run" not in client.get("/run/mine/2026-01-02").text
    answer = client.post("/stop", data={"run": "mine/2026-01-02", "token": watching.token})
    assert (answer.status_code, stranger.poll()) == (404, None)
    if held:
        os.close(descriptor)


def test_another_users_run_is_not_stopped_in_a_line(runs, sleeper, monkeypatch):
    def refuse(process, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    watching = Watching(Runs(runs), control=True)
    client = TestClient(application(watching), base_url="http://127.0.0.1")
    answer = client.post("/stop", data={"run": "mine/2026-01-02", "token": watching.token})
    assert (answer.status_code, answer.text.count("\n")) == (403, 1)
    monkeypatch.undo()
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "127.0.0.1"), "nowhere: there is no such folder"),
        ((".", "0.0.0.0"), "--control: anybody who reaches --host 0.0.0.0"),
        ((".", "203.0.113.7"), "--host 203.0.113.7 --port 0: cannot listen there"),
    ],
)
def test_what_cannot_be_watched_is_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, host = arguments
    with pytest.raises(UserError, match=message):
        watch(Path(folder), host, 0, control=host == "0.0.0.0")


@pytest.mark.fast_cases(1)
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_what_comes_while_it_looks(width, runs, tmp_path):
    folder = runs / "mine" / "2026-01-02"
    page, inner = "/run/mine/2026-01-02", application(Watching(Runs(runs)))

    async def watched(scope, receive, send):
        await inner(scope, receive, send)
        # Not a while later: the browser's clock is its own, and may be over by then.
        if scope["type"] == "http" and scope["path"] == page:
            write_lines(folder, [line(epoch) for epoch in range(8)])

    server = uvicorn.Server(uvicorn.Config(watched, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    seen = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
         f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=60000", "--dump-dom",
         f"http://127.0.0.1:{port}{page}"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    server.should_exit = True
    thread.join(20)
    assert "7 of 10" in seen
    assert "Seconds of each phase" in seen
    assert '<body class="lost"' not in seen
