"""How fast attribution is, between the published way and the bare limit of the model.

- `as published`: batches of 16 in the data's order, the full model in train mode with weight
  gradients, the logits of all positions, padding filled with 0 before the max, and a Python loop
  over the neurons of each instance into nested dictionaries. The procedure of the paper's public
  code (github.com/ynklab/CULNIG, calc_neuron_score.py), written anew; without its fifth
  projection, up_proj, which no selection uses.
- `bare limit`: the Hugging Face model without TransformerLens: only the logits that are needed,
  one `torch.autograd.grad` to the outputs of the gate and q/k/v projections, and nothing done
  with the gradients. With frozen and with unfrozen weights; the limit is the faster.
- `ours`: `attribute`, tokenisation and reduction included.

    python benchmarks/attribution.py --model-class TransformerBridge

With `--blend FOLDER` the instances are the first of BLEnD's neuron split in file order, and their
controls, as a study takes them: up to five in a row are one question with other wrong options, and
controls are few different ones. The bare limit runs the different rows only, as ours does.

    python benchmarks/attribution.py --blend FOLDER --instances 512 --repeats 2 --skip-memory

    python benchmarks/attribution.py --device cuda --random google/gemma-3-12b-it

With `--random` (the default on a GPU) only `ours` runs, on the configuration of one of the paper's
models with random weights in bfloat16: instances a second, share of the device's peak, memory, and
what the paper's 26,202 instances would take. `--layers` takes fewer layers, `--peak` is the peak in
TFLOP/s.

Without it all run in one process, round-robin, on the same instances, the last three on the same
batches; peak memory is measured in a process of its own for each method.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from common import (
    MODEL,
    RESULTS,
    Target,
    finish,
    interleaved,
    machine,
    parser,
    peak_memories,
    report_peak,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from culnig_tl.files import write_json
from culnig_tl.measure.attribution import attribute, scored_once
from culnig_tl.models.batches import Batch, flat_positions, group_rows, pad_batch
from culnig_tl.models.configs import first_layers
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.embedded import embedded_folder
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import Prompt, make_prompts
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.scores import VARIANTS, Scores
from culnig_tl.no_group import group_in_scores
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.plan import make_step, model_sizes, step_flops
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance

PUBLISHED, FROZEN, UNFROZEN, OURS = "as published", "bare, frozen", "bare, unfrozen", "ours"
METHODS = (PUBLISHED, FROZEN, UNFROZEN, OURS)
PUBLISHED_BATCH = 16
PAPER_INSTANCES = 26202
Key = tuple[int, str]
Group = tuple[list[Prompt], Batch]


def load_bare(device: str) -> Any:
    """The Hugging Face model, as `load_model` loads it before it is wrapped."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        embedded_folder(), dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().to(device)


def projections(model: Any) -> dict[Key, Any]:
    """The modules whose outputs are the neurons."""
    found = {}
    for number, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        found[number, "gate"] = layer.mlp.gate_proj
        found[number, "q"], found[number, "k"] = attention.q_proj, attention.k_proj
        found[number, "v"] = attention.v_proj
    return found


def make_batches(
    tokenizer: Any, prompts: Sequence[Prompt], budget: int, device: str
) -> list[Group]:
    """The batches that `attribute` makes of these prompts."""
    sequences = [prompt.sequence for prompt in prompts]
    return [
        ([prompts[row] for row in rows], pad_batch(sequences, rows, tokenizer, device=device))
        for rows in group_rows(range(len(prompts)), [*map(len, sequences)], budget)
    ]


