"""Data sets of the Hub, fetched by the real code from a server on this machine."""

import io
import json

import pyarrow
import pytest
from huggingface_hub import constants
from pyarrow import parquet

from tests.data.hub_server import COMMIT, Hub, serving
from zoo.data.prompts import load
from zoo.prompt import PromptError


def lines(*texts, key="prompt"):
    return "".join(json.dumps({key: text}) + "\n" for text in texts).encode()


def shard(**columns):
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def texts(source):
    return [prompt.text for prompt in load(source)]


def test_a_split_is_fetched_and_nothing_else(hub):
    hub.repos["ann/birds"] = {
        "README.md": b"# Birds",
        "train.jsonl": lines("a wren", "a crow"),
        "test.jsonl": lines("an owl"),
        "weights.bin": b"x" * 1000,
    }
    assert texts("hub:ann/birds?split=train") == ["a wren", "a crow"]
    assert texts("hub:ann/birds?split=test") == ["an owl"]
    assert not [path for path in hub.requests if "weights" in path]


def test_shards_come_in_order_and_other_columns_are_metadata_unless_json_cannot_hold_them(hub):
    hub.repos["ann/birds"] = {
        "data/train-00001-of-00002.parquet": shard(
            caption=["a crow"], legs=[2], box=[{"x": 0.5, "y": None}], image=[b"\x89PNG"]
        ),
        "data/train-00000-of-00002.parquet": shard(
            caption=["a wren"], legs=[None], box=[{"x": 1.5, "y": 2.0}], image=[b"\x89PNG"]
        ),
        "data/test-00000-of-00001.parquet": shard(caption=["an owl"]),
    }
    wren, crow = load("hub:ann/birds?split=train&column=caption")
    assert (wren.text, wren.metadata) == ("a wren", {"box": {"x": 1.5, "y": 2.0}})
    assert (crow.text, crow.metadata) == ("a crow", {"legs": 2, "box": {"x": 0.5}})


CARD = b"""---
configs:
- config_name: short
  data_files:
  - {split: train, path: "s/*.jsonl"}
  - {split: heldout, path: [s2/a.jsonl, s2/b.jsonl]}
- config_name: long
  data_dir: long
  data_files: "*.csv"
---
# Birds
"""


@pytest.fixture
def configured(hub):
    hub.repos["ann/birds"] = {
        "README.md": CARD,
        "s/x.jsonl": lines("a wren"),
        "s2/a.jsonl": lines("an owl"),
        "s2/b.jsonl": lines("a rook"),
        "s2/c.jsonl": lines("a bat"),
        "long/one.csv": b'prompt,kind\r\n"a crow, flying",bird\r\n',
    }
    return "hub:ann/birds"


def test_configurations_and_splits_are_those_of_the_card(configured):
    assert texts(f"{configured}?config=short&split=train") == ["a wren"]
    assert texts(f"{configured}?config=short&split=heldout") == ["an owl", "a rook"]
    (crow,) = load(f"{configured}?config=long")
    assert (crow.text, crow.metadata) == ("a crow, flying", {"kind": "bird"})


def test_a_file_or_a_folder_of_the_data_set_can_be_named(configured):
    assert texts(f"{configured}/s2/c.jsonl") == ["a bat"]
    assert texts(f"{configured}/s") == ["a wren"]


def test_a_revision_is_the_one_that_is_asked_for(hub):
    hub.repos["ann/birds"] = {"train.txt": b"a wren\n"}
    assert texts("hub:ann/birds?revision=v1") == ["a wren"]
    assert texts(f"hub:ann/birds?revision={COMMIT}") == ["a wren"]
    assert any("/revision/v1" in path for path in hub.requests)


