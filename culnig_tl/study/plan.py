"""The plan of a study: instances, tokens, FLOPs, time and memory, before anything is run."""

import logging
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from culnig_tl.errors import CulnigError
from culnig_tl.measure.attribution import RESAMPLES, score_batch, scored_once
from culnig_tl.measure.evaluation import answer_log_probabilities, asked_once, behind_prompt
from culnig_tl.models.batches import MOST_TOKENS, fitting_budget, group_rows, token_bytes
from culnig_tl.models.configs import first_layers, neuron_layout, skeleton
from culnig_tl.models.devices import check_device, default_device
from culnig_tl.models.forward import frozen
from culnig_tl.models.loading import load_tokenizer
from culnig_tl.models.prompts import Prompt, make_prompts
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.neurons.scores import TARGETS, VARIANTS
from culnig_tl.resampling import questions_for, smallest_loss
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import SCORED, StudyData, study_data
from culnig_tl.study.maskings import instances_of, study_maskings
from culnig_tl.study.paper_models import PAPER_MODELS, config_of
from culnig_tl.tasks.instances import Instance

# What attribution reached on an H200, whose peak in bfloat16 is an H100's, 989 TFLOP/s: 21% of it,
# on gemma-3-12b's configuration (`benchmarks/results/attribution-gemma-3-12b-it.json`).
H100_FLOPS = 206e12
CHARACTERS_A_TOKEN = 4
# Parameters of the part of a model that is measured, and how long, in seconds, at least.
MEASURED_PARAMETERS = 3e8
MEASURED_SECONDS = 5.0
_clock = time.perf_counter
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One pass over instances, of which `different` are run: `tokens` go through the blocks, `rows`
    through the unembedding."""

    name: str
    instances: int
    different: int
    tokens: int
    rows: int
    backward: bool


@dataclass(frozen=True)
class Work:
    """What a study has a model do.

    Attributes:
        scored: the prompts on which neurons are found, of so many `groups`.
        answered: those of all tests.
        longest: tokens of the longest prompt.
    """

    steps: tuple[Step, ...]
    scored: Sequence[Prompt]
    answered: Sequence[Prompt]
    groups: int
    longest: int


@dataclass(frozen=True)
class Cost:
    """What the study costs with one model: parameters, bytes of memory a device, FLOPs, seconds.

    `seconds_here` is NaN where the speed of this machine was not measured.
    """

    model: str
    parameters: int
    memory: float
    flops: int
    seconds_here: float
    seconds_h100: float


@dataclass(frozen=True)
class Plan:
    """Steps of the study, its cost for its own model and the paper's six, and what was assumed.

    Attributes:
        power: one row a test: questions, groups (of how many each is asked), loss (the smallest in
            points that the test would find significant in 80 of 100 studies), needed (questions
            for a loss of 5 points).
        speeds: FLOP/s of this machine, of passes with a backward pass (True) and without.
    """

    steps: tuple[Step, ...]
    costs: tuple[Cost, ...]
    power: pd.DataFrame
    speeds: dict[bool, float]
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
    the rows that are needed. The speed of this machine is measured on some of the prompts with a
    model of the same configuration, random weights, and as many layers as are quickly made.

    Raises:
        CulnigError: as `study_data`, or as `wrap_model`.
    """
    check_device(study.device)
    data = study_data(study)
    trust = study.trust_remote_code
    config = config_of(study.model, trust_remote_code=trust)
    tokenizer = tokenizer_at_hand(study.model, trust_remote_code=trust)
    work = study_work(study, data, tokenizer=tokenizer)
    part = measured_part(config, trust_remote_code=trust)
    speeds = machine_speeds(part, study, work)
    models = {study.model: config} | {name: paper.config() for name, paper in PAPER_MODELS.items()}
    return Plan(
        steps=work.steps,
        costs=tuple(
            study_cost(name, config, study, work=work, speeds=speeds)
            for name, config in models.items()
        ),
        power=tests_power(data),
        speeds=speeds,
        note=(
            f"Tokens: {counted_by(study, tokenizer)}, the same for every model. "
            + about_speeds(study, speeds, layers=(part, config))
            + about_costs(study)
        ),
    )


def study_work(study: Study, data: StudyData, *, tokenizer: Any) -> Work:
    """The steps of a study; without a tokenizer tokens are estimated.

    Raises:
        CulnigError: as `make_prompts`.
    """
    prompts = {name: _prompts(tokenizer, part, study) for name, part in data.scored.items()}
    steps = [make_step(f"score {name}", prompts[name], True) for name in SCORED]
    same: dict[str, Step] = {}
    for masking in study_maskings(study):
        key = masking.kind if masking.kind in ("specific", "sweep") else "all"
        if key not in same:
            prompts[key] = _prompts(tokenizer, instances_of(masking, data), study)
            same[key] = make_step("", prompts[key], False)
        steps.append(replace(same[key], name=f"evaluate {masking.kind}"))
    groups = len({instance.group for instance in data.neuron})
    longest = max(len(prompt.sequence) for part in prompts.values() for prompt in part)
    return Work(
        steps=tuple(steps),
        scored=prompts["neuron"],
        answered=prompts["all"],
        groups=groups,
        longest=longest,
    )