def positions_of(mask: Tensor) -> Tensor:
    """Position ids that begin at the first real token."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


class Outputs:
    """Forward hooks that keep the outputs of the projections, within a `with`."""

    def __init__(self, model: Any, retain_grad: bool) -> None:
        self._modules, self._retain = projections(model), retain_grad
        self.tensors: dict[Key, Tensor] = {}

    def __enter__(self) -> dict[Key, Tensor]:
        def keep(key: Key) -> Callable[..., None]:
            def hook(module: Any, inputs: Any, output: Tensor) -> None:
                if self._retain:
                    output.retain_grad()
                self.tensors[key] = output

            return hook

        self._handles = [
            module.register_forward_hook(keep(key)) for key, module in self._modules.items()
        ]
        return self.tensors

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()


def answer_log_probability(logits: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    """log P(y|x) of each prompt, from the logits of the positions before y's tokens."""
    device = logits.device
    labels = torch.tensor([token for prompt in prompts for token in prompt.label], device=device)
    rows = torch.tensor([i for i, p in enumerate(prompts) for _ in p.label], device=device)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return torch.zeros(len(prompts), device=device).index_add(0, rows, -losses)


def needed_positions(prompts: Sequence[Prompt], batch: Batch) -> Tensor:
    """Flat indices of the positions before each of y's tokens."""
    width = batch.tokens.shape[1]
    ends = [(width, len(prompt.label)) for prompt in prompts]
    return flat_positions(ends, width, batch.tokens.device)


