"""Errors of loading a model by name, as one line with the remedy."""

import contextlib
import os
from collections.abc import Iterator

from culnig_tl.errors import CulnigError
from culnig_tl.models.embedded import EMBEDDED_NAME

_LONGEST_NAME = 200
# What the message of an error says, in small letters, and what to do about it; the first counts.
_REMEDIES = (
    ("trust_remote_code", "pass trust_remote_code (--trust-remote-code) if you trust its authors"),
    ("weights only load failed", "its weights are no plain tensors: take safetensors"),
    ("not enough memory", "it needs more memory than there is: take a smaller dtype or model"),
    ("allocate memory", "it needs more memory than there is: take a smaller dtype or model"),
    ("out of memory", "it needs more memory than there is: take a smaller dtype or model"),
)
_HUB_REMEDIES = (
    ("connect", f"check the network, or use a local folder or {EMBEDDED_NAME!r}"),
    ("offline", f"check the network, or use a local folder or {EMBEDDED_NAME!r}"),
    ("resolve", f"check the network, or use a local folder or {EMBEDDED_NAME!r}"),
    ("gated", "accept its terms on the Hub and log in with 'hf auth login'"),
    ("401", "accept its terms on the Hub and log in with 'hf auth login'"),
    ("deserializing", "a file of it in the Hub's cache is damaged: delete it and load it again"),
    ("valid json", "a file of it in the Hub's cache is damaged: delete it and load it again"),
    ("", f"check the spelling; without a network {EMBEDDED_NAME!r} works"),
)


@contextlib.contextmanager
def hub_errors(name: str, *, part: str = "files") -> Iterator[None]:
    """Turn the many errors of loading by name into one line with the remedy.

    Args:
        part: which of a folder's files are read, for the message.

    Raises:
        CulnigError: instead of any exception.
    """
    try:
        yield
    except CulnigError:
        raise
    except Exception as error:  # each loader has its own, down to a plain Exception
        reason = " ".join(str(error).split())
        remedies = _REMEDIES
        if os.path.isdir(name):
            remedies += (("", f"its {part} cannot be used; get the folder again"),)
        elif os.path.isfile(name):
            remedies += (("", "it is a file: give the folder of a Hugging Face model"),)
        else:
            remedies += _HUB_REMEDIES
        remedy = next(remedy for words, remedy in remedies if words in reason.lower())
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        raise CulnigError(
            f"cannot load model {shown!r}: {remedy} ({type(error).__name__}: {reason[:160]})"
        ) from error
