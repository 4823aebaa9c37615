import hashlib
import json
import stat
import sys

import pytest

from culnig_tl.errors import CulnigError
from culnig_tl.files import (
    package_versions,
    progress,
    read_json,
    sha256_of,
    write_atomically,
    write_json,
)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    for text in ("first", "second"):
        write_atomically(path, lambda temporary, t=text: temporary.write_text(t) and None)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_writer_gets_another_name_in_the_same_folder(tmp_path):
    path, seen = tmp_path / "a.safetensors", []
    path.write_text("old")

    def write(temporary):
        seen.append((temporary, path.read_text()))
        temporary.write_text("new")

    write_atomically(path, write)
    (temporary, during) = seen[0]
    assert temporary != path
    assert (temporary.parent, temporary.suffix) == (tmp_path, ".safetensors")
    assert during == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half of the n")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_writer_makes_no_file(tmp_path):
    def write(temporary):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_atomically(tmp_path / "a.txt", write)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    # Root may write anywhere, so the "folder" is a file.
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "deeper" / "a.json"):
        with pytest.raises(CulnigError, match=r"cannot write .*a\.json: .*; choose a folder"):
            write_json(path, {})
    assert (tmp_path / "file").read_text() == "x"


def test_json_round_trip(tmp_path):
    content = {"name": "España", "ids": [1, 2], "none": None}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "España" in text
    assert text.endswith("}\n")


def test_content_that_is_not_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {1, 2})
    assert read_json(tmp_path / "a.json") == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(
        CulnigError, match=r"cannot write .*a\.json: Is a directory; choose another"
    ):
        write_json(tmp_path / "a.json", [1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_read_json_of_no_file(tmp_path):
    with pytest.raises(CulnigError, match=r"no file .*gone\.json: check the path"):
        read_json(tmp_path / "gone.json")


def test_read_json_gives_the_line_of_the_damage(tmp_path):
    (tmp_path / "a.json").write_text('{\n "a": 1,\n "b": \n}')
    with pytest.raises(CulnigError, match=r"a\.json is not valid JSON: .*line 4") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_read_json_of_bytes_that_are_not_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        CulnigError, match=r"a\.json is not text in utf-16: byte 0x.* in line 1; save"
    ):
        read_json(tmp_path / "a.json")


def test_read_json_of_a_folder(tmp_path):
    with pytest.raises(CulnigError, match="cannot read .*irectory"):
        read_json(tmp_path)


def test_sha256_of_does_not_depend_on_the_order_of_keys():
    assert sha256_of({"b": 1, "a": "é"}) == sha256_of({"a": "é", "b": 1})
    assert sha256_of([1, 2]) != sha256_of([2, 1])
    assert sha256_of([1, "é"]) == hashlib.sha256('[1,"é"]'.encode()).hexdigest()


def test_package_versions_can_be_stored():
    versions = package_versions()
    assert versions["python"] == sys.version.split()[0]
    assert {"transformer-lens", "torch", "numpy"} < set(versions)
    assert versions["numpy"] != "not installed"
    assert json.loads(json.dumps(versions)) == versions


def test_progress_yields_everything_and_writes_nothing_to_standard_output(capsys):
    assert list(progress(["a", "b", "c"], "counting", 3)) == ["a", "b", "c"]
    assert list(progress(iter([7]), "counting", 1)) == [7]
    assert capsys.readouterr().out == ""
