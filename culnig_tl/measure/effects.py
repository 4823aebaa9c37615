"""Effects: what neurons really do to P(y|x), one by one, beside what the gradient says they do."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from culnig_tl.checks import check_choice, check_count
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically
from culnig_tl.measure.attribution import gradient_hooks, scored_once
from culnig_tl.models.batches import fitting_budget, in_batches, told
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import identity_of, layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, label_log_probability
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.models.sums import add_batches
from culnig_tl.neurons.layout import Site, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.no_country import country_in_frames
from culnig_tl.progress import progress
from culnig_tl.provenance import package_versions, sha256_of
from culnig_tl.schemas import damaged
from culnig_tl.tasks.instances import Instance, content_hash

Positions = Literal["all", "each"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
EVERY_POSITION = -1
SAVE_SECONDS = 30.0
# Reading a small model's weights once costs about as much as this many rows.
FEWEST_ROWS = 32
Key = tuple[int, Site]


def exact_effects(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    positions: Positions = "all",
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """The true effect P(n) - P(n = 0) of each neuron on P(y|x), many ablations in one pass.

    A neuron is set to 0 in a row of its own. The blocks before the first neuron of a pass run once
    for all its rows: the batch widens at that block, or at the activation itself where all are
    gate neurons of one layer. Only the logits that y needs are computed, and P(n) comes from a
    row of the same pass. Equal to ablation through `run_with_hooks`, one neuron a call, within
    float rounding.

    Args:
        model: from `load_model` or `wrap_model`.
        instance: from `load_task`.
        neurons: which, of this model.
        positions: `all`: a neuron is ablated at every position at once (where y has several
            tokens, at those before its last one too); `each`: at each position alone.
        answer_format: `cloze`, `letter`, or `auto` (letter where there is a chat template).
        token_budget: rows x positions in a pass; None takes what fits into the free memory.
        checkpoint: a file that keeps what is done; a run that died goes on from it.

    Returns:
        One row a neuron (and position), by layer, site, index: layer, site, index, position (-1:
        all), token (the text at that position), probability (P(n)), exact.

    Raises:
        CulnigError: unknown `positions`, a set of another model, a checkpoint of another run,
            not enough memory, or activations, gradients or log P that are NaN or infinite.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> frame = exact_effects(model, instances[0], few)
        >>> list(frame.columns)
        ['layer', 'site', 'index', 'position', 'token', 'probability', 'exact']
        >>> len(frame)
        4
    """
    prompt = _prompt(model, instance, neurons, answer_format=answer_format)
    cuts = _cuts(model, prompt, neurons, positions=positions)
    lengths = [len(prompt.sequence)] * len(cuts)
    if token_budget is None:
        token_budget = fitting_budget(model, lengths[0], gradients=False)
    made_from = {
        "model": identity_of(model),
        "versions": package_versions(),
        "instance": content_hash([instance]),
        "answer_format": answer_format,
        "positions": positions,
        "neurons": sha256_of(neurons.ids.tolist()),
    }
    values = torch.zeros(2, len(cuts), dtype=torch.float64)

    def work(rows: list[int]) -> np.ndarray:
        return _ablated(model, prompt, cuts.iloc[rows])

    with frozen(model), torch.no_grad():
        for rows, found in add_batches(
            lengths,
            token_budget,
            work=work,
            sums={"values": values},
            made_from=made_from,
            what="Exact effects",
            checkpoint=checkpoint,
            seconds=SAVE_SECONDS,
            grouping=_by_layer(cuts),
        ):
            values[:, rows] = torch.from_numpy(found)
    return cuts.assign(probability=values[0].numpy(), exact=(values[0] - values[1]).numpy())


def taylor_check(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    positions: Positions = "all",
    steps: int = 4,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Three numbers for each neuron's effect on P(y|x): first order, integrated, exact.

    - `first_order`: n dP/dn (equations 8 and 9), summed over positions where `positions` is `all`.
    - `integrated`: the integral over alpha of n dP/dn at alpha n, from 0 to 1, this neuron alone
      scaled: by Gauss-Legendre quadrature with `steps` nodes. It converges to the exact effect.
    - `exact`: P(n) - P(n = 0), from `exact_effects`.

    Args:
        steps: nodes of the integral; each costs a forward and a backward pass of a row for every
            neuron. 0 leaves it out (NaN).
        checkpoint: a folder that keeps each finished instance; a run that died goes on from it.
        model, instances, neurons, positions, answer_format, token_budget: as `exact_effects`.

    Returns:
        The columns of `exact_effects`, and instance, country, first_order, integrated, question.
        Instances that are the same to the model are computed once.

    Raises:
        CulnigError: as `exact_effects`; no instances, or two of one id; negative steps.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> frame = taylor_check(model, instances[:2], few, steps=2)
        >>> len(frame)  # instances x neurons
        8
        >>> frame[["first_order", "integrated", "exact"]].shape
        (8, 3)
    """
    check_count("steps", steps)
    if not instances:
        raise CulnigError("no instances: load a task first")
    check_ids(instances)
    about = [identity_of(model), package_versions(), answer_format, positions, steps]
    frames = []
    prompts = model_prompts(model, instances, answer_format=answer_format)
    groups = scored_once(prompts, clamp_control=False)
    first = {place: places[0] for places in groups for place in places}
    what = told("Taylor check", groups)
    for place, instance in enumerate(progress(instances, what, len(instances))):
        if first[place] != place:  # the same to the model: its numbers are there
            frames.append(frames[first[place]])
            continue
        run = sha256_of([*about, content_hash([instance]), neurons.ids.tolist()])
        file = None if checkpoint is None else Path(checkpoint) / f"{run}.parquet"
        if file is not None and file.exists():
            try:
                frames.append(pd.read_parquet(file))  # text and sites keep their types there
            except (OSError, ValueError) as error:
                raise damaged(file, " ".join(str(error).split())) from error
            continue
        frame = _check_one(
            model,
            instance,
            neurons,
            positions=positions,
            steps=steps,
            answer_format=answer_format,
            token_budget=token_budget,
        )
        if file is not None:
            write_atomically(file, lambda name, frame=frame: frame.to_parquet(name))
        frames.append(frame)
    return pd.concat(
        [
            frame.assign(
                instance=instance.id,
                country=country_in_frames(instance.country),
                question=instance.question_key,
            )
            for instance, frame in zip(instances, frames, strict=True)
        ],
        ignore_index=True,
    )


