"""Evaluation: answering instances, with or without an ablation; one row an instance."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from culnig_tl.ablation import ablate
from culnig_tl.batches import flat_positions, pad_batch, plan_batches
from culnig_tl.files import progress
from culnig_tl.instances import Instance
from culnig_tl.models import HookedModel, PrefixCache, kept_logits, tokenizer_of
from culnig_tl.neurons import NeuronSet
from culnig_tl.prompts import Prompt, make_prompts

COLUMNS = (
    "id",
    "task",
    "country",
    "template",
    "answer",
    "predicted",
    "correct",
    "correct_vocabulary",
    "probability",
)


def evaluate(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet | None = None,
    factor: float = 0.0,
    answer_format: str = "auto",
    token_budget: int = 4096,
) -> pd.DataFrame:
    """Let the model answer, with the activations of `neurons` multiplied by `factor`.

    The predicted option is the one with the highest mean log-probability of its tokens (for a
    letter: of its one token). The options share their prompt, so its keys and values are computed
    once, and only the logits that are needed.

    Returns:
        One row an instance, in their order: id, task, country, template, answer and predicted
        (option texts), correct (predicted is answer), correct_vocabulary (every token of the
        answer is the arg-max of the whole vocabulary: the paper's metric), probability (P(y|x)
        of the answer).

    Raises:
        CulnigError: bad instances, or a neuron set of another model.
    """
    tokenizer = tokenizer_of(model)
    prompts = make_prompts(tokenizer, instances, answer_format)
    plan = plan_batches([len(prompt.tokens) for prompt in prompts], token_budget)
    rows: dict[int, dict] = {}
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), ablate(model, neurons, factor):
            for batch in progress(plan, "Evaluation", total=len(plan)):
                answers = answer_log_probabilities(model, [prompts[row] for row in batch])
                for row, (options, greedy) in zip(batch, answers, strict=True):
                    rows[row] = _row(prompts[row], options, greedy)
    finally:
        model.train(training)
    return pd.DataFrame([rows[row] for row in range(len(prompts))], columns=list(COLUMNS))


def answer_log_probabilities(
    model: HookedModel, prompts: Sequence[Prompt]
) -> list[tuple[list[Tensor], bool]]:
    """For each prompt: the log-probability of each option's tokens, and whether the answer is
    what greedy decoding over the whole vocabulary would write.
    """
    device = model.cfg.device
    batch = pad_batch([p.tokens for p in prompts], range(len(prompts)), tokenizer_of(model), device)
    width = batch.tokens.shape[1]
    pairs = [(i, o) for i, prompt in enumerate(prompts) for o in range(len(prompt.options))]
    longer = [(i, o) for i, o in pairs if len(prompts[i].options[o]) > 1]
    cache = PrefixCache(model, len(prompts)) if longer else None
    last = flat_positions([(width, 1)] * len(prompts), width, device)
    first = kept_logits(model, batch.tokens, batch.mask, last, cache).float().log_softmax(dim=1)
    best = first.argmax(dim=1)
    log_probabilities = {(i, o): [first[i, prompts[i].options[o][0]][None]] for i, o in pairs}
    greedy = [bool(best[i] == prompt.label[0]) for i, prompt in enumerate(prompts)]
    if cache is not None:
        cache.select(torch.tensor([i for i, _ in longer], device=device))
        starts = [prompts[i].options[o][:-1] for i, o in longer]
        step = max(map(len, starts))
        # Padded on the right: what follows an option's last token cannot change it.
        tokens = torch.tensor([[*s, *[0] * (step - len(s))] for s in starts], device=device)
        keep = flat_positions([(len(s), len(s)) for s in starts], step, device)
        logits = kept_logits(model, tokens, torch.ones_like(tokens), keep, cache).float()
        rest = torch.tensor(
            [token for i, o in longer for token in prompts[i].options[o][1:]], device=device
        )
        chosen = logits.gather(1, rest[:, None])[:, 0] - logits.logsumexp(dim=1)
        is_best = (logits.argmax(dim=1) == rest).tolist()
        position = 0
        for (i, o), start in zip(longer, starts, strict=True):
            span = slice(position, position + len(start))
            log_probabilities[i, o].append(chosen[span])
            if o == prompts[i].instance.answer:
                greedy[i] = greedy[i] and all(is_best[span])
            position = span.stop
    return [
        (
            [torch.cat(log_probabilities[i, o]) for o in range(len(prompt.options))],
            greedy[i],
        )
        for i, prompt in enumerate(prompts)
    ]


def _row(prompt: Prompt, options: list[Tensor], greedy: bool) -> dict:
    instance = prompt.instance
    means = torch.stack([option.mean() for option in options])
    predicted = int(means.argmax())
    return {
        "id": instance.id,
        "task": instance.task,
        "country": instance.country or "",
        "template": instance.template,
        "answer": instance.answer_text,
        "predicted": instance.options[predicted],
        "correct": predicted == instance.answer,
        "correct_vocabulary": greedy,
        "probability": float(options[instance.answer].sum().exp()),
    }
