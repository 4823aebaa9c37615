"""Evaluation: answering instances, with or without an ablation; one row an instance."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.reference import Reference
from culnig_tl.models.batches import (
    alike,
    covers,
    fitting_budget,
    flat_positions,
    in_batches,
    pad_batch,
)
from culnig_tl.models.caches import PrefixCache
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals, unembed
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.estimates import Values
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.no_group import group_in_frames
from culnig_tl.processes import gathered, my_share
from culnig_tl.tasks.instances import Instance

# Rows of [d_vocab] in memory at a time: 512 with a vocabulary of 262,144 are 0.5 GiB, twice.
UNEMBEDDED_AT_ONCE = 512
# Options of a prompt for which its keys and values are copied at a time: as many as most have.
COPIES = 4
COLUMNS = (
    "id",
    "task",
    "group",
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
    values: Values = "zero",
    reference: Reference | None = None,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Let the model answer, with the activations of `neurons` multiplied by `factor`.

    Or with those of other prompts in their place (`values`, `reference`, as in `ablate`).

    The predicted option is the one with the highest mean log-probability of its tokens (for a
    letter: of its one token). The options share their prompt, so its keys and values are computed
    once, and only the logits that are needed; instances with the same prompt share it, and what
    options they have in common. Under torchrun the processes share the instances.

    Returns:
        One row an instance, in their order: id, task, group, question (its key: rows of one
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
    runs, different = asked_once(prompts)
    lengths = [len(prompt.tokens) for prompt in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False, cached=1 + COPIES)
    rows: dict[int, dict] = {}

    def work(batch: list[int]) -> list[tuple[list[Tensor], list[bool]]]:
        asked = [different[row] for row in batch]
        return answer_log_probabilities(model, asked, token_budget=token_budget)

    changed = ablate(model, neurons, factor=factor, values=values, reference=reference)
    with frozen(model), torch.no_grad(), changed:
        for batch, answers in in_batches(
            my_share(lengths),
            lengths,
            token_budget,
            work=work,
            what="Evaluation",
            places=runs,
        ):
            for row, (options, greedy) in zip(batch, answers, strict=True):
                found = dict(
                    zip(different[row].options, zip(options, greedy, strict=True), strict=True)
                )
                for place in runs[row]:
                    own = [found[option] for option in prompts[place].options]
                    rows[place] = _row(prompts[place], [o for o, _ in own], [g for _, g in own])
    rows = {row: values for part in gathered(rows) for row, values in part.items()}
    frame = pd.DataFrame([rows[row] for row in range(len(prompts))], columns=list(COLUMNS))
    if any(instance.credits is not None for instance in instances):
        # One type a column, or a CSV would mix True with 0.5.
        frame = frame.astype({"correct": float, "correct_vocabulary": float})
    return frame


def asked_once(prompts: Sequence[Prompt]) -> tuple[list[list[int]], list[Prompt]]:
    """The places of prompts with the same tokens; and the first of each, with the options of all,
    each once."""
    runs = alike(prompt.tokens for prompt in prompts)
    different = []
    for places in runs:
        options = dict.fromkeys(option for place in places for option in prompts[place].options)
        different.append(replace(prompts[places[0]], options=tuple(options)))
    return runs, different


def behind_prompt(prompt: Prompt) -> dict[tuple[int, ...], tuple[int, ...]]:
    """What runs behind a prompt: for each option without its last token, the longest of all that
    begin with it."""
    return covers(option[:-1] for option in prompt.options if len(option) > 1)


def answer_log_probabilities(
    model: HookedModel, prompts: Sequence[Prompt], *, token_budget: int
) -> list[tuple[list[Tensor], list[bool]]]:
    """For each prompt: the log-probability of each option's tokens, and whether that option is
    what greedy decoding over the whole vocabulary would write.

    1. The prompts run once, and give the first token of every option.
    2. What an option says before its last token runs behind the keys and values of its prompt; an
       option that begins as another one does uses the longer one's.

    Args:
        token_budget: tokens in a pass of options; `COPIES` times as many keys and values.

    Raises:
        CulnigError: a log-probability that is NaN or infinite.
    """
    device = model.cfg.device
    batch = pad_batch(
        [p.tokens for p in prompts], range(len(prompts)), tokenizer_of(model), device=device
    )
    width = batch.tokens.shape[1]
    # By length, as a pass has no padding.
    behind = list(map(behind_prompt, prompts))
    further: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for i, found in enumerate(behind):
        for sequence in dict.fromkeys(found.values()):
            further[len(sequence)].append((i, sequence))
    cache = PrefixCache(model, len(prompts)) if further else None
    last = flat_positions([(width, 1)] * len(prompts), width, device)
    residuals = [kept_residuals(model, batch.tokens, batch.mask, keep=last, cache=cache)]
    # The row of `residuals` from which the first token behind a sequence is predicted.
    starts: dict[tuple[int, tuple[int, ...]], int] = {}
    n_rows = len(prompts)
    for steps, every in further.items():
        most = max(1, min(token_budget // steps, COPIES * token_budget // (width + steps)))
        for chunk in range(0, len(every), most):
            pairs = every[chunk : chunk + most]
            residuals.append(_run_behind(model, cache, pairs))
            for pair in pairs:
                starts[pair] = n_rows
                n_rows += steps
    rows: dict[tuple[int, int], list[int]] = {}
    for i, prompt in enumerate(prompts):
        for o, option in enumerate(prompt.options):
            rows[i, o] = [i]
            if len(option) > 1:
                start = starts[i, behind[i][option[:-1]]]
                rows[i, o] += range(start, start + len(option) - 1)
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


def _run_behind(
    model: HookedModel, cache: PrefixCache | None, pairs: Sequence[tuple[int, tuple[int, ...]]]
) -> Float[Tensor, "kept d_model"]:
    """Residuals of sequences of one length, each behind the prompt of its number in the cache."""
    assert cache is not None
    device = model.cfg.device
    tokens = torch.tensor([sequence for _, sequence in pairs], device=device)
    shared = cache.take(torch.tensor([i for i, _ in pairs], device=device))
    every = torch.arange(tokens.numel(), device=device)
    return kept_residuals(model, tokens, torch.ones_like(tokens), keep=every, cache=shared)


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
        "group": group_in_frames(instance.group),
        "question": instance.question_key,
        "template": instance.template,
        "answer": instance.answer_text,
        "predicted": instance.options[predicted],
        "correct": correct,
        "correct_vocabulary": written,
        "probability": float(options[instance.answer].sum().exp()),
        "chance": instance.chance,
    }
