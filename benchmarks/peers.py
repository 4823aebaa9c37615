"""How fast attribution is beside two general libraries, on the same model and prompts.

- `captum`: `LayerGradientXActivation` of P(y|x) with all projections as its layers, on the batches
  that `ours` makes; the model's forward as it is, so the logits of all positions.
- `captum, last logits`: the same with `logits_to_keep`, as only the last positions matter.
- `nnsight`: a loop over the prompts; one trace each, with the gradients of the projections saved.
- `ours`: `attribute`, tokenisation and all targets and reductions included.

The first three only reduce to the `max` score of P(y|x), which is compared neuron by neuron. They
need the extra `bench`.

    python benchmarks/peers.py

All run in one process, round-robin; peak memory is measured in a process of its own for each.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import nnsight
import torch
from attribution import (
    Group,
    add_highest,
    answer_log_probability,
    load_bare,
    make_batches,
    needed_positions,
    positions_of,
    projections,
    relative_difference,
)
from captum.attr import LayerGradientXActivation
from common import MODEL, Target, finish, interleaved, machine, parser, peak_memories, report_peak
from torch import Tensor
from transformers import AutoTokenizer

from culnig_tl.measure.attribution import attribute
from culnig_tl.models.configs import neuron_layout
from culnig_tl.models.embedded import embedded_folder
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import Prompt, make_prompts
from culnig_tl.neurons.scores import Scores
from culnig_tl.no_group import group_in_scores
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance

CAPTUM, LAST, NNSIGHT, OURS = "captum", "captum, last logits", "nnsight", "ours"
METHODS = (CAPTUM, LAST, NNSIGHT, OURS)


def empty_scores(model: Any, instances: Sequence[Instance]) -> Scores:
    """Where countries and neurons have their places; no sums."""
    countries = tuple(dict.fromkeys(group_in_scores(instance.group) for instance in instances))
    layout = neuron_layout(model.config, name=MODEL)
    zeros = torch.zeros(1, 1, len(countries), layout.total).numpy()
    return Scores(
        layout=layout,
        targets=("product",),
        variants=("max",),
        groups=countries,
        instances=(1,) * len(countries),
        sums=zeros,
        provenance={},
    )


def by_captum(model: Any, groups: Sequence[Group], like: Scores, last_only: bool) -> Tensor:
    """The `max` sums of P(y|x), [country, neuron]."""
    sums = torch.zeros(len(like.groups), like.layout.total, dtype=torch.float64)
    layers = projections(model)
    for prompts, batch in groups:
        width = batch.tokens.shape[1]
        kept = max(len(prompt.label) for prompt in prompts) if last_only else width
        found: list[Tensor] = []

        def probability(
            tokens: Tensor, batch: Any = batch, prompts: Any = prompts, kept: int = kept,
            found: list[Tensor] = found,
        ) -> Tensor:  # fmt: skip
            logits = model(
                input_ids=tokens,
                attention_mask=batch.mask,
                position_ids=positions_of(batch.mask),
                use_cache=False,
                logits_to_keep=kept,
            ).logits
            at = needed_positions(prompts, batch)
            rows, columns = at // batch.tokens.shape[1], at % batch.tokens.shape[1]
            needed = logits[rows, columns - (batch.tokens.shape[1] - kept)]
            found.append(answer_log_probability(needed, prompts).exp())
            return found[-1]

        products = LayerGradientXActivation(probability, list(layers.values())).attribute(
            batch.tokens
        )
        p = found[-1].detach()
        for key, product in zip(layers, products, strict=True):
            add_highest(sums, like, key, product.detach(), prompts, batch.mask, p)
    return sums


def by_nnsight(model: Any, prompts: Sequence[Prompt], like: Scores) -> Tensor:
    """The `max` sums of P(y|x), [country, neuron]."""
    sums = torch.zeros(len(like.groups), like.layout.total, dtype=torch.float64)
    keys = [(n, s) for n in range(like.layout.n_layers) for s in ("q", "k", "v", "gate")]
    for prompt in prompts:
        tokens = torch.tensor([prompt.sequence], device=model.device)
        label = torch.tensor(prompt.label, device=model.device)
        with model.trace(tokens):
            activations, gradients = nnsight.save([]), nnsight.save([])
            for layer in model.model.layers:
                activations.append(layer.self_attn.q_proj.output)
                activations.append(layer.self_attn.k_proj.output)
                activations.append(layer.self_attn.v_proj.output)
                activations.append(layer.mlp.gate_proj.output)
            logits = model.lm_head.output[0, -len(label) :]
            losses = torch.nn.functional.cross_entropy(logits, label, reduction="none")
            p = nnsight.save((-losses.sum()).exp())
            with p.backward():
                for activation in reversed(activations):
                    gradients.append(activation.grad)
        probability, mask = p.detach()[None], torch.ones_like(tokens)
        for key, activation, gradient in zip(keys, activations, gradients[::-1], strict=True):
            product = (activation * gradient).detach()
            add_highest(sums, like, key, product, [prompt], mask, probability)
    return sums


def prepare(
    options: argparse.Namespace, names: Sequence[str]
) -> tuple[dict[str, Callable[[], Any]], Any, list[Instance]]:
    """Load what the methods `names` need; returns them, the last model loaded, and the data."""
    instances = load_task("everyday", "neuron", limit=options.instances)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    prompts = make_prompts(tokenizer, instances, answer_format="cloze")
    groups = make_batches(tokenizer, prompts, options.token_budget, options.device)
    methods: dict[str, Callable[[], Any]] = {}
    model = None
    if OURS in names:
        model = load_model(MODEL, model_class=options.model_class, device=options.device)
        hooked, budget = model, options.token_budget
        methods[OURS] = lambda: attribute(
            hooked, instances, answer_format="cloze", token_budget=budget
        )
    if set(names) - {OURS}:
        model = bare = load_bare(options.device)
        like = empty_scores(bare, instances)
        methods[CAPTUM] = lambda: by_captum(bare, groups, like, last_only=False)
        methods[LAST] = lambda: by_captum(bare, groups, like, last_only=True)
    if NNSIGHT in names:
        traced = nnsight.TransformersModel(bare, tokenizer=tokenizer, task="text-generation")
        methods[NNSIGHT] = lambda: by_nnsight(traced, prompts, like)
    return {name: methods[name] for name in names}, model, instances


def main() -> None:
    warnings.filterwarnings("ignore", module="(captum|nnsight).*")
    options = parser(__doc__.splitlines()[0] if __doc__ else None).parse_args()
    if options.only:
        methods, model, _ = prepare(options, [options.only])
        report_peak(methods[options.only], model, options.device)
        return
    about = machine()
    memory = peak_memories(__file__, METHODS, options)
    methods, _, instances = prepare(options, METHODS)
    options.instances = len(instances)
    # The check is also the warm-up.
    scores = methods[OURS]()
    agreement = {}
    for name in METHODS[:-1]:
        norm, element = relative_difference(scores, methods[name]())
        agreement |= {f"{name}: norm of difference": norm, f"{name}: largest element": element}
        print(
            f"max-scores, ours against {name}, worst country and site: norm of the difference "
            f"{norm:.1e}, largest element {element:.1e} (wanted <= 1e-4): "
            f"{'ok' if max(norm, element) <= 1e-4 else 'DIFFERENT'}"
        )
    seconds = interleaved(methods, dict.fromkeys(METHODS, options.repeats), options.device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    fastest = min((CAPTUM, NNSIGHT), key=lambda name: medians[name])
    targets = [
        Target(f"time, {fastest} / ours", medians[fastest] / medians[OURS], 1.5, True),
        Target(f"time, {LAST} / ours", medians[LAST] / medians[OURS], 1.0, True),
    ]
    for name in METHODS[:-1] if memory else ():
        ratio = memory[OURS]["extra_mib"] / memory[name]["extra_mib"]
        targets.append(Target(f"peak above the loaded model, ours / {name}", ratio, 1.0, False))
    finish(
        f"Attribution of {len(instances)} instances, {options.model_class}, {options.device}",
        options,
        seconds,
        memory,
        targets,
        agreement,
        "peers",
        about,
    )


if __name__ == "__main__":
    main()
