"""`zoo export --push`: the real client uploads to a server on this machine."""

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _runtime

from tests.cli.upload_server import Uploads, taking
from tests.runs import RECIPES, only_run, overrides
from zoo.cli import export as export_module
from zoo.cli.export_folder import LIST

# huggingface_hub 2.4's own, of httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("run")
    train(RECIPES["nft"], overrides("nft", root, epochs=1, eval="null")[1::2], None, None)
    return only_run(root)


@pytest.fixture
def hub(monkeypatch):
    """An empty hub that huggingface_hub takes for the real one, and a token for it."""
    uploads = Uploads()
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    assert not _runtime.is_xet_available()
    with taking(uploads) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        uploads.address = address
        yield uploads


def export(zoo_here, run, out, *arguments):
    return zoo_here("export", run, "--out", out, "--push", "ann/tuned", *arguments)


@pytest.mark.slow
def test_a_private_push_to_a_public_model_uploads_nothing(hub, run, zoo_here, tmp_path):
    hub.files["ann/tuned"], hub.private["ann/tuned"] = {}, False
    ended = export(zoo_here, run, tmp_path / "out", "--private")
    assert ended.code == 2
    assert "--private: it is there already and public, so nothing was uploaded" in ended.err
    assert hub.files["ann/tuned"] == {}
    assert (tmp_path / "out").is_dir()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(
    ("form", "library"), [("diffusers", "diffusers"), ("peft", "peft")]
)  # fmt: skip
def test_what_is_written_is_uploaded(form, library, private, hub, run, zoo_here, tmp_path):
    out = tmp_path / "out"
    ended = export(zoo_here, run, out, "--format", form, *(["--private"] if private else []))
    assert ended.code == 0, ended.err
    assert f"pushed to {hub.address}/ann/tuned" in ended.out
    assert hub.files["ann/tuned"] == {
        path.name: path.read_bytes() for path in out.iterdir() if path.name != LIST
    }
    assert hub.private["ann/tuned"] == private
    assert hub.authorized == {"Bearer hf_mine"}
    card = ModelCard.load(out / "README.md")
    assert card.data.to_dict()["library_name"] == library
    assert card.data.pipeline_tag == "text-to-image"
    assert {"lora", "text-to-image"} <= set(card.data.tags)
    assert '"ann/tuned"' in card.text


def test_a_model_that_is_there_is_written_into_and_its_own_files_stay(
    hub, run, zoo_here, tmp_path
):  # fmt: skip
    hub.files["ann/tuned"] = {"other.safetensors": b"x", "README.md": b"old"}
    assert export(zoo_here, run, tmp_path / "out").code == 0
    assert hub.files["ann/tuned"]["other.safetensors"] == b"x"
    assert hub.files["ann/tuned"]["README.md"] != b"old"


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("someone/model", "someone/model"),
        (None, None),
        ("./models/mine", None),
        ("models/mine", None),
    ],
)
def test_the_base_model_is_named_where_the_hub_can_know_it(
    base, said, run, zoo_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    chosen = property(lambda self: base)
    monkeypatch.setattr(export_module._CheckpointWeights, "base", chosen)
    assert zoo_here("export", run, "--out", "out").code == 0
    assert ModelCard.load(tmp_path / "out" / "README.md").data.base_model == said


def mistake(ended):
    assert ended.code == 2, ended.err
    (line,) = ended.lines
    return line


def test_without_a_token_nothing_is_written(hub, run, zoo_here, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    line = mistake(export(zoo_here, run, tmp_path / "out"))
    assert "--push ann/tuned: no token for the Hub; log in with `hf auth login`" in line
    assert not (tmp_path / "out").exists()


def test_a_mistake_on_the_command_line_is_said_before_anything_is_written(
    hub, run, zoo_here, tmp_path
):
    out = tmp_path / "out"
    for repo in ("tuned", "ann/tuned/more", "ann/", "-/x y"):
        line = mistake(zoo_here("export", run, "--out", out, f"--push={repo}"))
        assert "a model's id has the form OWNER/NAME" in line
    line = mistake(zoo_here("export", run, "--out", out, "--private"))
    assert "--private is for what --push" in line
    assert not out.exists()
    assert not hub.files


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_said_in_a_line_and_the_folder_stays(status, hub, run, zoo_here, tmp_path):
    hub.refused = (status, {"error": "You may not"})
    line = mistake(export(zoo_here, run, tmp_path / "out"))
    assert "the Hub refused: " in line
    assert "the token must be one that may write to ann" in line
    assert f"{tmp_path / 'out'} is written and can be pushed again" in line
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_hub_that_cannot_be_reached_is_said_in_a_line(hub, run, zoo_here, tmp_path, monkeypatch):
    with taking(Uploads()) as address:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", address)
    line = mistake(export(zoo_here, run, tmp_path / "out"))
    assert f"--push ann/tuned: {address} cannot be reached (ConnectError" in line
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in mistake(export(zoo_here, run, tmp_path / "out"))
