"""What a head attends to, with one of its q or k neurons and without it."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.layout import Neuron, hook_name
from culnig_tl.tasks.instances import Instance


def attended_tokens(
    model: HookedModel,
    instance: Instance,
    neuron: Neuron,
    *,
    answer_format: AnswerFormat = "auto",
) -> pd.DataFrame:
    """What the neuron's head attends to from the prompt's last position, and without the neuron.

    Of a k neuron, whose head serves a group of query heads, it is their mean.

    Args:
        neuron: of site q or k.
        model, instance, answer_format: as `exact_effects`.

    Returns:
        One row a position: token, with_neuron and without_neuron, shares of attention that add up
        to 1.

    Raises:
        CulnigError: a neuron of another site, one that the model does not have, or attention that
            is NaN or infinite.

    Example:
        `model` is a tiny random one.

        >>> frame = attended_tokens(model, instances[0], Neuron(1, "q", 3))
        >>> round(float(frame["with_neuron"].sum()), 4)
        1.0
    """
    layout, tokenizer = layout_of(model), tokenizer_of(model)
    layout.flat_id(neuron)  # it is there
    if neuron.site not in ("q", "k"):
        raise CulnigError(
            f"{neuron.site} neurons do not say where a head looks: give one of q or k"
        )
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    d_head = int(model.cfg.d_head)
    head = neuron.index // d_head
    group = layout.q // layout.size(neuron.site)
    heads = slice(head * group, (head + 1) * group)
    patterns: list[Tensor] = []

    def cut(activation: Tensor, hook: Any) -> Tensor:
        flat = activation.flatten(2).clone()
        flat[1, :, neuron.index] = 0
        return flat.view(activation.shape)

    def keep(pattern: Tensor, hook: Any) -> None:
        patterns.append(at_least_float32(pattern[:, heads, -1]).mean(dim=1).cpu())

    tokens = torch.tensor([prompt.tokens] * 2, device=model.cfg.device)
    where = f"blocks.{neuron.layer}.attn.hook_pattern"
    last = torch.tensor([0], device=model.cfg.device)
    with (
        frozen(model),
        torch.no_grad(),
        hooked(model, [(hook_name(neuron.layer, neuron.site), cut), (where, keep)]),
    ):
        kept_residuals(model, tokens, torch.ones_like(tokens), keep=last)
    check_finite(patterns, [f"instance {instance.id}"], "attention patterns")
    with_neuron, without = patterns[0].numpy()
    return pd.DataFrame(
        {
            "token": [tokenizer.decode([token]) for token in prompt.tokens],
            "with_neuron": with_neuron,
            "without_neuron": without,
        }
    )
