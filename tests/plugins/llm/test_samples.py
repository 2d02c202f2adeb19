"""Records are read from files of any size and of ill will: sampled, limited, and what is wrong is said."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from hooks import BadInput
from plugins.llm.samples import DEEPEST, LONGEST_LINE, ROWS, sample_of
from tests.plugins.llm.conftest import MEDIA_TYPES


def read(folder: Path, name: str, content: bytes | str):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return sample_of(path, MEDIA_TYPES[path.suffix])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"bib": 1, "name": "Ana"}, {"bib": 2, "name": "Bob"}]'),
        ("a.json", '{"results": [{"bib": 1, "name": "Ana"}, {"bib": 2, "name": "Bob"}], "page": 1}'),
        ("a.json", '{"bib": 1, "name": "Ana"}\n{"bib": 2, "name": "Bob"}\n'),
        ("a.jsonl", '{"bib": 1, "name": "Ana"}\n\n{"bib": 2, "name": "Bob"}'),
        ("a.csv", "bib,name\n1,Ana\n2,Bob\n"),
        ("a.csv", "\ufeffbib;name\r\n1;Ana\r\n2;Bob\r\n"),
        ("a.tsv", "bib\tname\n1\tAna\n2\tBob\n"),
        ("a.yaml", "- bib: 1\n  name: Ana\n- bib: 2\n  name: Bob\n"),
    ],
)
def test_every_format_gives_the_same_records(tmp_path, name, content):
    sample = read(tmp_path, name, content)
    assert sample.rows == [{"bib": 1, "name": "Ana"}, {"bib": 2, "name": "Bob"}]
    assert sample.problems == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.json", b"[" * 10_000 + b"]" * 10_000, "nested 10000 levels deep; 64"),
        ("deep.jsonl", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "None of the 1 lines"),
        ("deep.yaml", b"[" * 10_000 + b"]" * 10_000, "nested more than 64"),
        ("bomb.yaml", b"a: &a [x]\nb: [*a, *a]\n", "references"),
        ("object.yaml", b"!!python/object/apply:os.system ['true']", "no YAML that can be read safely"),
        ("empty.json", b"[]", "no record"),
        ("empty.csv", b"\n\n", "no record"),
        ("broken.json", b'{"a": 1', "no JSON"),
        ("number.json", b"1" * 5000, "no JSON"),
        ("words.jsonl", b"this\nis\nprose\n", "None of the 3 lines"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, name, content, said):
    with pytest.raises(BadInput, match=said):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content", "rows", "said"),
    [
        ("nan.json", '[{"a": NaN, "b": Infinity}]', [{"a": None, "b": None}], "NaN is no JSON"),
        ("large.json", '[{"a": 1e999}]', [{"a": None}], "too large"),
        ("twice.json", '[{"a": 1, "a": 2}]', [{"a": 2}], "'a' occurs twice"),
        ("latin.json", b'[{"a": "caf\xe9"}]', [{"a": "caf\ufffd"}], "no UTF-8"),
        (
            "ragged.csv",
            "a,b\n1,2\n3\n4,5,6\n",
            [{"a": 1, "b": 2}, {"a": 3, "b": None}, {"a": 4, "b": 5}],
            "2 of 3 rows",
        ),
        ("part.jsonl", '{"a": 1}\n{"a": \n', [{"a": 1}], "left out"),
    ],
)
def test_what_is_odd_is_read_and_told(tmp_path, name, content, rows, said):
    sample = read(tmp_path, name, content)
    assert sample.rows == rows
    assert any(said in problem for problem in sample.problems), sample.problems


def test_values_of_csv_are_numbers_where_they_are_meant_so(tmp_path):
    rows = read(tmp_path, "a.csv", "code,n,x,t,s,big\n007,-5,1.50,true,1e5,123456789012345678901\n").rows
    assert rows == [{"code": "007", "n": -5, "x": 1.5, "t": True, "s": "1e5", "big": "123456789012345678901"}]


def test_a_csv_without_a_header_has_numbered_columns(tmp_path):
    assert read(tmp_path, "a.csv", "1,2\n3,4\n").rows[1] == {"column_1": 3, "column_2": 4}


def test_a_file_of_two_gigabytes_is_sampled_and_not_loaded(tmp_path):
    path = tmp_path / "large.jsonl"
    lines = b"".join(json.dumps({"number": number, "place": "begin"}).encode() + b"\n" for number in range(2000))
    block = b"".join(json.dumps({"number": number, "place": "later"}).encode() + b"\n" for number in range(50_000))
    with path.open("wb") as file:
        file.write(lines)
        for part in range(1, 17):  # blocks with holes between: the file is long and the disk is not filled
            file.seek(part * 2**31 // 17)
            file.write(b"\n" + block)
        file.truncate(2**31)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = sample_of(path, "application/jsonl")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100 * 1024, "it was loaded"
    assert len(sample.rows) <= ROWS
    assert sample.records is None
    assert {row["place"] for row in sample.rows} >= {"begin"}
    assert any("Only some" in problem for problem in sample.problems)


def test_a_line_of_a_gigabyte_is_left_out(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        file.seek(2**30, 1)
        file.write(b'"}\n{"a": 3}\n')
    sample = sample_of(path, "application/jsonl")
    assert sample.rows[0] == {"a": 1}
    assert any(f"longer than {LONGEST_LINE >> 20} MB" in problem for problem in sample.problems)


def test_of_a_large_json_list_the_first_records_are_read(tmp_path):
    content = json.dumps({"items": [{"number": number, "text": "x" * 100} for number in range(80_000)]})
    sample = read(tmp_path, "large.json", content)
    assert len(sample.rows) == ROWS
    assert sample.rows[5]["number"] == 5
    with pytest.raises(BadInput, match="no list of records"):
        read(tmp_path, "one.json", json.dumps({"a": "x" * 9_000_000}))


def test_the_deepest_that_is_read_is_really_read(tmp_path):
    value = "[" * (DEEPEST - 2) + "]" * (DEEPEST - 2)
    assert read(tmp_path, "a.json", f'[{{"a": {value}}}]').problems == []
