import errno
import hashlib
import json
import os
import stat
import sys

import pyarrow
import pytest
from safetensors import SafetensorError

from culnig_tl.errors import CulnigError
from culnig_tl.files import new_folder, read_json, write_atomically, write_json
from culnig_tl.paths import try_writing
from culnig_tl.progress import progress
from culnig_tl.provenance import package_versions, sha256_of


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


FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError("Write out failed: No space left on device"),  # pyarrow, without a number
    pyarrow.ArrowException("IOError: [Errno 28] Error writing bytes: No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
    RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    OSError(errno.EROFS, os.strerror(errno.EROFS)),
]


def fill_a_file(folder, write):
    write_atomically(folder / "a", write)


def fill_a_folder(folder, write):
    with new_folder(folder / "model") as half:
        write(half / "model.safetensors")


@pytest.mark.parametrize("fill", [fill_a_file, fill_a_folder])
@pytest.mark.parametrize("error", FULL, ids=range(len(FULL)))
def test_a_full_disk_is_one_line(tmp_path, error, fill):
    def write(temporary):
        temporary.write_text("half of it")
        raise error

    (tmp_path / "a").write_text("old")
    with pytest.raises(CulnigError, match=r"cannot write .*; choose another .* make room") as e:
        fill(tmp_path, write)
    assert "\n" not in str(e.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("error", [SafetensorError("no such dtype"), RuntimeError("a bug")])
def test_other_errors_are_not_the_disks(tmp_path, error):
    def write(temporary):
        raise error

    with pytest.raises(type(error), match=str(error)):
        write_atomically(tmp_path / "a", write)


@pytest.mark.parametrize(
    "ask", [lambda path: write_json(path, {}), try_writing], ids=["writing", "trying to"]
)
@pytest.mark.parametrize("name", ["pipe", "/dev/null"])
def test_devices_and_pipes_are_not_replaced(tmp_path, ask, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CulnigError, match="it is a device or a pipe; choose another name"):
        ask(tmp_path / name)


@pytest.fixture
def to(tmp_path):
    """Where a new folder may be; something of the user's lies beside it."""
    (tmp_path / "deep" / ".git").mkdir(parents=True)
    (tmp_path / "deep" / ".git" / "HEAD").write_text("mine")
    return tmp_path / "deep" / "git"


def test_a_new_folder_that_was_interrupted_is_not_there(to):
    with pytest.raises(KeyboardInterrupt), new_folder(to) as half:  # noqa: PT012
        (half / "a").write_text("x")
        raise KeyboardInterrupt
    assert [path.name for path in to.parent.iterdir()] == [".git"]


def test_a_new_folder_may_be_entered(to):
    with new_folder(to) as half:
        (half / "a").write_text("1")
    assert [path.name for path in to.iterdir()] == ["a"]
    assert stat.S_IMODE(to.stat().st_mode) & stat.S_IXUSR


def test_a_new_folder_does_not_replace_one(to):
    to.mkdir()
    with pytest.raises(CulnigError, match="git is there already"), new_folder(to):
        pass


def test_a_new_folder_replaces_one_where_it_is_asked(to):
    with new_folder(to) as half:
        (half / "a").write_text("1")
    with new_folder(to, replace=True) as half:
        (half / "b").write_text("2")
    assert [path.name for path in to.iterdir()] == ["b"]
    assert sorted(path.name for path in to.parent.iterdir()) == [".git", "git"]
