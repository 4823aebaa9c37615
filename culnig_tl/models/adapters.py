"""A folder that holds adapters alone, such as a LoRA: which model they are of, and both merged."""

import os
import warnings
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.models.hf_files import ADAPTERS, json_object


def adapted_model(name: str) -> str | None:
    """The model that the adapters in a folder are of; None where `name` is no folder of adapters.

    Raises:
        CulnigError: the folder does not say, or names adapters again.
    """
    file = Path(name) / ADAPTERS
    if not os.path.isfile(file) or (Path(name) / "config.json").exists():
        return None
    base = json_object(file).get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise CulnigError(
            f"{file} has no 'base_model_name_or_path': write there the name or the folder of the "
            "model that was adapted"
        )
    if (Path(base) / ADAPTERS).is_file() and not (Path(base) / "config.json").exists():
        raise CulnigError(
            f"{file} says that it adapts {base}, which holds adapters alone: merge those into "
            "their model first (peft's merge_and_unload), and name its folder there"
        )
    return base


def merged(hf_model: Any, folder: str) -> Any:
    """The model with the adapters of a folder merged into its weights: a model like any other.

    Raises:
        CulnigError: peft is missing.
        Exception: of peft, where the adapters are not of this model or cannot be merged.
    """
    peft = need_peft()
    with warnings.catch_warnings():
        # It would go on with random numbers in their place.
        warnings.filterwarnings("error", "Found missing adapter keys")
        # peft asks under the name that transformers will drop.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return peft.PeftModel.from_pretrained(hf_model, folder).merge_and_unload()


def need_peft() -> Any:
    """The package peft.

    Raises:
        CulnigError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise CulnigError("lora needs the package peft: pip install 'culnig-tl[lora]'") from error
    return peft
