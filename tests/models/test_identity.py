"""A model by its content: what changes its hash, and what does not."""

import json
import os
import shutil
import time
import warnings

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from culnig_tl import load_model
from culnig_tl.models import identity
from culnig_tl.models.description import describe_model
from culnig_tl.models.identity import commit_of, files_hash, weights_in, weights_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny.byte_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "m")


def one_value(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.gate_proj.weight"][3, 5] += 1e-4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def swapped(folder):
    """The same bytes under each other's names."""
    tensors = load_file(folder / "model.safetensors")
    names = [f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 1)]
    tensors |= {a: tensors[b] for a, b in zip(names, reversed(names), strict=True)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def setting(name, key, value):
    def change(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {key: value}))

    return change


def as_bin(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def adapters(folder):
    (folder / "adapter_config.json").write_text("{}")


CHANGES = {
    "one value": one_value,
    "two tensors swapped": swapped,
    "rope": setting("config.json", "rope_theta", 5.0),
    "tokenizer": setting("tokenizer.json", "version", "2"),
    "end of generation": setting("generation_config.json", "eos_token_id", 7),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ 1 }}"),
    "code": lambda folder: (folder / "modeling_own.py").write_text("x = 1"),
    "another form": as_bin,
    "adapters": adapters,
    "cut": lambda folder: os.truncate(folder / "model.safetensors", 5000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_another_model(folder, saved, change):
    CHANGES[change](folder)
    assert weights_of(str(folder)) not in (None, weights_of(str(saved)))


def in_shards(folder):
    tensors = list(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    parts = {"b.safetensors": tensors[::2], "a.safetensors": tensors[1::2]}
    for name, part in parts.items():
        save_file(dict(part), folder / name)
    places = {tensor: name for name, part in parts.items() for tensor, _ in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


SAME = {
    "copied": lambda folder: None,
    "touched": lambda folder: os.utime(folder / "model.safetensors", (1, 1)),
    "spread over files": in_shards,
    "what a run writes": lambda folder: (folder / "run.json").write_text("{}"),
    "a note": lambda folder: (folder / "README.md").write_text("x"),
    "a file of scores": lambda folder: save_file({"s": torch.ones(1)}, folder / "s.safetensors"),
}


@pytest.mark.parametrize("change", SAME)
def test_what_is_the_same_model(folder, saved, change):
    SAME[change](folder)
    assert weights_of(str(folder)) == weights_of(str(saved))


def test_what_is_not_here(folder, tmp_path, monkeypatch):
    assert weights_of(str(tmp_path / "none")) is None
    assert weights_of("x" * 5000) is None
    assert commit_of("no such name/") is None
    (folder / "model.safetensors").unlink()
    assert weights_of(str(folder)) is None
    monkeypatch.setattr(identity, "embedded_is_here", lambda name: False)
    assert weights_of("gemma-3-270m") is None  # it is not converted for this


@pytest.mark.parametrize("part", ["first", "middle", "last"])
def test_other_weights_of_a_large_tensor_are_told_apart(tmp_path, part):
    """4 MiB, of which a quarter is looked at: a block that changes anywhere at its ends, or more
    than the gap between two blocks anywhere."""
    values = torch.zeros(2**20)
    save_file({"w": values}, tmp_path / "model.safetensors")
    before = weights_of(str(tmp_path))
    at = {"first": slice(0, 1), "middle": slice(500_000, 505_000), "last": slice(-1, None)}[part]
    values[at] = 1
    save_file({"w": values}, tmp_path / "model.safetensors")
    assert weights_of(str(tmp_path)) != before


def hub(tmp_path, monkeypatch, saved):
    """A local cache of the Hub with two commits of a model, `main` at the first."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    place = tmp_path / "models--us--tiny"
    commits = ["1" * 40, "2" * 40]
    for commit in commits:
        shutil.copytree(saved, place / "snapshots" / commit)
    one_value(place / "snapshots" / commits[1])
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commits[0])
    return place, commits


@pytest.fixture
def cached(saved, tmp_path, monkeypatch):
    """The Hub's cache with two commits of a model, and these."""
    return hub(tmp_path, monkeypatch, saved)


def test_two_commits_of_the_hub_have_other_weights(cached):
    _, commits = cached
    found = [weights_of("us/tiny", revision=commit) for commit in commits]
    assert None not in found
    assert found[0] != found[1]


def test_the_commit_of_the_hub_is_what_main_stands_for(cached):
    place, commits = cached
    for commit in commits:
        (place / "refs" / "main").write_text(commit)
        assert commit_of("us/tiny") == commit
        assert weights_of("us/tiny") == weights_of("us/tiny", revision=commit)


def test_main_of_the_hub_is_the_first_commit_at_first(cached):
    assert commit_of("us/tiny") == cached[1][0]


def test_a_tokenizer_of_the_hub_is_told_by_its_commit(cached):
    """Which of its files are in the cache does not matter."""
    place, commits = cached
    before = weights_of("us/tiny")
    (place / "snapshots" / commits[0] / "tokenizer_config.json").unlink()
    assert weights_of("us/tiny") == before


def test_weights_of_the_hub_that_are_not_in_the_cache(cached):
    place, commits = cached
    (place / "snapshots" / commits[0] / "model.safetensors").unlink()
    assert weights_of("us/tiny") is None
    assert commit_of("us/tiny") == commits[0]


@pytest.mark.model
@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_in_memory(kind):
    before = weights_in(tiny.hf_model(kind))
    assert weights_in(tiny.hf_model(kind)) == before
    assert weights_in(tiny.hf_model(kind, seed=1)) != before
    hf = tiny.hf_model(kind)
    with torch.no_grad():
        hf.model.norm.weight[3] += 1e-4
    assert weights_in(hf) != before
    assert weights_in(tiny.hf_model(kind), tokenizer=tiny.tokenizer()) != before
    assert weights_in(tiny.hf_model(kind, rms_norm_eps=1e-3)) != before


def test_adapters_in_memory():
    peft = pytest.importorskip("peft")
    # It asks under the name that transformers will drop.
    warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")
    before = weights_in(tiny.hf_model("llama"))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(tiny.hf_model("llama"), config).base_model.model
    first = weights_in(adapted)
    assert first != before
    layer = adapted.model.layers[0].self_attn.q_proj
    layer.scaling["default"] *= 2
    second = weights_in(adapted)
    assert second != first
    with torch.no_grad():
        layer.lora_B["default"].weight[0, 0] += 1
    assert weights_in(adapted) not in (first, second)


@pytest.mark.model
def test_a_loaded_model_says_what_its_files_say_in_any_dtype(saved):
    for dtype in ("float32", "bfloat16"):
        model = load_model(str(saved), model_class="TransformerBridge", dtype=dtype)
        assert describe_model(model)["weights"] == weights_of(str(saved))


@pytest.mark.model
@pytest.mark.parametrize("model_class", sorted({name for _, name in tiny.MODELS}))
def test_a_model_of_no_files_says_its_weights(model_class):
    found = [describe_model(tiny.model("llama", model_class, seed))["weights"] for seed in (0, 1)]
    assert found[0] == weights_in(tiny.hf_model("llama"), tokenizer=tiny.tokenizer())
    assert found[0] != found[1]


def test_folders_of_files(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.yaml").write_text("1")
    before = files_hash(tmp_path / "a")
    (tmp_path / "a" / "b" / "x.yaml").rename(tmp_path / "a" / "b" / "y.yaml")
    assert files_hash(tmp_path / "a") != before
    assert files_hash(tmp_path / "a" / "b" / "y.yaml") != before


def test_it_is_fast(tmp_path):
    """64 MiB: a sixty-fourth is read."""
    save_file({"w": torch.zeros(2**24)}, tmp_path / "model.safetensors")
    start = time.process_time()
    assert weights_of(str(tmp_path)) is not None
    assert time.process_time() - start < 0.2
