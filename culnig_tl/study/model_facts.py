"""What is known of a model before it is loaded: its size, its class, and what the demo takes."""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from culnig_tl.analysis.texts import duration_text
from culnig_tl.errors import CulnigError
from culnig_tl.models.adapters import adapted_model
from culnig_tl.models.choices import ModelClass
from culnig_tl.models.configs import most_positions, neuron_layout, skeleton
from culnig_tl.models.embedded import source_of
from culnig_tl.models.prompts import check_lengths, resolve_format
from culnig_tl.models.wrapping import class_reason, classes_for
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import study_data
from culnig_tl.study.paper_models import PAPER_MODELS, config_of
from culnig_tl.study.plan import (
    Cost,
    about_costs,
    about_speeds,
    counted_by,
    machine_speeds,
    measured_part,
    study_cost,
    study_work,
    tokenizer_at_hand,
)

_UNKNOWN = "not known: no tokenizer at hand"


@dataclass(frozen=True, repr=False)
class ModelFacts:
    """What is known of a model before it is loaded.

    Attributes:
        base: the model that these adapters are of; None where it is a model of its own.
        architecture: the class of transformers.
        classes: which hooked classes are tried; the first that agrees with the model is taken.
        reason: why these.
        chat_template: whether it has one; None where no tokenizer is at hand.
        answer_format: in which it is asked by default; None as `chat_template`.
        positions: the longest prompt in tokens; None where there is no limit.
        demo: what `culnig run` costs with it in float32; None where it cannot be run.
        trouble: why the demo cannot be run, as far as that is known.
        note: how memory and time were estimated.
    """

    name: str
    base: str | None
    architecture: str
    parameters: int
    layout: NeuronLayout
    classes: tuple[ModelClass, ...]
    reason: str
    chat_template: bool | None
    answer_format: Literal["cloze", "letter"] | None
    positions: int | None
    demo: Cost | None
    trouble: str | None
    note: str

    def table(self) -> pd.DataFrame:
        """One row a fact, as text."""
        rows = {} if self.base is None else {"adapters": f"of {self.base}, merged when loaded"}
        if self.name in PAPER_MODELS:
            rows["on the Hub"] = _access(self.name)
        rows |= {"architecture": self.architecture, "parameters": f"{self.parameters:,}"}
        rows |= {"layers": f"{self.layout.n_layers}", "neurons": f"{self.layout.total:,}"}
        rows |= {f"{site} neurons": f"{count:,}" for site, count in self.layout.counts().items()}
        rows["class"] = ", else ".join(self.classes)
        rows["why"] = self.reason
        rows["chat template"] = {None: _UNKNOWN, True: "yes", False: "no"}[self.chat_template]
        rows["answer format"] = self.answer_format or _UNKNOWN
        longest = "no limit" if self.positions is None else f"{self.positions:,} tokens"
        rows["longest prompt"] = longest
        float32, bfloat16 = (_size(width * self.parameters) for width in (4, 2))
        rows["weights"] = f"{float32} in float32, {bfloat16} in bfloat16"
        if self.demo is not None:
            rows["memory of the demo"] = f"{_size(self.demo.memory)} in float32"
            here = self.demo.seconds_here
            rows["time of the demo here"] = "not measured" if here != here else duration_text(here)
            rows["time of the demo on an H100"] = duration_text(self.demo.seconds_h100)
        if self.trouble:
            rows["the demo cannot be run"] = self.trouble
        return pd.DataFrame({self.name: rows}).rename_axis("model")

    def __repr__(self) -> str:
        return f"{self.name}: {self.architecture}, {self.parameters:,} parameters, {self.layout}"

    def _repr_html_(self) -> str:
        cell = '<td style="text-align: left; white-space: normal">'  # some are sentences
        return self.table().to_html().replace("<td>", cell)


def model_facts(name: str, *, trust_remote_code: bool = False, measure: bool = True) -> ModelFacts:
    """What is known of a model before it is loaded: its configuration is read, and its tokenizer.

    Of the paper's six the configuration is known without the Hub.

    Args:
        name: as `load_model`.
        trust_remote_code: as `load_model`.
        measure: the speed of this machine, for the time of the demo; up to a minute.

    Raises:
        CulnigError: no model of that name, or one without a gated MLP.

    Example:
        `folder` holds a tiny model.

        >>> facts = model_facts(folder, measure=False)
        >>> facts.architecture, facts.classes, facts.answer_format
        ('LlamaForCausalLM', ('TransformerBridge',), 'cloze')
        >>> facts.table().loc["neurons"].item()
        '336'
    """
    study = Study(model=name, trust_remote_code=trust_remote_code)
    config = config_of(name, trust_remote_code=trust_remote_code)
    layout = neuron_layout(config, name=name, trust_remote_code=trust_remote_code)
    bare = skeleton(config, trust_remote_code=trust_remote_code)
    tokenizer = tokenizer_at_hand(name, trust_remote_code=trust_remote_code)
    demo, trouble, note = _demo(study, config, tokenizer=tokenizer, measure=measure)
    known = tokenizer is not None
    return ModelFacts(
        name=name,
        base=adapted_model(source_of(name)),
        architecture=type(bare).__name__,
        parameters=sum(weight.numel() for weight in bare.parameters()),
        layout=layout,
        classes=classes_for(name),
        reason=class_reason(name),
        chat_template=bool(getattr(tokenizer, "chat_template", None)) if known else None,
        answer_format=resolve_format(tokenizer, study.answer_format) if known else None,
        positions=most_positions(config),
        demo=demo,
        trouble=trouble,
        note=note,
    )


def _demo(
    study: Study, config: Any, *, tokenizer: Any, measure: bool
) -> tuple[Cost | None, str | None, str]:
    """What the study costs, why it cannot be run, and how that was estimated."""
    note = f"Tokens: {counted_by(study, tokenizer)}. "
    try:
        work = study_work(study, study_data(study), tokenizer=tokenizer)
        asked = ((f"instance {p.instance.id}", p.longest) for p in (*work.scored, *work.answered))
        check_lengths(most_positions(config), asked)
    except CulnigError as error:
        return None, str(error), note
    speeds, trouble = None, None
    if measure:
        part = measured_part(config, trust_remote_code=study.trust_remote_code)
        try:
            speeds = machine_speeds(part, study, work)
            note += about_speeds(study, speeds, layers=(part, config))
        except CulnigError as error:
            trouble = str(error)
    cost = study_cost(study.model, config, study, work=work, speeds=speeds)
    return cost, trouble, note + about_costs(study)


def _access(name: str) -> str:
    if not PAPER_MODELS[name].gated:
        return "open"
    return f"gated: accept its terms at https://huggingface.co/{name}, then `hf auth login`"


def _size(size: float | int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