def counted_by(study: Study, tokenizer: Any) -> str:
    """What tokens were counted by, for a note."""
    return "about 4 characters a token" if tokenizer is None else f"tokenizer of {study.model}"


def about_speeds(study: Study, speeds: dict[bool, float], *, layers: tuple[Any, Any]) -> str:
    """How the speed of this machine was measured; `layers`: the measured part, and the whole."""
    part, config = layers
    return (
        f"Here ({study.device or default_device()}): {speeds[True] / 1e9:,.0f} "
        f"GFLOP/s scoring and {speeds[False] / 1e9:,.0f} answering, measured just now in "
        f"{study.dtype} on {part.num_hidden_layers} of {config.num_hidden_layers} layers of "
        f"{study.model} with random weights. "
    )


def about_costs(study: Study) -> str:
    """What the time on an H100 and the memory stand for."""
    return (
        "One H100: 206 TFLOP/s, as measured on an H200. Memory: weights in the "
        f"run's dtype, score sums, activations of {_tokens(study):,} tokens"
        + (f", on each of {study.devices} devices" if study.devices > 1 else "")
        + "; Python comes on top. Hooking a model takes no second copy of its weights, but for the "
        "scaled embedding of a HookedTransformer of Gemma and the joint matrices of Phi-3, which a "
        "bridge splits."
    )


def tests_power(data: StudyData) -> pd.DataFrame:
    """What the tests of a study can find, by how many questions they ask (`Plan.power`)."""
    rows = {}
    for task, instances in data.tests.items():
        questions = len({instance.topic for instance in instances})
        each = len({instance.question_key for instance in instances}) / questions
        rows[task] = {
            "questions": questions,
            "groups": each,
            "loss": 100 * smallest_loss(questions, tests=len(data.tests), each=each),
            "needed": questions_for(0.05, tests=len(data.tests), each=each),
        }
    return pd.DataFrame(rows).T.rename_axis("test")


