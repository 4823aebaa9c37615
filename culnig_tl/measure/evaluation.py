"""Evaluation: answering instances, with or without an ablation; one row an instance."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from culnig_tl.measure.ablation import ablate
from culnig_tl.models.batches import (
    alike,
    fitting_budget,
    flat_positions,
    in_batches,
    pad_batch,
    told,
)
from culnig_tl.models.caches import PrefixCache
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals, unembed
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.no_country import country_in_frames
from culnig_tl.processes import gathered, my_share
from culnig_tl.tasks.instances import Instance

# Rows of [d_vocab] in memory at a time: 512 with a vocabulary of 262,144 are 0.5 GiB, twice.
UNEMBEDDED_AT_ONCE = 512
# Of a prompt that several instances share: their keys and values are copied for each.
MOST_OPTIONS = 32
COLUMNS = (
    "id",
    "task",
    "country",
    "question",
    "template",
    "answer",
    "predicted",
    "correct",
    "correct_vocabulary",
    "probability",
    "chance",
)


def evaluate(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet | None = None,
    *,
    factor: float = 0.0,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Let the model answer, with the activations of `neurons` multiplied by `factor`.

    The predicted option is the one with the highest mean log-probability of its tokens (for a
    letter: of its one token). The options share their prompt, so its keys and values are computed
    once, and only the logits that are needed; instances with the same prompt share it, and what
    options they have in common. Under torchrun the processes share the instances.

    Returns:
        One row an instance, in their order: id, task, country, question (its key: rows of one
        question are one piece of evidence), template, answer and predicted (option texts),
        correct (predicted is answer), correct_vocabulary (every token of the answer is the
        arg-max of the whole vocabulary: the paper's metric), probability (P(y|x) of the answer),
        chance (what a guess would score). Where an instance has credits, both metrics are numbers
        from 0 to 1: the credit of the predicted option, and that of the option that greedy
        decoding over the whole vocabulary writes, or 0 if it writes none.

    Raises:
        CulnigError: bad instances, a neuron set of another model, not enough memory, or a
            log-probability that is NaN or infinite (with the instance's id).

    Example:
        `model` is a tiny random one, and `neurons` a set of its neurons.

        >>> frame = evaluate(model, instances, neurons)
        >>> len(frame), frame["correct"].dtype
        (8, dtype('bool'))
    """
    prompts = model_prompts(model, instances, answer_format=answer_format)
    groups = _same_prompts(prompts)
    different = [_with_options_of(prompts, places) for places in groups]
    lengths = [len(prompt.tokens) for prompt in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)
    rows: dict[int, dict] = {}

    def work(batch: list[int]) -> list[tuple[list[Tensor], list[bool]]]:
        return answer_log_probabilities(model, [different[row] for row in batch])

    with frozen(model), torch.no_grad(), ablate(model, neurons, factor=factor):
        for batch, answers in in_batches(
            my_share(lengths),
            lengths,
            token_budget,
            work=work,
            what=told("Evaluation", groups),
            counts=[len(places) for places in groups],
        ):
            for row, (options, greedy) in zip(batch, answers, strict=True):
                found = dict(
                    zip(different[row].options, zip(options, greedy, strict=True), strict=True)
                )
                for place in groups[row]:
                    own = [found[option] for option in prompts[place].options]
                    rows[place] = _row(prompts[place], [o for o, _ in own], [g for _, g in own])
    rows = {row: values for part in gathered(rows) for row, values in part.items()}
    frame = pd.DataFrame([rows[row] for row in range(len(prompts))], columns=list(COLUMNS))
    if any(instance.credits is not None for instance in instances):
        # One type a column, or a CSV would mix True with 0.5.
        frame = frame.astype({"correct": float, "correct_vocabulary": float})
    return frame


def _same_prompts(prompts: Sequence[Prompt]) -> list[list[int]]:
    """The places of prompts that can be run as one: the same tokens, and not too many options."""
    groups: list[list[int]] = []
    for places in alike(prompt.tokens for prompt in prompts):
        options: set[tuple[int, ...]] = set()
        groups.append([])
        for place in places:
            options |= set(prompts[place].options)
            if groups[-1] and len(options) > MOST_OPTIONS:
                groups.append([])
                options = set(prompts[place].options)
            groups[-1].append(place)
    return groups


def _with_options_of(prompts: Sequence[Prompt], places: Sequence[int]) -> Prompt:
    """The first of these prompts, with the options of all, each once."""
    options = dict.fromkeys(option for place in places for option in prompts[place].options)
    return replace(prompts[places[0]], options=tuple(options))