def as_published(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], device: str
) -> dict[tuple[str, int, int], dict[str, float]]:
    """Scores per neuron (site, layer, index) and country."""
    model.requires_grad_(True)
    model.train()
    scores: dict[tuple[str, int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    sequences = [prompt.sequence for prompt in prompts]
    for start in range(0, len(prompts), PUBLISHED_BATCH):
        rows = range(start, min(start + PUBLISHED_BATCH, len(prompts)))
        batch, group = (
            pad_batch(sequences, rows, tokenizer, device=device),
            prompts[rows.start : rows.stop],
        )
        model.zero_grad()
        with Outputs(model, retain_grad=True) as outputs:
            logits = model(
                input_ids=batch.tokens,
                attention_mask=batch.mask,
                position_ids=positions_of(batch.mask),
                use_cache=False,
            ).logits
        needed = logits.flatten(0, 1)[needed_positions(group, batch)]
        probability = answer_log_probability(needed, group).exp()
        probability.sum().backward()
        for (layer, site), output in outputs.items():
            assert output.grad is not None
            product = (output * output.grad).detach()
            product = product.masked_fill(batch.mask[:, :, None] == 0, 0.0)
            weighted = product.amax(dim=1) * probability.detach()[:, None]
            for prompt, values in zip(group, weighted.cpu().tolist(), strict=True):
                country = group_in_scores(prompt.instance.group)
                for index, value in enumerate(values):
                    scores[site, layer, index][country] += value
    model.eval()
    return scores


def bare_limit(
    model: Any,
    groups: Sequence[Group],
    frozen: bool,
    use: Callable[..., None] | None = None,
) -> None:
    """Forward, log P, and its gradient to the 72 outputs; `use` takes what was computed."""
    model.requires_grad_(not frozen)
    for prompts, batch in groups:
        embeddings = {"input_ids": batch.tokens}
        if frozen:
            embedded = model.model.embed_tokens(batch.tokens).detach().requires_grad_()
            embeddings = {"inputs_embeds": embedded}
        with Outputs(model, retain_grad=False) as outputs:
            residual = model.model(
                **embeddings,
                attention_mask=batch.mask,
                position_ids=positions_of(batch.mask),
                use_cache=False,
            ).last_hidden_state
        needed = residual.reshape(-1, residual.shape[-1])[needed_positions(prompts, batch)]
        log_probability = answer_log_probability(model.lm_head(needed), prompts)
        gradients = torch.autograd.grad(log_probability.sum(), list(outputs.values()))
        if use is not None:
            use(
                prompts, batch, log_probability, dict(zip(outputs, gradients, strict=True)), outputs
            )


def bare_scores(model: Any, groups: Sequence[Group], scores: Scores) -> Tensor:
    """The `max` sums of `scores`, [country, neuron], from the bare model."""
    layout = scores.layout
    sums = torch.zeros(len(scores.groups), layout.total, dtype=torch.float64)

    def use(
        prompts: Sequence[Prompt], batch: Batch, log_p: Tensor, gradients: Any, outputs: Any
    ) -> None:
        probability = log_p.detach().exp()
        for key, gradient in gradients.items():
            product = (outputs[key] * gradient).detach() * probability[:, None, None]
            add_highest(sums, scores, key, product, prompts, batch.mask, probability)

    bare_limit(model, groups, frozen=True, use=use)
    return sums


def add_highest(
    sums: Tensor,
    scores: Scores,
    key: Key,
    product: Tensor,
    prompts: Sequence[Prompt],
    mask: Tensor,
    probability: Tensor,
) -> None:
    """Add to `sums`, [country, neuron], P(y|x) times the highest activation x gradient of P."""
    countries = [group_in_scores(prompt.instance.group) for prompt in prompts]
    rows = torch.tensor([scores.groups.index(country) for country in countries])
    highest = product.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(dim=1)
    weighted = (highest * probability[:, None]).double().cpu()
    span = scores.layout.span(*key)
    sums[:, span] = sums[:, span].index_add(0, rows, weighted)


def relative_difference(scores: Scores, bare: Tensor) -> tuple[float, float]:
    """The norm of the difference, and its largest element, relative to those of the scores.

    Each the largest over countries and sites. Not over the sum of all countries: P(y|x) spans
    many orders of magnitude, and the instance with the highest would hide the others.
    """
    sums = scores.sums[scores.targets.index("product"), VARIANTS.index("max")]
    ours = torch.from_numpy(sums).double()
    norms, elements = [], []
    for site in SITES:
        ids = torch.from_numpy(scores.layout.ids_of([site]))
        difference, size = (ours[:, ids] - bare[:, ids]).abs(), bare[:, ids].abs()
        norms.append(float((difference.norm(dim=1) / size.norm(dim=1)).max()))
        elements.append(float((difference.amax(dim=1) / size.amax(dim=1)).max()))
    return max(norms), max(elements)


def prepare(
    options: argparse.Namespace, names: Sequence[str]
) -> tuple[dict[str, Callable[[], Any]], Any, Any, list[Group], list[Instance]]:
    """Load what the methods `names` need; returns them and the hooked model, bare model, data."""
    parts = [load_task("everyday", "neuron", limit=options.instances)]
    if options.blend:
        parts = [
            load_task("blend", split, data=options.blend)[: options.instances]
            for split in ("neuron", "control")
        ]
    instances = [instance for part in parts for instance in part]
    hooked = bare = None
    if OURS in names:
        hooked = load_model(MODEL, model_class=options.model_class, device=options.device)
        tokenizer = tokenizer_of(hooked)
    if set(names) - {OURS}:
        bare = load_bare(options.device)
        if hooked is None:
            tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    prompts, groups = [], []
    for part in parts:
        made = make_prompts(tokenizer, part, answer_format="cloze")
        different = [made[places[0]] for places in scored_once(made)]
        groups += make_batches(tokenizer, different, options.token_budget, options.device)
        prompts += made
    methods = {
        PUBLISHED: lambda: as_published(bare, tokenizer, prompts, options.device),
        FROZEN: lambda: bare_limit(bare, groups, frozen=True),
        UNFROZEN: lambda: bare_limit(bare, groups, frozen=False),
        OURS: lambda: [
            attribute(hooked, part, answer_format="cloze", token_budget=options.token_budget)
            for part in parts
        ],
    }
    return {name: methods[name] for name in names}, hooked, bare, groups, instances


def random_weights(options: argparse.Namespace) -> None:
    """Run `attribute` on a paper-sized model with random weights, and print and keep how fast."""
    config = PAPER_MODELS[options.random].config()
    if options.layers:
        config = first_layers(config, options.layers)
    with torch.device(options.device):
        bare = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="eager"
        )
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    model = wrap_model(
        bare,
        tokenizer,
        name="random weights",
        model_class="TransformerBridge",
        device=options.device,
        weights="random weights",  # hashing gigabytes takes longer than the rest
    )
    instances = load_task("everyday", "neuron", limit=options.instances)
    prompts = make_prompts(tokenizer, instances, answer_format="letter")
    step = make_step("score", prompts, True)

    def work() -> None:
        attribute(model, instances, answer_format="letter", targets=["product"])

    work()  # warm-up
    cuda = options.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = interleaved({OURS: work}, {OURS: options.repeats}, options.device)[OURS]
    seconds = statistics.median(times)
    flops = step_flops(model_sizes(config), step) / seconds
    found = {
        "model": options.random,
        "layers": config.num_hidden_layers,
        "instances": len(instances),
        "tokens an instance": step.tokens / len(instances),
        "seconds": times,
        "instances a second": len(instances) / seconds,
        "TFLOP/s": flops / 1e12,
        "share of peak": flops / 1e12 / options.peak if cuda else None,
        "peak memory, GiB": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
        "minutes for the paper's 26,202 instances": PAPER_INSTANCES * seconds / len(instances) / 60,
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    out = options.out or RESULTS / f"attribution-{options.random.split('/')[-1]}.json"
    write_json(out, {"machine": machine(), **found})
    print(f"written to {out}")


def main() -> None:
    arguments = parser(__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--random", choices=PAPER_MODELS, help="a model of the paper")
    arguments.add_argument("--layers", type=int, help="of it; default: all")
    arguments.add_argument("--peak", type=float, default=989.0, help="TFLOP/s in bfloat16 (H100)")
    arguments.add_argument("--repeats-published", type=int, default=1)
    options = arguments.parse_args()
    if options.random is None and options.device.startswith("cuda"):
        options.random = "google/gemma-3-12b-it"
    if options.random:
        random_weights(options)
        return
    if options.only:
        methods, hooked, bare, *_ = prepare(options, [options.only])
        model = hooked if options.only == OURS else bare
        report_peak(methods[options.only], model, options.device)
        return
    about = machine()
    memory = peak_memories(__file__, METHODS, options)
    methods, _, bare, groups, instances = prepare(options, METHODS)
    # Ours against the bare model, on the cultural instances, all of them.
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    cultural = make_prompts(
        tokenizer, [i for i in instances if i.split == "neuron"], answer_format="cloze"
    )
    checked = make_batches(tokenizer, cultural, options.token_budget, options.device)
    least = 15.0 if options.blend else 5.0
    options.instances = len(instances)
    # The check is also the warm-up.
    scores, *_ = methods[OURS]()
    bare_limit(bare, groups, frozen=False)
    norm, element = relative_difference(scores, bare_scores(bare, checked, scores))
    print(
        "max-scores, ours against the bare model, worst country and site: norm of the difference "
        f"{norm:.1e}, largest element {element:.1e} (wanted <= 1e-4): "
        f"{'ok' if norm <= 1e-4 else 'DIFFERENT'}"
    )
    repeats: dict[str, int] = dict.fromkeys(METHODS, options.repeats)
    repeats[PUBLISHED] = options.repeats_published
    seconds = interleaved(methods, repeats, options.device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    limit = min((FROZEN, UNFROZEN), key=lambda name: medians[name])
    ours = medians[OURS]
    bridge = options.model_class == "TransformerBridge"
    most = 1.05 if options.blend else 1.10 if bridge else 1.25
    targets = [
        Target("time, as published / ours", medians[PUBLISHED] / ours, least, True),
        Target(f"time, ours / {limit}", ours / medians[limit], most, False),
    ]
    if memory:
        for what, field in (("peak above the loaded model", "extra_mib"), ("peak", "peak_mib")):
            ratio = memory[OURS][field] / memory[limit][field]
            targets.append(Target(f"{what}, ours / {limit}", ratio, 1.3, False))
    finish(
        f"Attribution of {len(instances)} instances in {len(groups)} batches, "
        f"{options.model_class}, {options.device}",
        options,
        seconds,
        memory,
        targets,
        {"norm_of_difference": norm, "largest_element": element},
        "attribution",
        about,
    )


if __name__ == "__main__":
    main()
