"""One run shared by two processes, as torchrun starts them: the same numbers, and none is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from command import SMALL_RUN, culnig
from tiny import TEXTS

from culnig_tl import CulnigError, Scores, activation_shares, attribute, evaluate, perplexity
from culnig_tl.files import read_json
from culnig_tl.measure import attribution
from culnig_tl.models.sums import add_batches, remove_checkpoint
from culnig_tl.neurons.lape import ActivationShares
from culnig_tl.processes import my_share, process_count, process_rank
from culnig_tl.provenance import sha256_of
from culnig_tl.tensors import read_tensors, write_tensors

TESTS = str(Path(__file__).parent)
SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
import tiny
from tiny import TEXTS
import culnig_tl.measure.attribution as a
from culnig_tl import activation_shares, attribute, evaluate, perplexity
from culnig_tl.files import write_json
from culnig_tl.analysis.evaluations import write_evaluation
from pathlib import Path
out = Path({out!r})
real = a.score_batch
def slow(*args, **kwargs):
    time.sleep({pause})
    return real(*args, **kwargs)
a.score_batch = slow
(out / ("pid" + os.environ["RANK"])).write_text(str(os.getpid()))
model = tiny.bridge("llama")
scores = attribute(model, tiny.different(41), token_budget=40, checkpoint=out / "c",
                   checkpoint_seconds=0)
scores.save(out / "scores.safetensors")
activation_shares(model, TEXTS, context=4, token_budget=8).save(out / "shares.safetensors")
write_json(out / "perplexity.json", perplexity(model, TEXTS, context=4, token_budget=8)["nats"].to_dict())
write_evaluation(evaluate(model, tiny.different(41), token_budget=40), out / "evaluation.csv")
"""