def tokenizer_at_hand(model: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model by name; None where there is none here, or it cannot be read."""
    try:
        return load_tokenizer(model, trust_remote_code=trust_remote_code)
    except CulnigError:
        return None


def _prompts(tokenizer: Any, instances: Sequence[Instance], study: Study) -> list[Prompt]:
    if tokenizer is not None:
        return make_prompts(tokenizer, instances, answer_format=study.answer_format)

    def tokens(text: str) -> tuple[int, ...]:
        """A number for every four characters: texts that are the same have the same."""
        ends = range(CHARACTERS_A_TOKEN, max(len(text), CHARACTERS_A_TOKEN) + 1, CHARACTERS_A_TOKEN)
        return tuple(zlib.crc32(text[end - CHARACTERS_A_TOKEN : end].encode()) for end in ends)

    if study.answer_format == "cloze":
        return [Prompt(i, tokens(i.cloze), tuple(map(tokens, i.options))) for i in instances]
    return [
        Prompt(i, tokens(i.system + i.user + i.prefill), ((1,),) * len(i.options))
        for i in instances
    ]


def make_step(name: str, prompts: Sequence[Prompt], backward: bool) -> Step:
    """A pass over the prompts: scoring with `backward`, else answering; the same runs once."""
    if backward:
        different = [prompts[places[0]] for places in scored_once(prompts)]
        tokens = sum(len(prompt.sequence) for prompt in different)
        rows = sum(len(prompt.label) for prompt in different)
    else:  # the options share their prompt, and what they begin with
        _, different = asked_once(prompts)
        further = sum(len(run) for p in different for run in set(behind_prompt(p).values()))
        tokens = sum(len(prompt.tokens) for prompt in different) + further
        rows = len(different) + further
    return Step(
        name=name,
        instances=len(prompts),
        different=len(different),
        tokens=tokens,
        rows=rows,
        backward=backward,
    )


def _tokens(study: Study) -> int:
    return study.token_budget or MOST_TOKENS["cpu"]


def model_sizes(config: Any, *, trust_remote_code: bool = False) -> tuple[int, int, int]:
    """Parameters: all, those outside the blocks, and those of the unembedding."""
    model = skeleton(config, trust_remote_code=trust_remote_code)
    parameters = sum(weight.numel() for weight in model.parameters())
    unembedding = config.vocab_size * config.hidden_size
    return parameters, unembedding * (1 if config.tie_word_embeddings else 2), unembedding


def step_flops(sizes: tuple[int, int, int], step: Step) -> int:
    """FLOPs of a step (`plan_study`) with a model of these `model_sizes`."""
    parameters, outside, unembedding = sizes
    passes = 2 if step.backward else 1
    return 2 * passes * (step.tokens * (parameters - outside) + step.rows * unembedding)


def study_cost(
    name: str,
    config: Any,
    study: Study,
    *,
    work: Work,
    speeds: dict[bool, float] | None,
) -> Cost:
    """What the work of a study costs with a model of this configuration.

    Args:
        speeds: of `machine_speeds`; None leaves out the time here.
    """
    trust = study.trust_remote_code
    sizes = model_sizes(config, trust_remote_code=trust)
    flops = [step_flops(sizes, step) for step in work.steps]
    here = math.nan
    if speeds is not None:
        here = sum(f / speeds[step.backward] for f, step in zip(flops, work.steps, strict=True))
    width = getattr(torch, study.dtype).itemsize
    neurons = neuron_layout(config, name=name, trust_remote_code=trust).total
    sums = len(VARIANTS) * neurons * 8 * (len(TARGETS) * 2 * work.groups + RESAMPLES)
    each = token_bytes(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        heads=config.num_attention_heads,
        d_vocab=config.vocab_size,
        width=width,
        longest=work.longest,
    )
    memory = width * sizes[0] + sums + _tokens(study) * each
    return Cost(
        model=name,
        parameters=sizes[0],
        memory=memory / study.devices,
        flops=sum(flops),
        seconds_here=here,
        seconds_h100=sum(flops) / H100_FLOPS,
    )


def measured_part(config: Any, *, trust_remote_code: bool = False) -> Any:
    """The configuration with fewer layers and words, where it has too many parameters."""
    parameters, outside, _ = model_sizes(config, trust_remote_code=trust_remote_code)
    layer = (parameters - outside) / config.num_hidden_layers
    words = min(config.vocab_size, max(1024, int(MEASURED_PARAMETERS / 2 / config.hidden_size)))
    if parameters <= MEASURED_PARAMETERS:
        words = config.vocab_size
    left = MEASURED_PARAMETERS - words * (outside / config.vocab_size)
    layers = min(config.num_hidden_layers, max(1, int(left / layer)))
    part = first_layers(config, layers)
    part.vocab_size = words
    part.pad_token_id = part.bos_token_id = part.eos_token_id = 0
    return part


def machine_speeds(config: Any, study: Study, work: Work) -> dict[bool, float]:
    """FLOP/s of this machine when it scores (True) and answers (False), with random weights.

    Args:
        config: of `measured_part`.

    Raises:
        CulnigError: as `wrap_model`.
    """
    hf_model = AutoModelForCausalLM.from_config(
        config,
        dtype=getattr(torch, study.dtype),
        attn_implementation="eager",
        trust_remote_code=study.trust_remote_code,
    )
    words = Tokenizer(WordLevel({"x": 0}, unk_token="x"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="x", pad_token="x")
    name = f"{study.model} with random weights"
    model = wrap_model(
        hf_model, tokenizer, name=name, model_class="TransformerBridge", device=study.device
    )
    sizes, speeds = model_sizes(config, trust_remote_code=study.trust_remote_code), {}
    _log.info("measuring the speed of this machine: up to a minute")

    def fitting(prompt: Prompt) -> Prompt:
        def short(tokens: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(token % config.vocab_size for token in tokens)

        return replace(
            prompt, tokens=short(prompt.tokens), options=tuple(map(short, prompt.options))
        )

    def score(batch: list[Prompt]) -> None:
        score_batch(model, batch, TARGETS, clamp_control=False)

    def answer(batch: list[Prompt]) -> None:
        with torch.no_grad():
            answer_log_probabilities(model, batch, token_budget=MOST_TOKENS["cpu"])

    with frozen(model):
        for backward, run, prompts in (
            (True, score, work.scored),
            (False, answer, work.answered),
        ):
            longest = max(len(prompt.sequence) for prompt in prompts)
            budget = study.token_budget or fitting_budget(model, longest, gradients=backward)
            once = [prompts[places[0]] for places in scored_once(prompts)]
            different = once if backward else asked_once(prompts)[1]
            sample, seconds = _timed(run, list(map(fitting, different)), budget)
            speeds[backward] = step_flops(sizes, make_step("", sample, backward)) / seconds
    return speeds


def _timed(
    work: Callable[[list[Prompt]], None], prompts: Sequence[Prompt], budget: int
) -> tuple[list[Prompt], float]:
    """Run ever more of the prompts until it takes long enough; which they were, and how long."""
    count = 1
    while True:
        sample = list(prompts[:: -(-len(prompts) // count)])
        lengths = [len(prompt.sequence) for prompt in sample]
        start = _clock()
        for rows in group_rows(range(len(sample)), lengths, budget):
            work([sample[row] for row in rows])
        seconds = _clock() - start
        # The first is a warm-up.
        if count > 1 and (seconds >= MEASURED_SECONDS or len(sample) == len(prompts)):
            return sample, seconds
        count *= 4
