"""The plan of a study: instances, tokens, time and memory, before anything is run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoTokenizer

from culnig_tl.configs import count_neurons, read_config, skeleton
from culnig_tl.embedded import EMBEDDED_NAME, embedded_folder
from culnig_tl.errors import CulnigError
from culnig_tl.instances import Instance
from culnig_tl.models import default_device
from culnig_tl.paper import PAPER_MODELS
from culnig_tl.prompts import make_prompts
from culnig_tl.scores import TARGETS, VARIANTS
from culnig_tl.study import SCORED, Study, asked, maskings, study_data

# What of a device's peak a pass reaches: half of the matrix product measured here, which is what
# attribution with gemma-3-270m does on two CPU cores; 40% of 989 TFLOP/s (bfloat16) on an H100.
SHARE_HERE = 0.5
H100_FLOPS = 0.4 * 989e12
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Step:
    """One pass over instances: `tokens` go through the blocks, `rows` through the unembedding."""

    name: str
    instances: int
    tokens: int
    rows: int
    backward: bool


@dataclass(frozen=True)
class Cost:
    """What the study costs with one model: parameters, bytes of memory, seconds."""

    model: str
    parameters: int
    memory: float
    seconds_here: float
    seconds_h100: float


@dataclass(frozen=True)
class Plan:
    """Steps of the study, its cost for its own model and the paper's six, and what was assumed."""

    steps: tuple[Step, ...]
    costs: tuple[Cost, ...]
    note: str

    def by_name(self) -> dict[str, list[Step]]:
        """Steps of the same name together, such as all random sets."""
        groups: dict[str, list[Step]] = {}
        for step in self.steps:
            groups.setdefault(step.name, []).append(step)
        return groups


def plan_study(study: Study) -> Plan:
    """What `run_study` would do, estimated; loads the data, and of the model its tokenizer.

    A forward pass costs 2 FLOP a parameter and token, attribution twice that (weights are frozen,
    so the backward pass computes gradients of activations only); the unembedding is counted for
    the rows that are needed.

    Raises:
        CulnigError: as `study_data`.
    """
    data = study_data(study)
    tokenizer = _tokenizer(study.model)
    steps = [_step(f"score {name}", data[name], study, tokenizer, True) for name in SCORED]
    same: dict[str, Step] = {}
    for masking in maskings(study):
        key = masking.kind if masking.kind in ("specific", "sweep") else "all"
        if key not in same:
            same[key] = _step("", asked(masking, data), study, tokenizer, False)
        once = same[key]
        steps.append(replace(once, name=f"evaluate {masking.kind}"))
    countries = len({instance.country for instance in data["neuron"]})
    rate = SHARE_HERE * _matrix_flops(study)
    models: dict[str, Any] = {}
    if study.model not in PAPER_MODELS:
        models[study.model] = read_config(study.model)
    models |= PAPER_MODELS
    costs = [_cost(name, config, study, steps, countries, rate) for name, config in models.items()]
    how = "about 4 characters a token" if tokenizer is None else f"tokenizer of {study.model}"
    note = (
        f"Tokens: {how}, the same for every model. This machine: half of the "
        f"{rate / SHARE_HERE / 1e9:,.0f} GFLOP/s that a {study.dtype} matrix product reached just "
        "now (here). One H100: 40% of its 989 TFLOP/s. Memory: weights in the run's dtype, score "
        f"sums, activations of {study.token_budget:,} tokens."
    )
    return Plan(tuple(steps), tuple(costs), note)


def _tokenizer(model: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(embedded_folder() if model == EMBEDDED_NAME else model)
    except (OSError, ValueError, CulnigError):  # not at hand: the plan estimates
        return None


def _step(
    name: str, instances: Sequence[Instance], study: Study, tokenizer: Any, backward: bool
) -> Step:
    if tokenizer is None:
        letter = study.answer_format != "cloze"
        texts = [i.system + i.user + i.prefill if letter else i.cloze for i in instances]
        tokens = sum(len(text) // CHARACTERS_A_TOKEN for text in texts)
        return Step(name, len(instances), tokens, len(instances), backward)
    prompts = make_prompts(tokenizer, instances, study.answer_format)
    if backward:
        tokens = sum(len(prompt.sequence) for prompt in prompts)
        rows = sum(len(prompt.label) for prompt in prompts)
    else:  # the options share their prompt
        further = [sum(len(option) - 1 for option in prompt.options) for prompt in prompts]
        tokens = sum(len(p.tokens) + more for p, more in zip(prompts, further, strict=True))
        rows = len(prompts) + sum(further)
    return Step(name, len(instances), tokens, rows, backward)


def _cost(
    name: str, config: Any, study: Study, steps: Sequence[Step], countries: int, rate: float
) -> Cost:
    parameters = sum(weight.numel() for weight in skeleton(config).parameters())
    unembedding = config.vocab_size * config.hidden_size
    outside = unembedding if config.tie_word_embeddings else 2 * unembedding
    flops = sum(
        2
        * (2 if step.backward else 1)
        * (step.tokens * (parameters - outside) + step.rows * unembedding)
        for step in steps
    )
    width = getattr(torch, study.dtype).itemsize
    sums = len(TARGETS) * len(VARIANTS) * countries * count_neurons(config, name).total * 8
    # What autograd keeps of a token in a layer: about 4 MLP widths and 12 model widths.
    kept = config.num_hidden_layers * (4 * config.intermediate_size + 12 * config.hidden_size)
    logits = 3 * 4 * config.vocab_size * study.token_budget / 16
    memory = width * (parameters + study.token_budget * kept) + sums + logits
    return Cost(name, parameters, memory, flops / rate, flops / H100_FLOPS)


def _matrix_flops(study: Study) -> float:
    """FLOP/s of a matrix product of this machine's default device, in the study's dtype."""
    device = study.device or default_device()
    size = 4096 if device.startswith("cuda") else 1024
    a = torch.ones(size, size, dtype=getattr(torch, study.dtype), device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