def torchrun(*arguments):
    """The command; with one thread each, as two processes have the machine together."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        *map(str, arguments),
    ]  # fmt: skip


def script(out, pause=0.0):
    out.mkdir()
    file = out / "script.py"
    file.write_text(SCRIPT.format(tests=TESTS, out=str(out), pause=pause))
    return torchrun(file)


def close(found, expected):
    """Equal within 1e-6 of the largest: sums in another order."""
    return np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.fixture(scope="module")
def alone():
    return attribute(tiny.bridge("llama"), tiny.different(41), token_budget=40)


@pytest.mark.model
def test_two_processes_find_what_one_finds(tmp_path, alone):
    out = tmp_path / "two"
    done = subprocess.run(script(out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    model, instances = tiny.bridge("llama"), tiny.different(41)
    scores = Scores.load(out / "scores.safetensors")
    assert close(scores.sums, alone.sums)
    assert scores.instances == alone.instances
    shares = ActivationShares.load(out / "shares.safetensors")
    assert np.array_equal(
        shares.active, activation_shares(model, TEXTS, context=4, token_budget=8).active
    )
    nats = perplexity(model, TEXTS, context=4, token_budget=8)["nats"].to_dict()
    assert read_json(out / "perplexity.json") == pytest.approx(nats, rel=1e-5)
    frame = pd.read_csv(out / "evaluation.csv", keep_default_na=False)
    expected = evaluate(model, instances, token_budget=40)
    assert list(frame["id"]) == list(expected["id"])
    assert list(frame["predicted"]) == list(expected["predicted"])
    assert np.allclose(frame["probability"], expected["probability"], rtol=1e-5)
    # Each had its part, and the two together all of it.
    parts = [read_tensors(out / name, "culnig_tl checkpoint, version 4") for name in ("c", "c.1")]
    rows = [set(tensors.pop("done").tolist()) for tensors, _ in parts]
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == set(range(41))
    names = sorted(name for name in parts[0][0] if name.startswith("layer "))
    layers = [sum(tensors[name] for tensors, _ in parts) for name in names]
    targets, variants, countries, _ = alone.sums.shape
    columns = np.concatenate(layers, axis=-1)[:, : 2 * targets * countries]
    halves = columns.reshape(variants, targets, 2, countries, -1)
    assert close(halves.sum(axis=2).swapaxes(0, 1).astype(np.float32), alone.sums)
    # What both had done is not done again by one, which then has one checkpoint.
    resumed = attribute(model, instances, token_budget=40, checkpoint=out / "c")
    assert close(resumed.sums, alone.sums)
    assert not (out / "c.1").exists()
    remove_checkpoint(out / "c")
    assert not (out / "c").exists()


def test_a_process_that_dies_ends_the_run_and_loses_nothing(tmp_path, alone):
    out = tmp_path / "dies"
    run = subprocess.Popen(script(out, 0.4), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (out / "c.1").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.kill(int((out / "pid1").read_text()), signal.SIGKILL)
    killed = time.monotonic()
    _, said = run.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert run.returncode != 0
    assert "SIGKILL" in said
    assert not (out / "scores.safetensors").exists()
    kept = sum(
        len(read_tensors(out / name, "culnig_tl checkpoint, version 4")[0]["done"])
        for name in ("c", "c.1")
        if (out / name).exists()
    )
    assert 0 < kept < 41
    scored = []
    with pytest.MonkeyPatch.context() as patch:
        real = attribution.score_batch
        patch.setattr(
            attribution,
            "score_batch",
            lambda m, p, *a, **k: scored.extend(p) or real(m, p, *a, **k),
        )
        resumed = attribute(
            tiny.bridge("llama"), tiny.different(41), token_budget=40, checkpoint=out / "c"
        )
    assert len(scored) + kept == 41
    assert close(resumed.sums, alone.sums)


@pytest.mark.slow  # its parts are tested above
def test_a_study_in_two_processes(monkeypatch, capsys, tmp_path):
    folder = tiny.byte_model(tmp_path / "tiny")
    small = ["--model", folder, *SMALL_RUN]
    code, _, error = culnig(monkeypatch, capsys, "run", "--out", tmp_path / "one", *small)
    assert code == 0, error
    command = torchrun("-m", "--", "culnig_tl", "run", "--out", tmp_path / "two", *small)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("masked: culture-general neurons") == 1  # the first speaks for both
    for name in ("sets.csv", "table.csv"):
        frames = [pd.read_csv(tmp_path / run / name, index_col=0) for run in ("one", "two")]
        pd.testing.assert_frame_equal(*frames, rtol=1e-4)
    assert (tmp_path / "two" / "report.html").exists()
    assert not list((tmp_path / "two" / "scores").glob("*.checkpoint*"))
    # Commands on the finished run: torchrun would take --run for its own but for the "--" above.
    precision = ["precision", "--dtypes", "bfloat16", "--run"]
    command = torchrun("-m", "--", "culnig_tl", *precision, tmp_path / "two")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("culture-general") == 1
    code, _, error = culnig(monkeypatch, capsys, *precision, tmp_path / "one")
    assert code == 0, error
    frames = [pd.read_csv(tmp_path / run / "precision" / "table.csv") for run in ("one", "two")]
    pd.testing.assert_frame_equal(*frames, rtol=1e-3)


def test_shares_are_fair_and_whole(monkeypatch):
    costs = [9, 7, 5, 5, 4, 3, 3, 1]
    assert my_share(costs) == list(range(8))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        assert (process_rank(), process_count()) == (rank, 3)
        parts.append(my_share(costs))
    assert sorted(n for part in parts for n in part) == list(range(8))
    loads = [sum(costs[n] for n in part) for part in parts]
    assert max(loads) - min(loads) <= 3
    monkeypatch.delenv("MASTER_ADDR")  # a batch system sets WORLD_SIZE too
    assert (process_rank(), process_count()) == (0, 1)


def test_a_checkpoint_that_was_being_put_together_counts_once(tmp_path):
    path = tmp_path / "c"

    def save(file, done, value):
        about = {"format": "culnig_tl checkpoint, version 4", "run": sha256_of("r")}
        write_tensors(file, {"x": np.full(2, value), "done": np.array(done)}, about)

    save(path, [0, 1, 2], 111.0)  # the first has the second's already
    save(tmp_path / "c.1", [1], 10.0)
    sums = torch.zeros(2, dtype=torch.float64)
    added = []
    for rows, found in add_batches(
        [1] * 4,
        9,
        work=lambda rows: 10.0**4,
        sums={"x": sums},
        made_from="r",
        what="Test",
        checkpoint=path,
    ):
        added += rows
        sums += found
    assert added == [3]
    assert sums.tolist() == [10111.0] * 2
    assert not (tmp_path / "c.1").exists()
    with pytest.raises(CulnigError, match="belongs to another run: .*delete it or name another"):
        next(
            add_batches(
                [1],
                9,
                work=lambda rows: 1.0,
                sums={"x": sums},
                made_from="other",
                what="Test",
                checkpoint=path,
            )
        )
