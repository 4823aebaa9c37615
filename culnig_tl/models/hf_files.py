"""The files of a Hugging Face folder: whether they can be read at all, and a processor's."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_bytes, read_json

_INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"
ADAPTERS = "adapter_config.json"
_JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    ADAPTERS,
)
# The words of a tokenizer, in the order in which they are looked for.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


_TOKENIZERS += ("vocab.json", "vocab.txt", "tekken.json", "tiktoken.model")


_LARGEST_HEADER = 100_000_000  # of safetensors
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)


def check_model_files(folder: Path, *, weights: bool = True) -> None:
    """Refuse a model's folder with a file that cannot be read, and name it.

    transformers has an exception of its own for each fault, and takes some without a word. Only
    the files that it reads are looked at, of the weights their headers and sizes.

    Args:
        weights: False looks at config.json alone.

    Raises:
        CulnigError: a file is a Git LFS pointer, empty, cut off or no JSON, or one is missing.
    """
    if not (folder / "config.json").exists() and not (folder / ADAPTERS).exists():
        raise CulnigError(f"{folder} has no config.json: give the folder of a Hugging Face model")
    for name in _JSON_FILES if weights else ("config.json",):
        if (folder / name).exists():
            json_object(folder / name)
    if not weights:
        return
    words = [folder / name for name in _TOKENIZERS if (folder / name).exists()]
    if words and not read_bytes(words[0], most=200):
        raise CulnigError(f"{words[0]} is empty: get it again")
    if (folder / "config.json").exists():  # else it is an adapter, and the weights are elsewhere
        for file in _weight_files(folder):
            _check_weights(file)


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file of a model's folder.

    Raises:
        CulnigError: it cannot be read, or holds something else than an object.
    """
    if read_bytes(path, most=3) == b"\xef\xbb\xbf":
        raise CulnigError(f"{path} begins with a byte-order mark: save it as UTF-8 without one")
    content = read_json(path)
    if not isinstance(content, dict):
        raise CulnigError(f"{path} is not a JSON object: get it again")
    return content


def _weight_files(folder: Path) -> list[Path]:
    """Those that transformers reads: one file before several, safetensors before pickles."""
    for single, index in (("model.safetensors", _INDEX), ("pytorch_model.bin", _BIN_INDEX)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = json_object(folder / index).get("weight_map")
            if not isinstance(shards, dict) or not shards:
                raise CulnigError(f"{folder / index} has no 'weight_map': get it again")
            files = [folder / str(name) for name in dict.fromkeys(shards.values())]
            gone = [file for file in files if not file.is_file()]
            if gone:
                raise CulnigError(
                    f"{folder} lacks {gone[0].name}, which {index} names: get the missing file"
                )
            return files
    raise CulnigError(f"{folder} has no weights (model.safetensors): get them, too")


def _check_weights(path: Path) -> None:
    head = read_bytes(path, most=200)
    size = path.stat().st_size
    if size == 0:
        raise CulnigError(f"{path} is empty: get it again")
    if path.suffix != ".safetensors":
        return
    length = int.from_bytes(head[:8], "little")
    if length > _LARGEST_HEADER or (len(head) > 8 and head[8:9] != b"{"):
        raise CulnigError(f"{path} is no safetensors file: get it again")
    needed = 8 + length
    if needed <= size:
        try:
            header = json.loads(read_bytes(path, most=needed)[8:])
            ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key[:2] != "__"]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise CulnigError(f"{path} has a damaged header: get it again") from error
        needed += max(ends, default=0)
    if needed > size:
        raise CulnigError(f"{path} is cut off: {size} bytes of {needed} or more; get it again")


def copy_processor_files(hf_model: Any, to: Path) -> list[str]:
    """Copy what a multimodal model's processor needs into the folder `to`, where it was saved.

    A model and its tokenizer are saved without it, and what is saved is to load as the original.
    Files come from the folder that the model was loaded from, or from the Hub; what is in `to`
    already is left as it is.

    Returns:
        The names of the files that were copied: none for a model of text alone.

    Raises:
        CulnigError: the folder cannot be written.
    """
    config, copied = hf_model.config, []
    if config.get_text_config() is config or not config.name_or_path:
        return []
    for file in PROCESSOR_FILES:
        source = _file_of(config.name_or_path, getattr(config, "_commit_hash", None), file)
        if source is None or (to / file).exists():
            continue
        try:
            shutil.copyfile(source, to / file)
        except OSError as error:
            raise CulnigError(
                f"cannot write {to / file}: {error.strerror}; choose another folder or make room"
            ) from error
        copied.append(file)
    return copied


def _file_of(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a local folder, or of a model on the Hub: from the cache, else downloaded."""
    if os.path.isdir(name):
        return path if (path := Path(name) / file).is_file() else None
    import huggingface_hub  # not needed for a local model

    try:
        return Path(huggingface_hub.hf_hub_download(name, file, revision=revision))
    except Exception:  # it has no such file, or there is no network: a dozen different ones
        return None
