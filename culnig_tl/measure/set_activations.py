"""Set activations: what chosen neurons do at every position of some prompts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.models.batches import alike, fitting_budget, in_batches, pad_batch
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.activations import Activations, prompt_frame
from culnig_tl.neurons.layout import Key, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.tasks.instances import Instance


def set_activations(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
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

    Raises:
        CulnigError: an empty set, one of another model, no instances, or activations that are NaN
            or infinite.

    Example:
        `model` is a tiny random one, `instances` eight questions, and `few` a set of four neurons.

        >>> found = set_activations(model, instances, few)
        >>> found
        Activations of 4 neurons at 56 positions of 8 prompts
        >>> found.contexts(0, k=2)["side"].tolist()
        [1, 1, -1, -1]
    """
    if not len(neurons):
        raise CulnigError(f"the set {neurons.name!r} is empty: there is nothing to look at")
    require_same_model(neurons, layout_of(model))
    tokenizer, by_site = tokenizer_of(model), neurons.by_site()
    prompts = model_prompts(model, instances, answer_format=answer_format)
    different = [prompts[places[0]] for places in alike(prompt.tokens for prompt in prompts)]
    lengths = [len(prompt.tokens) for prompt in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)
    rows: dict[int, np.ndarray] = {}

    def work(batch: list[int]) -> dict[int, np.ndarray]:
        sequences = [different[row].tokens for row in batch]
        padded = pad_batch(sequences, range(len(batch)), tokenizer, device=model.cfg.device)
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
        names = [f"instance {different[row].instance.id}" for row in batch]
        parts = [
            values[len(values) - lengths[row] :] for row, values in zip(batch, whole, strict=True)
        ]
        check_finite(parts, names, "activations")
        return {row: part.numpy() for row, part in zip(batch, parts, strict=True)}

    with frozen(model), torch.no_grad():
        for _, part in in_batches(
            range(len(different)), lengths, token_budget, work=work, what="Activations"
        ):
            rows |= part
    return Activations(
        neurons=neurons,
        prompts=prompt_frame(
            [prompt.instance.id for prompt in different],
            [prompt.instance.country for prompt in different],
            lengths,
        ),
        tokens=tuple(tokenizer.decode([token]) for p in different for token in p.tokens),
        values=np.concatenate([rows[row] for row in range(len(different))]),
    )
