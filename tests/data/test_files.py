"""Files and folders of prompts."""

import builtins
import json

import pyarrow
import pytest
from pyarrow import parquet

from tests.forbidden import forbid
from zoo.data.prompts import load
from zoo.prompt import PromptError

__all__ = ["forbid"]


@pytest.fixture
def file(tmp_path):
    """Writes a file of prompts; gives its path as a source."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def texts(source):
    return [prompt.text for prompt in load(source)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_text_is_a_prompt_a_line_whatever_ends_it_and_blank_lines_are_none(file, end, mark):
    content = mark + end.join(["a cat", "", "  two dogs ", "\t", "a cat", "žluťoučký kůň"])
    source = file("prompts.txt", content)
    assert texts(source) == ["a cat", "two dogs", "a cat", "žluťoučký kůň"]
    assert all(prompt.metadata == {} for prompt in load(source))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_object_a_line_has_its_other_keys_as_metadata(file, end, mark):
    source = file("a.jsonl", mark + f'{{"prompt": "seven", "digit": 7}}{end}{end}{{"prompt": "x"}}')
    first, second = load(source)
    assert (first.text, first.metadata) == ("seven", {"digit": 7})
    assert (second.text, second.metadata) == ("x", {})


def test_a_line_separator_inside_a_json_text_ends_no_line(file):
    assert texts(file("a.jsonl", '{"prompt": "a\u2028b\x85c"}\n')) == ["a\u2028b\x85c"]


def test_a_line_of_genevals_metadata_arrives_whole(file):
    line = {
        "tag": "position",
        "include": [
            {"class": "tv", "count": 1},
            {"class": "dog", "count": 1, "position": ["right of", 0]},
        ],
        "prompt": "a photo of a dog right of a tv",
    }
    (prompt,) = load(file("evaluation_metadata.jsonl", json.dumps(line) + "\n"))
    assert prompt.text == line["prompt"]
    assert prompt.metadata == {"tag": line["tag"], "include": line["include"]}


def test_a_json_list_has_texts_or_objects(file):
    first, second = load(file("a.json", '["a cat", {"prompt": "a dog", "id": 3}]'))
    assert (first.text, first.metadata) == ("a cat", {})
    assert (second.text, second.metadata) == ("a dog", {"id": 3})


def test_a_table_is_read_by_its_heading(file):
    source = file("a.csv", '\ufeffid,Prompt\r\n1,"a ""red"" cat,\nasleep"\r\n\r\n2,a dog\r\n')
    first, second = load(f"{source}?column=Prompt")
    assert (first.text, first.metadata) == ('a "red" cat,\nasleep', {"id": "1"})
    assert (second.text, second.metadata) == ("a dog", {"id": "2"})
    tabbed = file("a.tsv", "prompt\tkind\na cat, asleep\tanimal\n")
    assert load(tabbed)[0].metadata == {"kind": "animal"}


def test_another_column_can_have_the_prompts(file):
    source = file("a.jsonl", '{"my text": "a cat", "prompt": "not this"}\n')
    (prompt,) = load(f"{source}?column=my text")
    assert (prompt.text, prompt.metadata) == ("a cat", {"prompt": "not this"})
    assert load(f"{source}?column=my%20text") == [prompt]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "has no prompts; write one a line"),
        ("a.txt", "\n \n", "has no prompts"),
        ("a.txt", b"\xff\xfea", "cannot be read as UTF-8 text"),
        ("a.jsonl", '{"prompt": "x"}\n\n{"prompt"', "a.jsonl:3: not a JSON object"),
        ("a.jsonl", "[1]\n", r"a.jsonl:1: each line is an object .*this is '\[1\]'$"),
        ("a.jsonl", '{"prompt": 3}\n', 'an object with a text "prompt"'),
        ("a.jsonl", '{"text": "x", "n": 1}\n', r"to take its 'text' write .*a.jsonl\?column=text$"),
        ("a.jsonl", '{"text": "x", "b": "y"}\n', "this is '{[^;]*$"),
        ("a.jsonl", '{"prompt": " "}\n', 'a.jsonl:1: its "prompt" is empty'),
        ("a.jsonl", '{"prompt": "x", "v": NaN}\n', "a.jsonl:1: NaN is no JSON value"),
        ("a.json", '{"prompt": "x"}', "a .json file of prompts is a list"),
        ("a.json", '["x",\n"y"', r"not a JSON object: .* \(line 2\)"),
        ("a.json", '["x", 7]', "entry 2 is 7$"),
        ("a.json", '[{"text": "x"}]', "write .*column=text"),
        ("a.csv", "Prompts,id\nx,1\n", "no column 'prompt'; did you mean 'Prompts'. it has: Prom"),
        ("a.csv", "", "no column 'prompt'; it has: none"),
        ("a.csv", "prompt,id\nx,1\na, b,2\n", "a.csv:3: 3 values for 2 columns"),
        ("a.csv", "prompt,id\nx\n", "a.csv:2: 1 values for 2 columns"),
        ("a.csv", 'prompt\n"x\n', "a.csv:2: unexpected end of data"),
        ("a.csv", "prompt,id\n,1\n", 'a.csv:2: its "prompt" is empty'),
        ("a.parquet", "PAR1", "is no parquet file"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_a_line_with_the_place(name, content, said, file):
    source = file(name, content)
    with pytest.raises(PromptError, match=said) as caught:
        load(source)
    assert "\n" not in str(caught.value)
    assert source in str(caught.value)


def test_plain_text_has_no_columns(file):
    with pytest.raises(PromptError, match="plain text: it has no column 'text'"):
        load(file("a.txt", "x") + "?column=text")


def test_parquet_without_pyarrow_says_what_to_install(file, monkeypatch):
    source, real = file("a.parquet", b""), builtins.__import__

    def without_pyarrow(name, *rest):
        if name == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(PromptError, match=r"needs pyarrow .*pip install 'diffusion-rl-zoo\[par"):
        load(source)


def test_a_file_that_is_not_there_is_said_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PromptError, match=f"'no/x.txt' does not exist .looked for {tmp_path}/no/x"):
        load("no/x.txt")


@pytest.mark.parametrize("source", ["prompts.pdf", "prompts", "no/folder"])
def test_what_is_no_source_is_told_all_that_is_one(source):
    said = (
        r"neither a \.txt, .*parquet file nor builtin:NAME, hub:OWNER/NAME, https://\.\.\. or a "
        r"folder.*builtin:"
    )
    with pytest.raises(PromptError, match=said):
        load(source)


def test_a_folder_has_a_file_for_each_split(file):
    file("geneval/train_metadata.jsonl", '{"prompt": "a cat", "tag": "t"}\n')
    folder = file("geneval/test_metadata.jsonl", '{"prompt": "a dog"}\n').rpartition("/")[0]
    file("geneval/README.md", "read me")
    assert texts(f"{folder}?split=train") == texts(f"{folder}/?split=train") == ["a cat"]
    assert texts(f"{folder}?split=test") == ["a dog"]
    with pytest.raises(PromptError, match=r"several splits; write .*\?split=test or .*split=train"):
        load(folder)
    with pytest.raises(
        PromptError, match=r"no split 'tset'; did you mean 'test'. splits: test, tr"
    ):
        load(f"{folder}?split=tset")


def test_a_folder_of_one_split_needs_none_to_be_named(file):
    folder = file("ocr/train.txt", "a sign\n").rpartition("/")[0]
    file("ocr/notes.txt", "not prompts\n")
    assert texts(folder) == ["a sign"]


def test_the_shards_of_a_table_are_read_in_order(file):
    for i in (2, 10, 1):
        folder = file(f"d/train-{i:05}-of-00011.jsonl", f'{{"prompt": "{i}"}}\n')
    assert texts(folder.rpartition("/")[0]) == ["1", "2", "10"]


def test_several_files_that_a_split_could_mean_are_named(file):
    file("d/train.txt", "a\n")
    folder = file("d/train_metadata.jsonl", '{"prompt": "a"}\n').rpartition("/")[0]
    with pytest.raises(PromptError, match=r"train.txt, train_metadata.jsonl; name one: .*/train.t"):
        load(f"{folder}?split=train")


def test_a_folder_without_prompts_says_what_it_has(file, tmp_path):
    folder = file("d/x.png", b"").rpartition("/")[0]
    with pytest.raises(PromptError, match=r"hold no \.txt.*file; it has x.png"):
        load(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptError, match=r"hold no .*parquet file$"):
        load(str(tmp_path / "empty"))


WRONG = {
    "?split": "'split' has no value; write .*option=value",
    "?split=": "'split=' has no value",
    "?=x": "'=x' has no value",
    "?split=a&split=b": "the option 'split' is written twice",
    "?colum=x": "unknown option 'colum'; did you mean 'column'. allowed: split, column",
    "/a.csv?separator=ab": "separator is one character or tab, not 'ab'",
    '/a.csv?separator="': "separator is one character or tab",
    "/a.jsonl?separator=;": "is no .csv or .tsv",
}
"""What is wrong in the options of a folder and of its files."""


@pytest.mark.parametrize("source", WRONG)
def test_options_that_are_wrong_are_said(source, file, tmp_path):
    for name in ("a.csv", "a.jsonl"):
        file(name, "")
    with pytest.raises(PromptError, match=WRONG[source]):
        load(f"{tmp_path}{source}")


@pytest.mark.parametrize(
    ("name", "separator", "written"),
    [("a.csv", ";", ";"), ("a.csv", "|", "%7C"), ("a.csv", "\t", "tab"), ("a.tsv", ",", "%2C")],
)
def test_another_separator_is_read_where_it_is_named_and_guessed_where_not(
    file, name, separator, written
):
    source = file(name, f'prompt{separator}digit\n"a {separator} b"{separator}7\n')
    (prompt,) = load(f"{source}?separator={written}")
    assert (prompt.text, prompt.metadata) == (f"a {separator} b", {"digit": "7"})
    with pytest.raises(PromptError, match=r"has one column, .*; if its separator is .*separator="):
        load(source)


def test_a_heading_that_repeats_itself_is_refused(file, tmp_path):
    for source in (file("a.csv", "prompt,digit,digit\na,1,2\n"), repeated(tmp_path / "a.parquet")):
        with pytest.raises(PromptError, match="has 2 columns 'digit', of which one would be lost"):
            load(source)


def repeated(path):
    columns = [pyarrow.array(["a"]), pyarrow.array([1]), pyarrow.array([2])]
    parquet.write_table(pyarrow.table(columns, names=["prompt", "digit", "digit"]), path)
    return str(path)


def test_rows_without_a_prompt_are_left_out_where_that_is_asked(file, tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["a", None, " ", "b"]}), path)
    for source in (file("a.csv", 'prompt,x\na,1\n,2\n" ",3\nb,4\n'), str(path)):
        with pytest.raises(PromptError, match=r'its "prompt" is empty; .*\?skip_empty=true'):
            load(source)
        assert texts(f"{source}?skip_empty=true") == ["a", "b"]
    with pytest.raises(PromptError, match="skip_empty is true or false, not '1'"):
        load(f"{path}?skip_empty=1")


def test_every_arrow_type_of_plain_values_is_read(tmp_path):
    words = pyarrow.array(["a", "b", "a"])
    columns = {
        "prompt": words.dictionary_encode(),
        "view": words.cast(pyarrow.string_view()),
        "kind": words.cast(pyarrow.large_string()).dictionary_encode(),
        "box": pyarrow.array([[1, 2], [3, 4], [5, 6]], pyarrow.list_(pyarrow.int64(), 2)),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    first, *rest = load(str(tmp_path / "a.parquet"))
    assert [first.text, *(prompt.text for prompt in rest)] == ["a", "b", "a"]
    assert first.metadata == {"view": "a", "kind": "a", "box": [1, 2]}


def test_a_column_and_a_file_may_have_any_name(file):
    source = file("a?b=c&d.csv", "what & why?,x\nhello,1\n")
    with pytest.raises(PromptError, match="has no column 'prompt'"):
        load(source)
    source = file("a.csv", "what & why?,x\nhello,1\n")
    assert texts(f"{source}?column=what %26 why?") == ["hello"]


def test_a_folder_that_may_not_be_listed_is_named(file, tmp_path, forbid):
    file("p/train.txt", "a cat")
    forbid(tmp_path / "p")
    with pytest.raises(PromptError) as error:
        load(f"{tmp_path / 'p'}?split=train")
    assert str(error.value) == f"prompts '{tmp_path / 'p'}' cannot be read: Permission denied"
