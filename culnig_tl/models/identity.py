"""What a model is, by its content and not by its name: a fast hash of its weights and files.

A tensor or file of up to 1 MiB is hashed whole. Of a larger one so many blocks of 4 KiB are, spread
evenly over it: one for each MiB, at least 256. Other weights, trained ones or those of another
commit differ in every block; a change of a few rows of a very large matrix may be missed.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from culnig_tl.models.embedded import EMBEDDED, embedded_folder, embedded_is_here
from culnig_tl.provenance import sha256_of

WHOLE = 2**20
BLOCK = 4096
# Weights as transformers finds them: the first kind of which a folder holds a file. An index names
# the files over which they are spread.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ADAPTER = "adapter_config.json"
# What else of a folder says what its model does.
_TEXTS = (
    *("config.json", "generation_config.json", _ADAPTER, "*.py"),
    *("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "chat_template*"),
    *("special_tokens_map.json", "added_tokens.json", "additional_chat_templates/*"),
)
# Of a configuration in memory, what says nothing of the numbers, or is of its weights' dtype.
_NAMES = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def weights_of(name: str, *, revision: str | None = None) -> str | None:
    """A hash of what is loaded by a name: of the weights, of the configuration and the tokenizer.

    It does not depend on the dtype in which the model will be loaded, nor on how the weights are
    spread over files. A name on the Hub is looked up in the local cache, and stands there for the
    commit that was used last; tokenizers of the Hub are told apart by that commit.

    Returns:
        32 hexadecimal digits; None where the files are not all here (yet).
    """
    if name in EMBEDDED:
        return _of_folder(embedded_folder(name)) if embedded_is_here(name) else None
    if os.path.isdir(name):
        return _of_folder(Path(name))
    folder = _cached(name, revision)
    weights = None if folder is None else _weight_hashes(folder)
    if folder is None or weights is None:
        return None
    return _digest({"commit": folder.name, "weights": weights})


def commit_of(name: str, *, revision: str | None = None) -> str | None:
    """The commit on the Hub that stands for this name in the local cache; None for a folder."""
    if name in EMBEDDED or os.path.isdir(name):
        return None
    folder = _cached(name, revision)
    return None if folder is None else folder.name


def weights_in(model: Any, *, tokenizer: Any = None) -> str:
    """The same of a model in memory: its configuration, and every tensor by name, adapters too.

    Another number than `weights_of` the folder it came from, and it does depend on the dtype.
    """
    config: Any = getattr(model, "config", None)
    content = {
        "config": _without_names(config.to_dict()) if hasattr(config, "to_dict") else None,
        "tensors": {name: _tensor_hash(tensor) for name, tensor in model.state_dict().items()},
        # By how much adapters count, and which do.
        "adapters": {
            name: [sorted(module.scaling.items()), str(getattr(module, "active_adapters", ""))]
            for name, module in model.named_modules()
            if isinstance(getattr(module, "scaling", None), dict)
        },
        "tokenizer": _tokenizer(tokenizer),
    }
    return _digest(content)


def _tokenizer(tokenizer: Any) -> Any:
    """What a tokenizer does; not how it pads and truncates, which every call may set."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if hasattr(backend, "to_str"):
        # Those two stand before its tokens. As text: to parse a large vocabulary takes seconds.
        head, mark, tokens = backend.to_str().partition('"added_tokens"')
        about: Any = hashlib.sha256((tokens if mark else head).encode()).hexdigest()
    else:
        about = getattr(tokenizer, "get_vocab", dict)()
    return [about, getattr(tokenizer, "chat_template", None)]


def files_hash(path: Path) -> str:
    """A hash of a file, or of all files in a folder and below, by their names there."""
    if path.is_file():
        return _file_hash(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _digest({str(file.relative_to(path)): _file_hash(file) for file in files})


def _cached(name: str, revision: str | None) -> Path | None:
    """The folder of a commit in the Hub's local cache."""
    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:  # no name that the Hub could have
        return None
    return Path(config).parent if isinstance(config, str) else None


def _of_folder(folder: Path) -> str | None:
    try:
        weights = _weight_hashes(folder)
        texts = {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for pattern in _TEXTS
            for file in folder.glob(pattern)
            if file.is_file()
        }
    except OSError:
        return None
    if weights is None:
        return None
    return _digest({"weights": weights, "texts": texts, "adapted": _adapted(folder)})


def _adapted(folder: Path) -> str | None:
    """The model that a folder's adapters belong to."""
    try:
        about = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        return weights_of(str(about["base_model_name_or_path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _weight_hashes(folder: Path) -> dict[str, Any] | None:
    """By tensor, or by file where its tensors cannot be told apart; None if a file is missing."""
    found: dict[str, Any] = {}
    for file in _weight_files(folder):
        if not file.is_file():
            return None
        tensors = _safetensors(file) if file.suffix == ".safetensors" else None
        found |= {file.name: _file_hash(file)} if tensors is None else tensors
    return found or None


def _weight_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if fnmatch(file.name, "adapter_model.*")]
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return sorted([*files, folder / name])
        if index.is_file():
            try:
                shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                return sorted([*files, *(folder / str(shard) for shard in set(shards))])
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return sorted([*files, index])  # broken: the loader says how
    # In another form: whatever may be weights.
    forms = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth")
    return sorted({*files, *(file for form in forms for file in folder.glob(form))})


def _safetensors(file: Path) -> dict[str, Any] | None:
    """By tensor: dtype, shape, a hash of its bytes; None if the file is not what it says."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        if start > size:
            return None
        try:
            header = json.loads(opened.read(start - 8))
            tensors = {
                name: (about["dtype"], about["shape"], *map(int, about["data_offsets"]))
                for name, about in header.items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if any(not 0 <= first <= end <= size - start for *_, first, end in tensors.values()):
            return None
        return {
            name: [dtype, shape, _blocks_hash(opened, start + first, end - first)]
            for name, (dtype, shape, first, end) in tensors.items()
        }


def _file_hash(file: Path) -> str:
    with file.open("rb") as opened:
        return _blocks_hash(opened, 0, file.stat().st_size)


def _blocks_hash(opened: Any, start: int, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    for first, end in _blocks(size, BLOCK):
        opened.seek(start + first)
        digest.update(opened.read(end - first))
    return digest.hexdigest()


def _tensor_hash(tensor: Any) -> list[Any]:
    import torch

    about = [str(tensor.dtype), list(tensor.shape)]
    if tensor.is_meta:
        return [*about, None]
    flat = tensor.detach().reshape(-1)
    blocks = list(_blocks(flat.numel() * flat.element_size(), BLOCK, item=flat.element_size()))
    taken = torch.cat([flat[first:end] for first, end in blocks]).cpu().contiguous()
    return [*about, hashlib.sha256(taken.view(torch.uint8).numpy().tobytes()).hexdigest()]


def _blocks(size: int, block: int, *, item: int = 1) -> Iterator[tuple[int, int]]:
    """Where the blocks of `size` bytes begin and end, in items of so many bytes."""
    if size <= WHOLE:
        yield 0, size // item
        return
    count, length, items = max(256, size >> 20), block // item, size // item
    for number in range(count):
        first = number * (items - length) // (count - 1)
        yield first, first + length


def _without_names(config: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        key: _without_names(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _NAMES
    }


def _digest(content: Any) -> str:
    return sha256_of(json.loads(json.dumps(content, default=str)))[:32]
