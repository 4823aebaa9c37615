"""Attribution: activation x gradient of every neuron, in one backward pass per batch."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.measure.gradients import gradient_hooks
from culnig_tl.models.batches import alike, fitting_budget, pad_batch
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import (
    describe_model,
    identity_of,
    layout_of,
    projection_biases,
    tokenizer_of,
)
from culnig_tl.models.devices import layer_devices
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, label_log_probability
from culnig_tl.models.prompts import Prompt, model_prompts, resolve_format
from culnig_tl.models.sums import add_batches
from culnig_tl.neurons.estimates import ESTIMATES, Estimate, estimate_points
from culnig_tl.neurons.layout import SITES, NeuronLayout, Site, hook_name
from culnig_tl.neurons.scores import (
    DEFAULT_TARGETS,
    TARGETS,
    VARIANTS,
    Part,
    Scores,
    Target,
)
from culnig_tl.no_group import group_in_scores
from culnig_tl.provenance import package_versions
from culnig_tl.tasks.instances import Instance, content_hash, stable_random

WEIGHTLESS = "weightless"
# Sums of another meaning are not added to: of rows that are instances, say.
_MEANING = "sums, version 5"
# Bootstrap resamples of the questions whose sums are kept, all groups together.
RESAMPLES = 10
_log = logging.getLogger(__name__)


def attribute(
    model: HookedModel,
    instances: Sequence[Instance],
    *,
    answer_format: AnswerFormat = "auto",
    clamp_control: bool = True,
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    targets: Sequence[Target] | None = None,
    estimate: Estimate = "first_order",
) -> Scores:
    """Score every neuron of the model on the instances (equations 6, 7 and 10).

    At each real position s_i = n_i * dT/dn_i, where the target T of the right answer y is P(y|x),
    the product of its tokens' probabilities, or another function of it (see `Scores`). Per
    instance s_i is reduced over positions by its `max`, `mean` or `norm` (w . dT/dw for the
    neuron's weight row: the sum of (n_i - b) dT/dn_i with its projection's bias b); the result
    sums T * s_i per group (for the target `log`: s_i alone). All targets come from one backward
    pass, as their gradients are those of log P(y|x) times a number. Products and sums are float32
    or better whatever the model's dtype. Scores do not depend on batch size, order or padding.
    Instances that the model cannot tell apart (the same tokens and the same answer, as BLEnD's in
    the cloze format) run once, and weigh as many times as there are. Of each half of the questions
    the sums are kept too, and of ten bootstrap resamples of them (`Scores.half`, `resample`), to
    show what other questions would have found.
    Instances whose answers are so unlikely that T * s_i is 0 in floating point are counted in the
    provenance (`weightless`, by target), and a warning tells of those of the default target.

    Args:
        model: from `load_model` or `wrap_model`.
        instances: from `load_task`.
        answer_format: `cloze`, `letter`, or `auto` (letter where there is a chat template).
        clamp_control: negative scores of a single control instance count as 0, as in the paper's
            published code.
        token_budget: tokens in a batch, padding included; None takes what fits into the free
            memory (`fitting_budget`). When memory runs out, it is halved once.
        checkpoint: a file that keeps the sums every `checkpoint_seconds`; a run that died goes on
            from it and ends with the same scores, bit for bit. Under torchrun the processes
            share the instances, and the sums differ in the last digits, as with another budget.
        targets: some of `TARGETS`, the scores' default first; None takes all, first that of the
            answer format (`DEFAULT_TARGETS`). The sums take targets x 6 x groups x neurons x 8
            bytes while scoring: name one where that is too much.
        estimate: how the effect of setting n to 0 is estimated, one of `ESTIMATES`: `first_order`
            is s_i as above, the paper's; `gate_exact` takes for a gate neuron h dT/dh of what its
            activation function and the up projection make of it, h = act(n) * up, which is 0 where
            n is: the gate's own curve is then exact, and only what comes after it is first order.
            Its `norm` is the sum over positions.

    Returns:
        Scores with all three variants.

    Raises:
        CulnigError: an unknown estimate, bad instances, a hook that never fired, a score that is
            not finite (with the instance's id), a checkpoint of another run, or not enough memory.

    Example:
        `model` is a tiny random one, and `instances` eight questions about four groups.

        >>> attribute(model, instances, targets=["log"])
        Scores of 336 neurons from 8 instances of tiny (neuron), 4 groups, targets log,
        variants max, mean, norm
    """
    tokenizer = tokenizer_of(model)
    answer_format = resolve_format(tokenizer, answer_format)
    prompts = model_prompts(model, instances, answer_format=answer_format)
    layout = layout_of(model)
    check_choice("estimate", estimate, ESTIMATES)
    if targets is None:
        targets = (DEFAULT_TARGETS[answer_format], *TARGETS)
    targets = _check_targets(targets)
    provenance = {
        "versions": package_versions(),
        "model": describe_model(model),
        "dataset": {
            "task": ", ".join(dict.fromkeys(i.task for i in instances)),
            "split": ", ".join(dict.fromkeys(i.split for i in instances)),
            "hash": content_hash(list(instances)),
            "questions": len({(i.task, i.topic) for i in instances}),
        },
        "arguments": {
            "answer_format": answer_format,
            "targets": targets,
            "clamp_control": clamp_control,
            "estimate": estimate,
        },
    }
    groups = tuple(dict.fromkeys(group_in_scores(i.group) for i in instances))
    runs = scored_once(prompts, clamp_control=clamp_control)
    different = [prompts[places[0]] for places in runs]
    # How many instances of each group a row stands for, in either half of the questions; and
    # how many in each resample.
    shares = torch.zeros(2, len(groups), len(runs))
    resampled = torch.zeros(RESAMPLES, len(runs))
    for row, places in enumerate(runs):
        for place in places:
            instance = prompts[place].instance
            group = groups.index(group_in_scores(instance.group))
            shares[instance.half, group, row] += 1
            resampled[:, row] += torch.tensor(_draws(instance.topic))
    lengths = [len(prompt.sequence) for prompt in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths))
    # Of each layer: targets x halves x groups, then the resamples.
    columns = 2 * len(targets) * len(groups)
    sums = _zeros(model, layout, (len(VARIANTS), columns + RESAMPLES))
    sums[WEIGHTLESS] = torch.zeros(len(targets), device=model.cfg.device)
    biases = projection_biases(model)

    def work(rows: list[int]) -> Found:
        return score_batch(
            model,
            [different[row] for row in rows],
            targets,
            clamp_control=clamp_control,
            estimate=estimate,
            biases=biases,
        )

    with frozen(model):
        for rows, found in add_batches(
            lengths,
            token_budget,
            work=work,
            sums=sums,
            made_from={"meaning": _MEANING, **provenance, "model": identity_of(model)},
            what="Attribution",
            checkpoint=checkpoint,
            seconds=checkpoint_seconds,
            places=runs,
        ):
            weights, share = found.weights.cpu(), shares[:, :, rows].flatten(0, 1)
            weightless = (weights == 0).float() @ share.sum(dim=0)
            sums[WEIGHTLESS] += weightless.to(sums[WEIGHTLESS])
            weighted = (weights[:, None] * share).flatten(0, 1)
            weighted = torch.cat([weighted, weights[0] * resampled[:, rows]])
            for (layer, site), variants in found.variants.items():
                start = layout.span(layer, SITES[0]).start
                span = layout.span(layer, site)
                here = slice(span.start - start, span.stop - start)
                sums[f"layer {layer}"][..., here] += weighted.to(variants) @ variants
    provenance["arguments"]["token_budget"] = token_budget  # it moves the last digits only
    weightless = dict(zip(targets, map(int, sums.pop(WEIGHTLESS)), strict=True))
    if any(weightless.values()):
        provenance["weightless"] = {target: n for target, n in weightless.items() if n}
    if weightless[targets[0]]:
        _log.warning(
            "%d of %d instances weigh 0 for the target %r: their answers are too unlikely for a "
            "product of probabilities; take the target 'log'",
            weightless[targets[0]], len(instances), targets[0],
        )  # fmt: skip
    shape = (len(targets), len(VARIANTS), len(groups), layout.total)
    both, half = np.empty(shape, np.float32), np.empty(shape, np.float32)
    drawn = np.empty((RESAMPLES, 1, len(VARIANTS), 1, layout.total), np.float32)
    for layer in range(layout.n_layers):
        start = layout.span(layer, SITES[0]).start
        here = slice(start, start + layout.per_layer)
        columns_of = sums.pop(f"layer {layer}").movedim(1, 0).cpu()
        halves = columns_of[:columns].unflatten(0, (len(targets), 2, len(groups)))
        both[..., here] = halves.sum(dim=1).movedim(1, 2).numpy()
        half[..., here] = halves[:, 0].movedim(1, 2).numpy()
        drawn[..., here] = columns_of[columns:, None, :, None].numpy()
    counts = shares.sum(dim=2).to(torch.int64)
    parts = {"half 0": Part(half, tuple(counts[0].tolist()))}
    for number, count in enumerate(resampled.sum(dim=1).tolist()):
        parts[f"resample {number}"] = Part(drawn[number], (int(count),))
    return Scores(
        layout=layout,
        targets=targets,
        variants=VARIANTS,
        groups=groups,
        instances=tuple(counts.sum(dim=0).tolist()),
        sums=both,
        provenance=provenance,
        parts=parts,
    )


def scored_once(prompts: Sequence[Prompt], *, clamp_control: bool = True) -> list[list[int]]:
    """The places of prompts that are one row: what the model reads and is asked is the same, and
    whether its scores are clamped."""
    return alike(
        (prompt.sequence, prompt.label, clamp_control and prompt.instance.split == "control")
        for prompt in prompts
    )


@dataclass(frozen=True)
class Found:
    """A batch's scores.

    Attributes:
        variants: [variant, batch, neurons] of each (layer, site).
        weights: what they are to be multiplied by for each target, [target, batch].
    """

    variants: dict[tuple[int, Site], Tensor]
    weights: Tensor


def _draws(question: str) -> list[int]:
    """How often a question is in each bootstrap resample: Poisson numbers of mean 1.

    They depend on nothing but the question, so that it has the same in scores and control.
    """
    numbers = stable_random("resample", question)
    draws = []
    for _ in range(RESAMPLES):
        left, count, chance = numbers.random(), 0, math.exp(-1)
        while left >= chance and count < 12:
            left, count = left - chance, count + 1
            chance /= count
        draws.append(count)
    return draws


def _zeros(model: HookedModel, layout: NeuronLayout, axes: tuple[int, ...]) -> dict[str, Tensor]:
    """The running sums of each layer, on the device where the layer is: [*axes, neurons]."""
    devices = layer_devices(model)
    return {
        f"layer {layer}": torch.zeros(
            *axes,
            layout.per_layer,
            dtype=torch.float32 if device.type == "mps" else torch.float64,
            device=device,
        )
        for layer, device in enumerate(devices)
    }


def score_batch(
    model: HookedModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Target],
    *,
    clamp_control: bool,
    estimate: Estimate = "first_order",
    biases: Mapping[tuple[int, Site], Tensor] | None = None,
) -> Found:
    """Score one batch; gradients must be on, and the model `frozen`.

    `biases` are the model's `projection_biases`, where they are at hand.

    Raises:
        CulnigError: a hook that never fired, or a score that is not finite.
    """
    layout, device = layout_of(model), model.cfg.device
    sequences = [prompt.sequence for prompt in prompts]
    batch = pad_batch(sequences, range(len(prompts)), tokenizer_of(model), device=device)
    lengths = [len(sequence) for sequence in sequences]
    padded = max(lengths) - min(lengths)
    clamp = torch.tensor(
        [clamp_control and prompt.instance.split == "control" for prompt in prompts]
    )
    total = torch.zeros(len(prompts), device=device)
    found: dict[tuple[int, Site], Tensor] = {}
    if biases is None:
        biases = projection_biases(model)

    def reduce(key: tuple[int, Site], activation: Tensor, gradient: Tensor) -> None:
        mask = batch.mask.to(activation.device)
        variants = reduce_positions(activation, gradient, mask, padded=padded)
        if key in biases and points[key] == hook_name(*key):
            slope = at_least_float32(gradient).flatten(2).sum(dim=1)
            variants[VARIANTS.index("norm")] -= biases[key].to(slope) * slope
        if clamp.any():
            rows = clamp[:, None].to(variants.device)
            variants = torch.where(rows, variants.clamp(min=0), variants)
        total.add_(variants.sum(dim=(0, 2)).to(total))
        found[key] = variants

    points = estimate_points(layout.keys, estimate)
    with gradient_hooks(model, points, reduce):
        labels = [prompt.label for prompt in prompts]
        log_probability = label_log_probability(model, batch.tokens, batch.mask, labels=labels)
        log_probability.sum().backward()
    log_p = log_probability.detach()
    tokens = torch.tensor([len(label) for label in labels], device=log_p.device)
    weights = torch.stack([_weight(target, log_p, tokens) for target in targets])
    names = [f"instance {prompt.instance.id}" for prompt in prompts]
    # A log P of minus infinity has a weight of 0, and scores of 0.
    check_finite(torch.stack([total, log_p.to(total), *weights.to(total)], dim=1), names, "scores")
    return Found(found, weights)


def _check_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    if not targets:
        raise CulnigError(f"no target: choose from {', '.join(TARGETS)}")
    for target in targets:
        check_choice("target", target, TARGETS)
    return tuple(dict.fromkeys(targets))


def _weight(
    target: Target, log_probability: Float[Tensor, "batch"], lengths: Int[Tensor, "batch"]
) -> Float[Tensor, "batch"]:
    """What the gradient of log P(y|x) is to be multiplied by: T (for `log`: 1) times dT/dlogP."""
    if target == "product":  # T = P: T * P
        return (2 * log_probability).exp()
    if target == "geometric":  # T = exp(log P / L): T * T / L
        return (2 * log_probability / lengths).exp() / lengths
    return 1 / lengths  # T = log P / L


def reduce_positions(
    activation: Float[Tensor, "batch pos ..."],
    gradient: Float[Tensor, "batch pos ..."],
    mask: Int[Tensor, "batch pos"],
    *,
    padded: int,
) -> Float[Tensor, "3 batch neurons"]:
    """Activation x gradient at each position (equation 6), reduced over the real positions.

    The first axis of the result is `VARIANTS`: max (equation 7), mean, and the sum, which is
    `norm` of a projection without bias. Padding's gradient is exactly zero, so only the max needs
    the mask: -inf there. All padding is among the first `padded` positions.
    """
    score = (at_least_float32(activation) * at_least_float32(gradient)).flatten(2)
    norm = score.sum(dim=1)
    mean = norm / mask.sum(dim=1, keepdim=True)
    score[:, :padded].masked_fill_((mask[:, :padded] == 0)[:, :, None], -torch.inf)
    highest = score.amax(dim=1)
    return torch.stack([highest, mean, norm])
