"""Set activations: what chosen neurons do at every position of some prompts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.models.batches import alike, fitting_budget, in_batches, pad_batch
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, position_limit, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import check_lengths, model_prompts
from culnig_tl.neurons.activations import Activations, prompt_frame
from culnig_tl.neurons.layout import Key, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.tasks.instances import Instance


def set_activations(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    texts: Sequence[str] = (),
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> Activations:
    """The activations of `neurons` at every position of the prompts of `instances`.

    Positions are those of the prompt, without an answer. Instances with the same prompt (a question
    with other options, in the cloze format) are one row, named by the first. The activations take
    positions x neurons x 4 bytes.

    Args:
        model, instances, answer_format, token_budget: as `evaluate`.
        neurons: which, of this model.
        texts: plain texts that are looked at too, as they are; their rows are named `text 1`, ...

    Raises:
        CulnigError: an empty set, one of another model, no instances, a text without a token or
            longer than the model's positions, or activations that are NaN or infinite.

    Example:
        `model` is a tiny random one, `instances` eight questions, and `few` a set of four neurons.

        >>> found = set_activations(model, instances, few)
        >>> found
        Activations of 4 neurons at 51 positions of 4 prompts
        >>> found.contexts(0, k=2)["side"].tolist()
        [1, 1, -1, -1]
    """
    if not len(neurons):
        raise CulnigError(f"the set {neurons.name!r} is empty: there is nothing to look at")
    require_same_model(neurons, layout_of(model))
    tokenizer, by_site = tokenizer_of(model), neurons.by_site()
    prompts = model_prompts(model, instances, answer_format=answer_format)
    different = [prompts[places[0]] for places in alike(prompt.tokens for prompt in prompts)]
    about: list[tuple[str, str | None, str]] = [
        (p.instance.id, p.instance.group, p.instance.topic) for p in different
    ]
    named = [f"text {number}" for number in range(1, len(texts) + 1)]
    about += [(name, None, name) for name in named]
    sequences = [prompt.tokens for prompt in different] + _tokenised(model, texts)
    lengths = [len(tokens) for tokens in sequences]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)
    rows: dict[int, np.ndarray] = {}

    def work(batch: list[int]) -> dict[int, np.ndarray]:
        padded = pad_batch(sequences, batch, tokenizer, device=model.cfg.device)
        found: dict[Key, Tensor] = {}

        def keep(key: Key) -> Callable[..., None]:
            index = torch.tensor(by_site[key])

            def hook_function(activation: Tensor, hook: Any) -> None:
                chosen = activation.flatten(2)[:, :, index.to(activation.device)]
                found[key] = at_least_float32(chosen).cpu()

            return hook_function

        last = torch.tensor([0], device=model.cfg.device)
        with hooked(model, [(hook_name(*key), keep(key)) for key in by_site]):
            kept_residuals(model, padded.tokens, padded.mask, keep=last)
        whole = torch.cat([found[key] for key in by_site], dim=2)
        parts = [
            values[len(values) - lengths[row] :] for row, values in zip(batch, whole, strict=True)
        ]
        check_finite(parts, [about[row][0] for row in batch], "activations")
        return {row: part.numpy() for row, part in zip(batch, parts, strict=True)}

    with frozen(model), torch.no_grad():
        for _, part in in_batches(
            range(len(sequences)), lengths, token_budget, work=work, what="Activations"
        ):
            rows |= part
    return Activations(
        neurons=neurons,
        prompts=prompt_frame(
            [name for name, _, _ in about],
            groups=[group for _, group, _ in about],
            questions=[question for *_, question in about],
            counts=lengths,
        ),
        tokens=tuple(tokenizer.decode([token]) for tokens in sequences for token in tokens),
        values=np.concatenate([rows[row] for row in range(len(sequences))]),
    )


def _tokenised(model: HookedModel, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of plain texts, behind the token that begins a text if there is one."""
    found = [tuple(tokenizer_of(model)(text)["input_ids"]) for text in texts]
    for number, tokens in enumerate(found, start=1):
        if not tokens:
            raise CulnigError(f"text {number} has no token: leave it out")
    named = ((f"text {number}", len(tokens)) for number, tokens in enumerate(found, start=1))
    check_lengths(position_limit(model), named)
    return found