def check_ids(instances: Sequence[Instance]) -> None:
    """Refuse instances that a frame of effects could not tell apart.

    Raises:
        CulnigError: two have one id.
    """
    ids = [instance.id for instance in instances]
    if len(set(ids)) < len(ids):
        twice = next(one for number, one in enumerate(ids) if one in ids[:number])
        raise CulnigError(f"two instances have the id {twice!r}: give each once, one task a call")


def position_scores(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet
) -> Float[np.ndarray, "neuron pos"]:
    """n dP/dn of each neuron at each position (equation 6); neurons in the order of their ids."""
    scores, probability = position_shares(model, prompt, neurons)
    return scores * probability


def position_shares(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet
) -> tuple[Float[np.ndarray, "neuron pos"], float]:
    """`position_scores` as shares of P(y|x), n dlogP/dn, and P(y|x)."""
    parts: dict[Key, Tensor] = {}
    by_site = neurons.by_site()

    def use(key: Key, activation: Tensor, gradient: Tensor) -> None:
        score = at_least_float32(activation) * at_least_float32(gradient)
        parts[key] = score[0].flatten(1)[:, torch.tensor(by_site[key])].T

    with frozen(model), gradient_hooks(model, list(by_site), use):
        total = log_probability(model, prompt)
        total.sum().backward()
    check_finite(list(parts.values()), [_name(prompt)] * len(parts), "activations or gradients")
    scores = torch.cat([parts[key] for key in by_site]).cpu().numpy().astype(np.float64)
    return scores, float(total.detach().double().exp())


