"""Schemas of a run's own files: what they read, and the line for each kind of damage."""

import json
import math
import re

import pytest

from culnig_tl.analysis.evaluations import EVALUATION
from culnig_tl.errors import CulnigError
from culnig_tl.frames import (
    COUNT,
    CREDIT,
    FLAG,
    MAYBE_NUMBER,
    NAME,
    NUMBER,
    SHARE,
    TEXT,
    Frame,
    one_of,
    read_frame,
)
from culnig_tl.schemas import read_object
from culnig_tl.study.verify import CHECKS

ROW = {
    "id": (NAME, "01"),
    "site": (one_of(("gate", "q")), "q"),
    "text": (TEXT, "a, b\r\n\u2028c"),
    "count": (COUNT, "3"),
    "number": (NUMBER, "0.1"),
    "maybe": (MAYBE_NUMBER, ""),
    "share": (SHARE, "1.0"),
    "flag": (FLAG, "True"),
    "credit": (CREDIT, "0.5"),
}
FRAME = Frame({name: kind for name, (kind, _) in ROW.items()}, key=("id",))


def written(path, **changes):
    """A file of two rows, the second with these cells."""
    first = {name: cell for name, (_, cell) in ROW.items()}
    rows = [first, first | {"id": "02"} | changes]
    lines = [ROW, *(row.values() for row in rows)]
    text = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8", newline="")
    return path


def test_a_frame_keeps_what_was_written(tmp_path):
    frame = read_frame(written(tmp_path / "a.csv"), FRAME)
    assert frame["id"].tolist() == ["01", "02"]
    assert frame["text"].tolist() == 2 * ["a, b\r\n\u2028c"]
    assert frame["number"].tolist() == [0.1, 0.1]
    assert frame["maybe"].isna().all()
    assert [str(frame[c].dtype) for c in ("count", "flag", "credit")] == [
        "int64",
        "bool",
        "float64",
    ]


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("id", " ", "a text that is not empty"),
        ("site", "o", "one of gate, q"),
        ("count", "3.0", "a whole number, 0 or more"),
        ("count", "-1", "a whole number, 0 or more"),
        ("count", 30 * "9", "a whole number, 0 or more"),
        ("number", "x", "a number"),
        ("number", "", "a number"),
        ("number", "nan", "a number"),
        ("number", "inf", "a number"),
        ("number", "1_0", "a number"),
        ("maybe", "x", "a number or nothing"),
        ("share", "1.1", "a number from 0 to 1"),
        ("flag", "maybe", "True or False"),
        ("flag", "1", "True or False"),
        ("credit", "maybe", "True or False, or a number from 0 to 1 in every row"),
        ("credit", "True", "True or False, or a number from 0 to 1 in every row"),
    ],
)
def test_a_cell_that_is_no_such(tmp_path, column, cell, expected):
    path = written(tmp_path / "a.csv", **{column: cell})
    line = f"row 2, column '{column}' has '{cell}', expected {expected}): delete it and give the"
    with pytest.raises(CulnigError, match=rf"a\.csv is damaged \({re.escape(line)}"):
        read_frame(path, FRAME)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no column 'id', its first line is ''"),
        ("id,count\n1,2\n", "no column 'site', its first line is 'id, count'"),
        ("{head},id\n", "two columns 'id'"),
        ("{head}\n", "no rows"),
        ("{head}\n1,q\n", "row 1 has 2 cells, expected 9"),
        ("{head}\n1,q,t,3,1,1,1,True,1,\n", "row 1 has 10 cells, expected 9"),
        ('{head}\n1,q,"t', r"no CSV in UTF-8 (unexpected end of data)"),
        ("{head}\n1,q,a\rb,3,1,1,1,True,1\n", "row 1 has 3 cells, expected 9"),
        ("{row}{row}", "row 2 has id '1' for the second time"),
    ],
)
def test_a_file_that_is_no_such(tmp_path, text, line):
    head = ",".join(ROW)
    row = "1,q,t,3,1,1,1,True,1\n"
    text = f"{head}\n{row}{row}" if text.startswith("{row}") else text.replace("{head}", head)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(
        CulnigError, match=rf"a\.csv is damaged \({re.escape(line)}\): delete it and"
    ):
        read_frame(tmp_path / "a.csv", FRAME)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id\xff\x00")
    with pytest.raises(CulnigError, match=r"a\.csv is damaged \(no CSV in UTF-8 \('utf-8' codec"):
        read_frame(tmp_path / "a.csv", FRAME)