def test_a_branch_is_looked_up_once_so_that_all_files_are_of_one_commit(hub):
    hub.repos["ann/birds"] = {"README.md": b"# Birds", "train.txt": b"a wren\n"}
    load("hub:ann/birds")
    assert sum("/revision/main" in path for path in hub.requests) == 1


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", r"hold several configurations; write hub:ann/birds\?config=short or .*config=long"),
        ("?config=shrt", "no configuration 'shrt'; did you mean 'short'. it has: short, long"),
        ("?config=short", r"several splits; write .*split=train&config=short or .*split=heldout"),
        ("?config=short&split=trian", "no split 'trian'; did you mean 'train'.* train, heldout"),
        ("/s2", "several files that could be meant: a.jsonl, b.jsonl, c.jsonl; name one: .*/s2/a"),
        ("/s3", "no file or folder 's3'.*it has: long/one.csv, s/x.jsonl"),
        ("?config=long&column=text", "has no column 'text'.*it has: prompt, kind.*csv.column=NAME"),
        ("/s/x.jsonl?column=text", "hub:ann/birds/s/x.jsonl:1: each line.*write .*column=prompt"),
        ("?revision=v9", "it has no revision 'v9' on the Hub"),
        ("?colum=x", "unknown option 'colum'; did you mean 'column'. allowed: split, config, rev"),
    ],
)
def test_what_cannot_be_found_in_a_data_set_is_said_with_what_it_has(source, said, configured):
    with pytest.raises(PromptError, match=said) as caught:
        load(f"{configured}{source}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (b"---\nconfigs: [\n---\n", "the head of its card cannot be read .*name a file instead"),
        (b"---\nconfigs: [7]\n---\n", "the head of its card cannot be read"),
        (
            b"---\nconfigs: [{config_name: a, data_files: data.bin}]\n---\n",
            "its card says data.bin, which is no .txt.* file; it has README.md, data.bin",
        ),
    ],
)
def test_a_card_that_is_wrong_is_said(card, said, hub):
    hub.repos["ann/birds"] = {"README.md": card, "data.bin": b""}
    with pytest.raises(PromptError, match=said) as caught:
        load("hub:ann/birds")
    assert "\n" not in str(caught.value)


def test_a_data_set_that_a_script_makes_is_refused_with_what_it_has(hub):
    hub.repos["ann/birds"] = {"README.md": b"", "birds.py": b"import os"}
    with pytest.raises(PromptError, match=r"hold no \.txt, .* file; it has README.md, birds.py"):
        load("hub:ann/birds")
    with pytest.raises(PromptError, match="list no configurations, so none is called 'x'"):
        load("hub:ann/birds?config=x")


def test_an_unknown_or_private_data_set_is_said_in_a_line(hub):
    with pytest.raises(PromptError, match=r"no such data set, or it is private.*hf auth login"):
        load("hub:ann/cats")


def test_a_gated_data_set_is_said_with_where_to_ask(hub):
    hub.refused["ann/cats"] = (403, "GatedRepo")
    with pytest.raises(
        PromptError, match=r"gated: accept its terms at http.*/datasets/ann/cats, then log in"
    ):
        load("hub:ann/cats")


@pytest.mark.parametrize("place", ["birds", "/birds", "ann/", ""])
def test_an_id_without_owner_is_refused(place):
    with pytest.raises(PromptError, match="has the form OWNER/NAME"):
        load(f"hub:{place}")


def test_an_id_that_cannot_be_one_is_refused_in_a_line():
    with pytest.raises(
        PromptError, match=r"prompts 'hub:ann/--b' .* no id of the Hub, which has the form"
    ):
        load("hub:ann/--b")


def test_without_network_the_cache_is_read(hub, monkeypatch):
    hub.repos["ann/birds"] = {"train.txt": b"a wren\n", "test.txt": b"an owl\n"}
    assert texts("hub:ann/birds?split=train") == ["a wren"]
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert texts("hub:ann/birds?split=train") == ["a wren"]
    with pytest.raises(PromptError, match=r"not in the Hub's cache .* HF_HUB_OFFLINE is set"):
        load("hub:ann/birds?split=test")
    with pytest.raises(PromptError, match=r"not in the Hub's cache .* HF_HUB_OFFLINE is set"):
        load("hub:ann/cats")
    assert len(hub.requests) == asked


def test_a_hub_that_cannot_be_reached_is_said_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with serving(Hub()) as address:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", address)
    with pytest.raises(PromptError, match=f"{address} cannot be reached.*fetch it once") as caught:
        load("hub:ann/birds")
    assert "\n" not in str(caught.value)


def test_a_server_that_fails_is_said_in_a_line(hub):
    hub.refused["ann/birds"] = (500, "")
    with pytest.raises(PromptError, match="prompts 'hub:ann/birds'") as caught:
        load("hub:ann/birds")
    assert "\n" not in str(caught.value)
