"""Modules, the attention or the MLP of a layer, chosen by the neurons in them (appendix G)."""

import html
import logging
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from culnig_tl.checks import SEED_MOST, check_choice, check_count, check_share, shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json, write_json
from culnig_tl.neurons.layout import ATTENTION_SITES
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.provenance import Provenance, package_versions
from culnig_tl.schemas import check_object, damaged
from culnig_tl.tasks.instances import stable_random

Choice = Literal["top", "bottom", "random"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
KINDS = ("attention", "MLP")
_FORMAT = "culnig_tl module set, version 1"
_log = logging.getLogger(__name__)
_MODULE = {"layer": int, "kind": str, "neurons": int, "parameters": int}
_SCHEMA = {"name": str, "modules": [_MODULE], "total": int, "provenance": dict}
_AGAIN = "choose the modules again"
_WEIGHT = re.compile(r"(?:^|\.)layers\.(\d+)\.(self_attn|mlp)\.\w+_proj\.(?:weight|bias)$")


@dataclass(frozen=True)
class Module:
    """The attention (q, k, v, o) or the MLP (gate, up, down) of a layer.

    Attributes:
        layer: counted from 0.
        kind: `attention` or `MLP`.
        neurons: how many of the set's neurons are in it.
        parameters: of its matrices and their biases.
    """

    layer: int
    kind: str
    neurons: int
    parameters: int

    def __str__(self) -> str:
        return f"layer{self.layer} {self.kind}"


@dataclass(frozen=True)
class ModuleSet:
    """Some modules of a model.

    Attributes:
        name: how they were chosen: `top`, `bottom`, `random`.
        modules: in the order in which they were taken.
        total: the parameters of the whole language model.
        provenance: the neurons, arguments and versions.
    """

    name: str
    modules: tuple[Module, ...]
    total: int
    provenance: Provenance = field(default_factory=dict, compare=False)

    @property
    def parameters(self) -> int:
        """Of all these modules."""
        return sum(module.parameters for module in self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def frame(self) -> pd.DataFrame:
        """One row a module (Table 17): module, layer, kind, neurons, parameters."""
        rows = [{"module": str(module), **asdict(module)} for module in self.modules]
        return pd.DataFrame(rows).set_index("module")

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_json(Path(path), {"format": _FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> "ModuleSet":
        """Read a saved set.

        Raises:
            CulnigError: not such a file, or damaged.
        """
        content = read_json(Path(path))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise CulnigError(f"{path} is not a module set saved by this package: check the path")
        check_object(path, content, _SCHEMA, remedy=_AGAIN)
        modules = tuple(Module(**{k: m[k] for k in _MODULE}) for m in content["modules"])
        for number, module in enumerate(modules, start=1):
            if module.kind not in KINDS or min(module.layer, module.neurons) < 0:
                raise damaged(path, f"module {number} is {shown(str(module))}", remedy=_AGAIN)
        loaded = cls(
            name=content["name"],
            modules=modules,
            total=content["total"],
            provenance=content["provenance"],
        )
        if not (modules and all(m.parameters > 0 for m in modules)) or (
            loaded.parameters > loaded.total
        ):
            raise damaged(
                path,
                f"{len(modules)} modules of {loaded.parameters:,} of {loaded.total:,} parameters",
                remedy=_AGAIN,
            )
        return loaded

    def __repr__(self) -> str:
        share = 100 * self.parameters / self.total
        neurons = sum(module.neurons for module in self.modules)
        return (
            f"{self.name}: {len(self)} modules with {neurons:,} neurons, {self.parameters:,} of "
            f"{self.total:,} parameters ({share:.1f}%): {', '.join(map(str, self.modules))}"
        )

    def _repr_html_(self) -> str:
        share = f"{100 * self.parameters / self.total:.1f}%"
        name = html.escape(self.name)
        return f"<p>{name}: {share} of the parameters</p>{self.frame().to_html()}"


def select_modules(
    neurons: NeuronSet,
    config: Any,
    *,
    share: float = 0.10,
    which: Choice = "top",
    seed: int = 0,
    trust_remote_code: bool = False,
) -> ModuleSet:
    """Modules by the number of neurons in them, until they hold `share` of all parameters.

    - `top`: those with the most neurons first, ties by layer, attention before MLP; where more tie
      at the last place than are taken, a warning says so, and the provenance (`ties`).
    - `bottom`: those without a neuron first, in random order; then those with the fewest.
    - `random`: in random order, whatever they hold.

    Args:
        neurons: culture-general ones, usually.
        config: a Hugging Face configuration, or a model's name or folder. For a multimodal model
            the language model alone counts.
        share: of all parameters, embeddings included; the last module taken reaches or passes it.
        which: one of `CHOICES`.
        seed: of the random order.
        trust_remote_code: as `load_model`.

    Raises:
        CulnigError: an unknown choice, a share outside 0 to 1 or above what all modules hold
            together, or a configuration of another model than the neurons'.

    Example:
        `run` is a finished run of a tiny model.

        >>> chosen = select_modules(run.neurons, run.study.model, share=0.3)
        >>> chosen.parameters >= 0.3 * chosen.total
        True
        >>> sum(module.neurons for module in chosen.modules) > 0
        True
    """
    from culnig_tl.models.configs import neuron_layout, read_config, skeleton

    check_share("share", share)
    check_choice("choice", which, CHOICES)
    check_count("seed", seed, most=SEED_MOST)
    config = read_config(config, trust_remote_code=trust_remote_code)
    layout = neuron_layout(config, trust_remote_code=trust_remote_code)
    require_same_model(
        neurons,
        layout,
        what=f"{neurons.name!r} is of a model with",
        other="the configuration of one with",
        remedy="give the configuration of the same model",
    )
    model = skeleton(config, trust_remote_code=trust_remote_code)
    total = sum(weight.numel() for weight in model.parameters())
    counts = neurons.counts()
    held = {"attention": counts[list(ATTENTION_SITES)].sum(axis=1), "MLP": counts["gate"]}
    modules = [
        Module(
            layer=layer,
            kind=kind,
            neurons=int(held[kind][layer]),
            parameters=sum(w.numel() for w in weights.values()),
        )
        for (layer, kind), weights in sorted(module_weights(model).items(), key=_by_place)
    ]
    every = list(modules)
    if which == "top":
        modules.sort(key=lambda module: -module.neurons)
    else:
        stable_random("modules", seed).shuffle(modules)
    if which == "bottom":
        modules.sort(key=lambda module: module.neurons)
    taken: list[Module] = []
    while sum(module.parameters for module in taken) < share * total:
        if not modules:
            most = 100 * sum(module.parameters for module in taken) / total
            raise CulnigError(
                f"share is {share}, and the attention and MLP modules together hold {most:.0f}% of "
                f"the {total:,} parameters: give less"
            )
        taken.append(modules.pop(0))
    about = {
        "versions": package_versions(),
        "neurons": {"name": neurons.name, "count": len(neurons), **neurons.provenance},
        "arguments": {"share": share, "which": which, "seed": seed},
    }
    tied = sum(module.neurons == taken[-1].neurons for module in every) if taken else 0
    left = sum(module.neurons == taken[-1].neurons for module in modules) if taken else 0
    if which == "top" and left and tied > len(taken):
        about["ties"] = tied
        _log.warning(
            "top modules: the last of the %d taken is one of %d with %d neurons: their order is "
            "all that tells them apart",
            len(taken), tied, taken[-1].neurons,
        )  # fmt: skip
    return ModuleSet(name=which, modules=tuple(taken), total=total, provenance=about)


def module_weights(hf_model: Any) -> dict[tuple[int, str], dict[str, Any]]:
    """The weights of each module of a Hugging Face model, by (layer, kind), then by their names.

    Matrices that hold several at once (Phi-3's qkv_proj and gate_up_proj) belong to their module
    whole; norms belong to none.

    Raises:
        CulnigError: a layer without such weights.
    """
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for name, weight in hf_model.named_parameters():
        place = _WEIGHT.search(name)
        if place and "vision" not in name:
            kind = KINDS[0] if place[2] == "self_attn" else KINDS[1]
            found.setdefault((int(place[1]), kind), {})[name] = weight
    layers = range(hf_model.config.get_text_config().num_hidden_layers)
    for key in ((layer, kind) for layer in layers for kind in KINDS):
        if key not in found:
            raise CulnigError(
                f"{type(hf_model).__name__} has no weights layers.{key[0]}.*_proj for its "
                f"{key[1]}: its modules cannot be told apart"
            )
    return found


def _by_place(item: tuple[tuple[int, str], Any]) -> tuple[int, int]:
    (layer, kind), _ = item
    return layer, KINDS.index(kind)