def answer_log_probabilities(
    model: HookedModel, prompts: Sequence[Prompt]
) -> list[tuple[list[Tensor], list[bool]]]:
    """For each prompt: the log-probability of each option's tokens, and whether that option is
    what greedy decoding over the whole vocabulary would write.

    Raises:
        CulnigError: a log-probability that is NaN or infinite.
    """
    device = model.cfg.device
    batch = pad_batch(
        [p.tokens for p in prompts], range(len(prompts)), tokenizer_of(model), device=device
    )
    width = batch.tokens.shape[1]
    # The row of `residuals` from which each token of each option is predicted; and the options
    # that go on behind their first token, by how far.
    rows = {(i, o): [i] for i, prompt in enumerate(prompts) for o in range(len(prompt.options))}
    further: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, o in rows:
        if len(prompts[i].options[o]) > 1:
            further[len(prompts[i].options[o]) - 1].append((i, o))
    cache = PrefixCache(model, len(prompts)) if further else None
    last = flat_positions([(width, 1)] * len(prompts), width, device)
    residuals = [kept_residuals(model, batch.tokens, batch.mask, keep=last, cache=cache)]
    n_rows = len(prompts)
    for steps, pairs in further.items():
        assert cache is not None
        tokens = torch.tensor([prompts[i].options[o][:-1] for i, o in pairs], device=device)
        shared = cache.take(torch.tensor([i for i, _ in pairs], device=device))
        every = torch.arange(tokens.numel(), device=device)
        residuals.append(
            kept_residuals(model, tokens, torch.ones_like(tokens), keep=every, cache=shared)
        )
        for pair in pairs:
            rows[pair] += range(n_rows, n_rows + steps)
            n_rows += steps
    flat_rows = torch.tensor([row for chain in rows.values() for row in chain])
    flat_tokens = torch.tensor([token for p in prompts for o in p.options for token in o])
    together = torch.cat(residuals)
    chosen, best = token_log_probabilities(
        model, together, flat_rows.to(together.device), tokens=flat_tokens.to(together.device)
    )
    lengths = [len(chain) for chain in rows.values()]
    answers: list[tuple[list[Tensor], list[bool]]] = [([], []) for _ in prompts]
    options = zip(rows, chosen.split(lengths), best.cpu().split(lengths), strict=True)
    for (i, _), log_probabilities, is_best in options:
        answers[i][0].append(log_probabilities)
        answers[i][1].append(bool(is_best.all()))
    check_finite(
        [torch.cat(options) for options, _ in answers],
        [f"instance {prompt.instance.id}" for prompt in prompts],
        "log-probabilities",
    )
    return answers


def token_log_probabilities(
    model: HookedModel,
    residuals: Float[Tensor, "row d_model"],
    rows: Int[Tensor, "token"],
    *,
    tokens: Int[Tensor, "token"],
) -> tuple[Float[Tensor, "token"], Bool[Tensor, "token"]]:
    """The log-probability of each token at its row, and whether it is the arg-max there."""
    chosen = torch.zeros(len(rows), device=rows.device)
    best = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for start in range(0, len(residuals), UNEMBEDDED_AT_ONCE):
        part = residuals[start : start + UNEMBEDDED_AT_ONCE]
        inside = ((rows >= start) & (rows < start + len(part))).nonzero()[:, 0]
        at, wanted = rows[inside] - start, tokens[inside]
        logits = at_least_float32(unembed(model, part)).to(part.device)
        log_probabilities = logits.log_softmax(dim=1)
        chosen[inside] = log_probabilities[at, wanted].to(chosen)
        best[inside] = log_probabilities.argmax(dim=1)[at] == wanted
    return chosen, best


def _row(prompt: Prompt, options: list[Tensor], greedy: list[bool]) -> dict:
    instance = prompt.instance
    means = torch.stack([option.mean() for option in options])
    predicted = int(means.argmax())
    correct, written = predicted == instance.answer, greedy[instance.answer]
    if instance.credits is not None:
        correct = instance.credits[predicted]
        # Two are written where one begins with the other.
        written = max(
            (c for c, is_it in zip(instance.credits, greedy, strict=True) if is_it), default=0.0
        )
    return {
        "id": instance.id,
        "task": instance.task,
        "country": country_in_frames(instance.country),
        "question": instance.question_key,
        "template": instance.template,
        "answer": instance.answer_text,
        "predicted": instance.options[predicted],
        "correct": correct,
        "correct_vocabulary": written,
        "probability": float(options[instance.answer].sum().exp()),
        "chance": instance.chance,
    }