def test_no_file(tmp_path):
    with pytest.raises(CulnigError, match=r"no file .*b\.csv: check the path"):
        read_frame(tmp_path / "b.csv", FRAME)


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(CulnigError, match="cannot read .*: Is a directory"):
        read_frame(tmp_path, FRAME)


def test_the_frames_of_a_run_are_read_as_they_are(tmp_path):
    """What spreadsheets do to a file is no damage: a byte-order mark, other line ends."""
    row = "1,blend,,0,NA,null,True,False,0.25"
    text = f"\ufeff{','.join(EVALUATION.columns)}\r\n{row}\r\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    (read,) = read_frame(tmp_path / "a.csv", EVALUATION).to_dict("records")
    assert (read["id"], read["group"], read["answer"], read["predicted"]) == (
        "1",
        "",
        "NA",
        "null",
    )


def test_effects_have_the_integral():
    assert "integrated" in CHECKS["effects"].columns


SCHEMA = {
    "name": str,
    "size?": int,
    "share": float,
    "on": bool,
    "parts": [{"id": int}],
    "any": {...: {"hash": str}},
    "none": (str, type(None)),
}
CONTENT = {
    "name": "x",
    "share": 1,
    "on": True,
    "parts": [{"id": 1}, {"id": 2, "more": None}],
    "any": {"a": {"hash": "h"}, "b": {"hash": "h"}},
    "none": None,
    "later": [1],
}


@pytest.mark.parametrize("changes", [{}, {"size": 3}], ids=["without an option", "with an option"])
def test_an_object(tmp_path, changes):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT | changes))
    assert read_object(path, SCHEMA) == CONTENT | changes


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": 3}, "'name' is 3, expected a text"),
        ({"size": 3.0}, "'size' is 3.0, expected a whole number"),
        ({"size": None}, "'size' is None, expected a whole number"),
        ({"share": "1"}, "'share' is '1', expected a number"),
        ({"share": True}, "'share' is True, expected a number"),
        ({"share": math.nan}, "'share' is nan, expected a number"),
        ({"on": 1}, "'on' is 1, expected true or false"),
        ({"parts": {}}, "'parts' is {}, expected a list"),
        ({"parts": [{"id": 1}, 5]}, "'parts[1]' is 5, expected an object"),
        ({"parts": [{"id": "1"}]}, "'parts[0].id' is '1', expected a whole number"),
        ({"any": {"b": {}}}, "'any.b.hash' is missing"),
        ({"any": []}, "'any' is [], expected an object"),
        ({"none": 2}, "'none' is 2, expected a text or null"),
    ],
    ids=str,
)
def test_an_object_that_is_no_such(tmp_path, changes, line):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT | changes))
    with pytest.raises(CulnigError, match=rf"a\.json is damaged \({re.escape(line)}\): mend it"):
        read_object(path, SCHEMA, remedy="mend it")


@pytest.mark.parametrize("content", [None, [], 5, "x"])
def test_no_object(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(CulnigError, match=r"it is .*, expected an object\): delete it"):
        read_object(tmp_path / "a.json", SCHEMA)


@pytest.mark.parametrize("text", [100_000 * "[", "1" * 5000, '{"a": }', ""])
def test_no_json(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CulnigError, match=r"a\.json is not valid JSON: ") as caught:
        read_object(tmp_path / "a.json", SCHEMA)
    assert "\n" not in str(caught.value)