def log_probability(
    model: HookedModel,
    prompt: Prompt,
    *,
    rows: int = 1,
    hooks: Sequence[tuple[str, Any]] = (),
) -> Float[Tensor, "rows"]:
    """log P(y|x) of one unpadded prompt; with `hooks` that widen the batch, of each of its rows.

    Raises:
        CulnigError: one is NaN or infinite.
    """
    tokens = torch.tensor([prompt.sequence], device=model.cfg.device)
    with model.hooks(fwd_hooks=list(hooks)):
        found = label_log_probability(model, tokens, None, labels=[prompt.label] * rows)
    check_finite(found[None], [_name(prompt)], "log-probabilities")
    return found


def _name(prompt: Prompt) -> str:
    return f"instance {prompt.instance.id}"


def _prompt(
    model: HookedModel, instance: Instance, neurons: NeuronSet, *, answer_format: AnswerFormat
) -> Prompt:
    require_same_model(neurons, layout_of(model))
    if not len(neurons):
        raise CulnigError(f"the set {neurons.name!r} is empty: there is no effect to measure")
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    return prompt


def _cuts(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet, *, positions: Positions
) -> pd.DataFrame:
    """What is ablated, one row each: layer, site, index, position, token."""
    check_choice("positions", positions, POSITIONS)
    frame = neurons.frame()
    if positions == "all":
        return frame.assign(position=EVERY_POSITION, token="")
    texts = prompt.texts(tokenizer_of(model))
    each = frame.loc[frame.index.repeat(len(texts))].reset_index(drop=True)
    return each.assign(
        position=np.tile(np.arange(len(texts)), len(frame)), token=texts * len(frame)
    )


