"""A model spread over devices: real numbers with all parts on the CPU, places with pretended ones."""

import json
import subprocess
import sys
from pathlib import Path

import accelerate
import numpy as np
import pandas as pd
import pytest
import tiny
from command import culnig

from culnig_tl import CulnigError, attribute, evaluate, wrap_model
from culnig_tl.models import loading
from culnig_tl.models.classes import HookedTransformer
from culnig_tl.models.loading import load_hf_model


@pytest.mark.model
def test_each_layer_is_scored_where_it_is():
    """An operation on tensors of two devices would have been an error there."""
    script, kinds = Path(tiny.__file__).with_name("two_devices.py"), ("llama", "gemma3")
    done = subprocess.run(
        [sys.executable, script, *kinds], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert tuple(found) == kinds
    for places in found.values():
        check_places(places)


def check_places(places):
    assert places["layers"] == places["sums"] == ["pretend:0", "pretend:0", "pretend:1"]
    assert places["found"] == {
        f"{layer} {site}": f"pretend:{int(layer == 2)}"
        for layer in range(3)
        for site in ("q", "k", "v", "gate")
    }


@pytest.mark.model
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_a_dispatched_model_gives_the_same_numbers(kind):
    whole, hf = tiny.bridge(kind), tiny.hf_model(kind)
    parts = dict.fromkeys(
        ("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"), "cpu"
    )
    parts |= {f"model.layers.{layer}": "cpu" for layer in range(3)}
    accelerate.dispatch_model(hf, parts, force_hooks=True)
    spread = wrap_model(hf, tiny.tokenizer(), name=f"tiny-{kind}")
    instances = tiny.instances(9)
    expected, found = (
        attribute(model, instances, answer_format="cloze").sums for model in (whole, spread)
    )
    assert np.abs(expected - found).max() <= 1e-6 * np.abs(expected).max()
    frames = [evaluate(model, instances, answer_format="cloze") for model in (whole, spread)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-5)
    if HookedTransformer is not None:
        with pytest.raises(CulnigError, match="not spread over several devices here: use model_c"):
            wrap_model(hf, tiny.tokenizer(), name=f"tiny-{kind}", model_class="HookedTransformer")


def test_the_devices_that_transformers_is_given(monkeypatch):
    given, hf = {}, tiny.hf_model("llama")

    def from_pretrained(source, **options):
        given.update(options)
        return hf, {}  # and nothing is missing

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", lambda *a, **k: "tokenizer")
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda gpu: (100 + gpu, 999))
    load_hf_model("some", devices=2)
    assert given["device_map"] == "balanced"
    assert given["max_memory"] == {0: 100, 1: 101}
    # The second of two processes on this machine takes the next two.
    for name, value in {
        "MASTER_ADDR": "x",
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_RANK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    load_hf_model("some", devices=2)
    assert given["max_memory"] == {2: 102, 3: 103}
    with pytest.raises(
        CulnigError, match="devices is 3, and this machine has 5 GPUs, 3 of them for the processes"
    ):
        load_hf_model("some", devices=3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--devices", "2"), "devices is 2, and this machine has 0 GPUs: give fewer devices"),
        (("--devices", "0"), "devices is 0: give 1 or more"),
        (("--devices", "2", "--device", "cpu"), "device 'cpu' and devices 2: give one of them"),
        (
            ("--devices", "2", "--model-class", "HookedTransformer"),
            "a HookedTransformer is not spread over several devices here: use model_class=",
        ),
    ],
)
def test_mistakes_are_one_line(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    code, _, error = culnig(monkeypatch, capsys, "score", "--out", "s.safetensors", *arguments)
    assert code == 1
    assert words in " ".join(error.split())
