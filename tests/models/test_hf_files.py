"""Every way in which a model's folder can be broken is one line; a processor's files are kept."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import tiny
import transformers

from culnig_tl import CulnigError, load_hf_model, neuron_layout
from culnig_tl.models.hf_files import check_model_files, copy_processor_files
from culnig_tl.models.hub import hub_errors
from culnig_tl.models.loading import save_hf_model
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.training.weights import scale_weights

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123456\n"
POINTER = "is a Git LFS pointer, not the file itself: run 'git lfs pull' in its folder"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Path(tiny.byte_model(tmp_path_factory.mktemp("sound")))


@pytest.fixture
def folder(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CulnigError, match=message) as caught:
        load_hf_model(str(folder))
    assert "\n" not in str(caught.value)
    assert folder.name in str(caught.value)


JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "adapter_config.json",
    INDEX,
)


@pytest.mark.parametrize("name", JSON_FILES)
def test_broken_json(folder, name):
    if name == INDEX:
        (folder / "model.safetensors").unlink()
    for content, message in (
        (LFS, "Git LFS pointer, not the file itself: run 'git lfs pull'"),
        (b"", "is not valid JSON: it is empty; mend or replace"),
        (b"{", "is not valid JSON: .*line 1"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "is not a JSON object: get it again"),
        (b"null", "is not a JSON object: get it again"),
        (b'{"a": "caf\xe9"}', "is not text in utf-8: byte 0xe9 in line 1"),
        (b'\xef\xbb\xbf{"a": 1}', "begins with a byte-order mark: save it as UTF-8 without one"),
        (b"\x1f\x8bx", "is compressed"),
    ):
        (folder / name).write_bytes(content)
        refused(folder, f"{name} .*{message}")
        if name == "config.json":
            with pytest.raises(CulnigError, match=message):
                neuron_layout(str(folder))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", None, "its config.json or weights cannot be used.*model type `None`"),
        ("model_type", "foo", "its config.json or .* cannot be used.*model type `foo`"),
        ("model_type", 3, "its config.json or .* cannot be used.*model type `3`"),
        ("hidden_size", 64, "has in another shape .*: it is damaged or does not belong"),
        ("vocab_size", 100, "has in another shape .*: it is damaged or does not belong"),
        ("num_attention_heads", 0, "its config.json or .* cannot be used; get the folder again"),
        ("num_attention_heads", "four", "expected int, got str"),
        ("num_attention_heads", 3, r"hidden size \(32\) is not a multiple"),
        ("hidden_act", "foo", "its config.json or weights cannot be used.*foo"),
        ("rope_parameters", {"rope_type": "foo"}, "its config.json or weights cannot be used.*foo"),
        ("layer_types", ["foo"], "its config.json or .* cannot be used.*layer_types"),
        ("dtype", "foo", "its config.json or .* cannot be used.*foo"),
    ],
)
def test_configurations_that_say_nonsense(folder, key, value, message):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {key: value}))
    refused(folder, rf"model':? .*{message}")


def test_broken_weights(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    for changed, message in (
        (LFS, POINTER),
        (b"", "is empty: get it again"),
        (content[:4], "is cut off: 4 bytes of .* or more; get it again"),
        (content[:100], f"is cut off: 100 bytes of {8 + header} or more"),
        (content[:-1], f"is cut off: {len(content) - 1} bytes of {len(content)} or more; get"),
        (b"x" * 1000, "is no safetensors file: get it again"),
        (b"<html>" * 100, "is no safetensors file"),
        (content[:8] + b"{" * header + content[8 + header :], "has a damaged header"),
        (content[:8] + b'{"a": {}}'.ljust(header) + content[8 + header :], "has a damaged header"),
    ):
        path.write_bytes(changed)
        refused(folder, f"{path.name} {message}")
    path.unlink()
    refused(folder, r"has no weights \(model\.safetensors\): get them, too")
    path.mkdir()
    refused(folder, r"has no weights \(model\.safetensors\)")


def test_broken_shards(folder):
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    weights = (folder / "model.safetensors").rename(folder / first)
    shards = {"model.embed_tokens.weight": first, "lm_head.weight": second}
    index = folder / INDEX
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    refused(folder, f"lacks {second}, which {INDEX} names: get the missing file")
    (folder / second).write_bytes(LFS)
    refused(folder, f"{second} {POINTER}")
    shutil.copyfile(weights, folder / second)
    weights.write_bytes(weights.read_bytes()[:-7])
    refused(folder, f"{first} is cut off")
    for content in ("{}", '{"weight_map": []}', '{"weight_map": {}}'):
        index.write_text(content)
        refused(folder, f"{INDEX} has no 'weight_map': get it again")


def test_broken_pickles(folder):
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    for content, message in (
        (LFS, f"bin {POINTER}"),
        (b"", "bin is empty: get it again"),
        (pickle.dumps(print, protocol=2), "its weights are no plain tensors: take safetensors"),
        (b"garbage", "cannot load model .*: its (weights are no plain tensors|config.json or wei)"),
        (b"PK\x03\x04", "cannot load model .*: its (weights are no plain|config.json or weights)"),
    ):
        path.write_bytes(content)
        refused(folder, message)


def test_sound_pickles_are_read(folder):
    import torch

    model, _ = load_hf_model(str(folder))
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")  # a zip file
    again, _ = load_hf_model(str(folder))
    torch.testing.assert_close(again.state_dict(), model.state_dict())


def test_broken_tokenizers(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    for changed, message in (
        (LFS, f"tokenizer.json {POINTER}"),
        (b"", "tokenizer.json is empty: get it again"),
        (b"{", "its config.json or tokenizer cannot be used; get the folder again"),
        (b"[]", "its config.json or tokenizer cannot be used"),
        (json.dumps(content | {"model": {"type": "Foo"}}).encode(), "or tokenizer cannot be used"),
    ):
        path.write_bytes(changed)
        refused(folder, message)
    path.unlink()
    refused(folder, "its config.json or tokenizer cannot be used")
    (folder / "tokenizer.model").write_bytes(LFS)
    refused(folder, f"tokenizer.model {POINTER}")


def test_what_is_not_read_may_be_broken(folder):
    # As after a clone that took only some of the large files.
    for name in ("pytorch_model.bin", "consolidated.safetensors", "tokenizer.model", "notes.json"):
        (folder / name).write_bytes(LFS)
    load_hf_model(str(folder))


def test_folders_and_files_that_are_no_model(folder, tmp_path):
    (tmp_path / "empty-model").mkdir()
    refused(tmp_path / "empty-model", "has no config.json: give the folder of a Hugging Face model")
    with pytest.raises(CulnigError, match="has no config.json"):
        neuron_layout(tmp_path / "empty-model")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refused(tmp_path / "model.gguf", "it is a file: give the folder of a Hugging Face model")
    refused(folder / "config.json" / "x" / "model", "check the spelling")
    with pytest.raises(CulnigError, match=f"'{'x' * 200}...': check the spelling"):
        load_hf_model("x" * 300)
    shutil.rmtree(folder / "config.json", ignore_errors=True)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    refused(folder, "cannot read .*config.json: Is a directory")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("We couldn't connect to the Hub"), "check the network, or use a local folder"),
        (OSError("a gated repo"), "accept its terms on the Hub and log in"),
        (ValueError("set trust_remote_code=True"), "pass trust_remote_code"),
        (RuntimeError("[enforce fail] can't allocate memory"), "it needs more memory than there"),
        (
            Exception("Error while deserializing header"),
            "a file of it in the Hub's cache is damaged: delete",
        ),
        (KeyError("x"), r"check the spelling; .*\(KeyError: 'x'\)"),
        (RecursionError("deep\nstack"), "check the spelling"),
    ],
)
def test_any_exception_is_one_line(error, message):
    with (
        pytest.raises(CulnigError, match=f"cannot load model 'a/b': {message}") as caught,
        hub_errors("a/b"),
    ):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(KeyboardInterrupt), hub_errors("a/b"):
        raise KeyboardInterrupt


# A multimodal model's processor

PROCESSOR = {
    "preprocessor_config.json": {"image_processor_type": "Gemma3ImageProcessor", "size": {}},
    "processor_config.json": {"processor_class": "Gemma3Processor", "image_seq_length": 4},
    "chat_template.json": {"chat_template": "{{ messages }}"},
}


def multimodal(folder: Path) -> Path:
    config = transformers.Gemma3Config(
        text_config=tiny.config("gemma3").to_dict(),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
        },
        mm_tokens_per_image=4,
    )
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    for name, content in PROCESSOR.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.model
def test_a_multimodal_export_loads_as_the_original(tmp_path):
    folder, to = multimodal(tmp_path / "model"), tmp_path / "exported"
    model, tokenizer = load_hf_model(str(folder))
    chosen = [Neuron(1, "gate", 7), Neuron(0, "v", 3)]
    scale_weights(model, NeuronSet.of(neuron_layout(model.config), chosen), factor=0.0)
    save_hf_model(model, tokenizer, to)
    assert copy_processor_files(model, to) == [
        "processor_config.json",
        "preprocessor_config.json",
        "chat_template.json",
    ]
    for name in PROCESSOR:
        assert (to / name).read_bytes() == (folder / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in to.iterdir()}
    loaded = transformers.Gemma3ForConditionalGeneration.from_pretrained(to)
    weights = loaded.model.language_model.layers[1].mlp.gate_proj.weight
    assert weights[7].abs().max() == 0
    assert weights[6].abs().max() > 0
    before, after = (transformers.AutoConfig.from_pretrained(x) for x in (folder, to))
    assert after.architectures == before.architectures == ["Gemma3ForConditionalGeneration"]
    assert after.vision_config.hidden_size == before.vision_config.hidden_size
    assert copy_processor_files(model, to) == []  # they are there


def test_processor_files_of_a_text_model_and_of_one_in_memory(folder, tmp_path):
    (folder / "preprocessor_config.json").write_text("{}")
    model, _ = load_hf_model(str(folder))
    assert copy_processor_files(model, tmp_path) == []
    in_memory, _ = load_hf_model(str(multimodal(tmp_path / "multimodal")))
    in_memory.config.name_or_path = ""
    assert copy_processor_files(in_memory, tmp_path) == []


def test_processor_files_of_the_hub(tmp_path, monkeypatch):
    folder = multimodal(tmp_path / "model")
    model, _ = load_hf_model(str(folder))
    model.config.name_or_path, model.config._commit_hash = "some/model", "abc"
    asked = []

    def download(name, file, revision=None):
        asked.append((name, file, revision))
        if not (folder / file).exists():
            raise OSError(f"404: no {file}")
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    (tmp_path / "to").mkdir()
    assert set(copy_processor_files(model, tmp_path / "to")) == set(PROCESSOR)
    assert ("some/model", "preprocessor_config.json", "abc") in asked


def test_a_folder_that_cannot_be_written(tmp_path):
    model, _ = load_hf_model(str(multimodal(tmp_path / "model")))
    with pytest.raises(CulnigError, match="cannot write .*; choose another folder or make room"):
        copy_processor_files(model, tmp_path / "gone")


def test_the_check_alone(folder):
    check_model_files(folder)
    (folder / "model.safetensors").unlink()
    check_model_files(folder, weights=False)  # a configuration is enough to count neurons
    assert neuron_layout(folder).n_layers == 3