def _by_layer(cuts: pd.DataFrame) -> Callable[[Sequence[int], Sequence[int], int], list[list[int]]]:
    """How cuts, which are in the order of their layers, are put into passes (`in_batches`).

    A pass ends with a layer once it is worth its weights: its rows all run from its first layer.
    """

    def group(rows: Sequence[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
        most = max(1, token_budget // lengths[0] - 1)  # one row without a cut
        layers = cuts["layer"].to_numpy()[list(rows)]
        ends = [0]
        for layer_end in np.flatnonzero(np.diff(layers, append=-1)) + 1:
            while layer_end - ends[-1] > most:
                ends.append(ends[-1] + most)
            if layer_end - ends[-1] >= FEWEST_ROWS or layer_end == len(rows):
                ends.append(int(layer_end))
        return [list(rows[start:end]) for start, end in pairwise(ends) if end > start]

    return group


def _stacked(
    model: HookedModel,
    prompt: Prompt,
    cuts: pd.DataFrame,
    *,
    change: Callable[[Key, Tensor, Float[Tensor, "cut pos"]], Tensor],
    copies: int = 1,
) -> Float[Tensor, "row"]:
    """log P(y|x) with each cut in `copies` rows of one batch, and of one more row without a cut.

    `change` gets (layer, site), the numbers of its rows and the cut neurons' activations there,
    and gives what to put in their place. The blocks before the first cut run once for all rows:
    the batch widens at that block's input, or, where all cuts are gate neurons of one layer, at
    their own activation, as the MLP adds its output to the residual stream.
    """
    cuts = cuts.loc[cuts.index.repeat(copies)].reset_index(drop=True)
    groups: dict[Any, Any] = cuts.groupby(["layer", "site"], observed=True, sort=False).indices
    rows = len(cuts) + 1
    cut: list[Tensor] = []
    single = cuts["position"].iloc[0] != EVERY_POSITION

    def replace(key: Key, numbers: np.ndarray) -> Callable[[Tensor, Any], Tensor]:
        mine = cuts.iloc[numbers]
        row, index = torch.tensor(numbers), torch.tensor(mine["index"].to_list())
        at = torch.tensor(mine["position"].to_list()) if single else None

        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            flat = activation.flatten(2).expand(rows, -1, -1).clone()
            if at is None:
                cut.append(flat[row, :, index])
                flat[row, :, index] = change(key, row, cut[-1])
            else:
                cut.append(flat[row, at, index])
                flat[row, at, index] = change(key, row, cut[-1][:, None])[:, 0]
            return flat.view(rows, *activation.shape[1:])

        return hook_function

    keys: dict[Key, Any] = {(int(layer), site): rows for (layer, site), rows in groups.items()}
    hooks: list[tuple[str, Any]] = [(hook_name(*k), replace(k, n)) for k, n in keys.items()]
    first = int(cuts["layer"].iloc[0])
    if list(keys) != [(first, "gate")]:
        widen = (f"blocks.{first}.hook_resid_pre", lambda x, hook: x.repeat(rows, 1, 1))
        hooks.insert(0, widen)
    found = log_probability(model, prompt, rows=rows, hooks=hooks)
    check_finite(cut, [_name(prompt)] * len(cut), "activations")
    return found


def _ablated(model: HookedModel, prompt: Prompt, cuts: pd.DataFrame) -> np.ndarray:
    """[2, cut]: P(n), and P with the cut at 0, in one pass."""
    log_p = _stacked(model, prompt, cuts, change=lambda key, row, n: torch.zeros_like(n))
    p = log_p.double().exp().cpu().numpy()
    return np.stack([np.full(len(cuts), p[-1]), p[:-1]])


def _integrated(
    model: HookedModel, prompt: Prompt, cuts: pd.DataFrame, *, steps: int
) -> np.ndarray:
    """The integral of n dP/dn along n -> alpha n, for each cut."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    alpha = torch.tensor((nodes + 1) / 2).repeat(len(cuts))
    paths: list[tuple[Tensor, Tensor, Tensor]] = []

    def change(key: Key, row: Tensor, n: Tensor) -> Tensor:
        scaled = n.detach() * alpha[row][:, None].to(n)
        paths.append((row, n.detach(), scaled.requires_grad_()))
        return scaled

    probability = _stacked(model, prompt, cuts, change=change, copies=steps).exp()
    gradients = torch.autograd.grad(probability.sum(), [scaled for _, _, scaled in paths])
    products = np.empty(len(cuts) * steps)
    for (row, n, _), gradient in zip(paths, gradients, strict=True):
        products[row.numpy()] = (n * gradient).sum(dim=1).double().cpu().numpy()
    check_finite(gradients, [_name(prompt)] * len(gradients), "gradients")
    return products.reshape(len(cuts), steps) @ (weights / 2)


def _check_one(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    positions: Positions,
    steps: int,
    answer_format: AnswerFormat,
    token_budget: int | None,
) -> pd.DataFrame:
    prompt = _prompt(model, instance, neurons, answer_format=answer_format)
    cuts = _cuts(model, prompt, neurons, positions=positions)
    scores = position_scores(model, prompt, neurons)
    lengths, every = [len(prompt.sequence)] * len(cuts), range(len(cuts))
    exact = np.empty((2, len(cuts)))
    integrated = np.full(len(cuts), np.nan)
    if token_budget is None:
        token_budget = fitting_budget(model, lengths[0], gradients=False)

    def ablated(rows: list[int]) -> np.ndarray:
        return _ablated(model, prompt, cuts.iloc[rows])

    def integral(rows: list[int]) -> np.ndarray:
        return _integrated(model, prompt, cuts.iloc[rows], steps=steps)

    grouping = _by_layer(cuts)
    with frozen(model), torch.no_grad():
        for rows, found in in_batches(
            every, lengths, token_budget, work=ablated, what="", grouping=grouping
        ):
            exact[:, rows] = found
    if steps:
        # A backward pass holds about twice what a forward pass does.
        budget, lengths = max(1, token_budget // 2), [length * steps for length in lengths]
        with frozen(model):
            for rows, found in in_batches(
                every, lengths, budget, work=integral, what="", grouping=grouping
            ):
                integrated[rows] = found
    return cuts.assign(
        instance=instance.id,
        country=country_in_frames(instance.country),
        probability=exact[0],
        first_order=scores.sum(axis=1) if positions == "all" else scores.reshape(-1),
        integrated=integrated,
        exact=exact[0] - exact[1],
    )
