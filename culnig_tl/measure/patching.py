"""Activation patching: a neuron set's activations from one group's prompt in another's."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.measure.cuts import keep_hooks
from culnig_tl.measure.gradients import gradient_hooks
from culnig_tl.measure.pairs import decided_pairs, folded, pair_preferences
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen, label_log_probability
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.layout import Key, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.progress import progress
from culnig_tl.tasks.instances import Instance

Align = Literal["end", "refuse"]
ALIGN: tuple[Align, ...] = get_args(Align)
# How far a patch of itself may move, in nats, and how far off all the way everything may be.
MOST_ITSELF, MOST_OFF = 1e-3, 0.01


def activation_patch(
    model: HookedModel,
    source: Instance,
    base: Instance,
    *,
    neurons: NeuronSet,
    align: Align = "end",
) -> dict[str, Any]:
    """Put the set's activations from the source's prompt into the base's run.

    The answer's side is D = log P(source's answer) - log P(base's answer), in nats; both are
    read off the base's prompt. Prompts of unequal length are matched from their ends
    (`align="end"`: the longer one's first positions stay as they are) or refused. Positions of an
    answer of several tokens are never patched. The answers' own texts are asked for (cloze), of a
    chat model too: a letter means another option in each prompt.

    Returns:
        source, target (the groups; target is the base's), source_id, target_id; source_answer,
        target_answer; positions (how many were patched); before and after (D in the base's run,
        without and with the patch), in_source (D in the source's own run), moved (after - before),
        share (moved / (in_source - before): 0 nothing, 1 all the way to the source's own run).

    Raises:
        CulnigError: unknown `align`; unequal lengths that are refused; both have the same answer;
            a set of another model; log P or activations that are NaN or
            infinite.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> moved = activation_patch(model, iran, spain, neurons=neurons)
        >>> moved["source"], moved["target"], moved["positions"]
        ('Iran', 'Spain', 12)
        >>> abs(moved["moved"] - (moved["after"] - moved["before"])) < 1e-6
        True
    """
    pair = _Pair.of(model, source, base, neurons=neurons, align=align)
    values, in_source = _in_source(model, pair, neurons)
    with frozen(model), torch.no_grad():
        before = float(_side(model, pair.base))
    after = _patched(model, pair, neurons, values=values)
    return pair.about() | _distances(before, after, in_source)


def attribution_patch(
    model: HookedModel,
    source: Instance,
    base: Instance,
    *,
    neurons: NeuronSet,
    align: Align = "end",
) -> dict[str, Any]:
    """The gradient's estimate of what `activation_patch` moves, without patching.

    estimated = sum over neurons and patched positions of (n_source - n_base) dD/dn at the
    base, D as there. One backward pass, however many neurons. Beside what first order always
    leaves out, it counts what a neuron does through later neurons of the set, which patching cuts,
    as those have their values put in.

    Returns:
        As `activation_patch`, with `estimated` in place of what patching measures.

    Raises:
        CulnigError: as `activation_patch`.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> "estimated" in attribution_patch(model, iran, spain, neurons=neurons)
        True
    """
    pair = _Pair.of(model, source, base, neurons=neurons, align=align)
    values, _ = _in_source(model, pair, neurons)
    estimated, _ = _estimated(model, pair, neurons, values=values)
    return pair.about() | {"estimated": estimated}


def patching_effects(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    align: Align = "end",
    limit: int | None = None,
    pairs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Both kinds of patching for the ordered pairs of groups that each prefer their own answer.

    `agreement(frame, "estimated", by="set", truth="moved")` says how far the gradient's estimate
    can be trusted.

    Args:
        model, instances, neurons, align: as `activation_patch`, and what the pairs are among.
        limit: at most so many pairs, of as many questions as there are.
        pairs: a frame of `pair_preferences` of these instances; None makes it. The decided ones
            are patched: leave rows out to patch fewer, or set `decided` to patch others.

    Returns:
        One row a pair: the columns of `activation_patch`, estimated, question (its number), and
        set, instance (the number of question and template) and probability (1), as `agreement`
        wants them.

    Raises:
        CulnigError: no pair among the instances, or none that is decided; or as
            `activation_patch`.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> pairs = pair_preferences(model, [iran, spain]).assign(decided=True)
        >>> frame = patching_effects(model, [iran, spain], neurons, pairs=pairs)
        >>> list(zip(frame["source"], frame["target"]))
        [('Iran', 'Spain'), ('Spain', 'Iran')]
    """
    if pairs is None:
        pairs = pair_preferences(model, instances)
    wanted = decided_pairs(pairs, instances, limit)
    rows = []
    for row, source, base in progress(wanted, "Patching", len(wanted)):
        pair = _Pair.of(model, source, base, neurons=neurons, align=align)
        values, in_source = _in_source(model, pair, neurons)
        estimated, before = _estimated(model, pair, neurons, values=values)
        after = _patched(model, pair, neurons, values=values)
        found = pair.about() | _distances(before, after, in_source)
        numbers = {"question": row["question"], "instance": row["instance"]}
        rows.append(found | {"estimated": estimated} | numbers)
    return pd.DataFrame(rows).assign(set=neurons.name, probability=1.0)


def check_scale(
    model: HookedModel, instances: Sequence[Instance], pairs: pd.DataFrame, *, limit: int = 3
) -> pd.DataFrame:
    """Check the scale of patching on decided pairs of one length: 0 of itself, 1 of everything.

    A prompt that is patched into itself must not move; and every neuron of the source's prompt,
    patched into the base's, must move D all the way, as the last token is the same in both.

    Args:
        pairs: a frame of `pair_preferences`.
        limit: of so many pairs at most.

    Returns:
        One row a pair: source_id, target_id, itself (nats moved), everything (share moved). No row
        where no decided pair has prompts of one length.

    Raises:
        CulnigError: one moves by more than 0.001 nats into itself, or everything moves it other
            than all the way, by more than 1%: patching does not work on this model.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> pairs = pair_preferences(model, [iran, spain]).assign(decided=True)
        >>> check_scale(model, [iran, spain], pairs).round(2)["everything"].tolist()
        [1.0, 1.0]
    """
    everything = NeuronSet.everything(layout_of(model))
    rows = []
    for _, source, base in decided_pairs(pairs, instances, None):
        pair = _Pair.of(model, source, base, neurons=everything, align="end")
        if len(pair.own[0].tokens) != len(pair.base[0].tokens) or len(rows) == limit:
            continue
        same = replace(pair, own=pair.base)
        values, own = _in_source(model, same, everything)
        itself = _patched(model, same, everything, values=values) - own
        values, in_source = _in_source(model, pair, everything)
        after = _patched(model, pair, everything, values=values)
        share = _distances(own, after, in_source)["share"]
        if abs(itself) > MOST_ITSELF or not abs(share - 1) < MOST_OFF:
            raise CulnigError(
                f"instances {source.id} and {base.id}: patched into itself the base moves by "
                f"{itself:.3g} nats (expected 0), everything moves it {share:.3g} of the way "
                "(expected 1): patching does not work on this model"
            )
        rows.append(
            {
                "source_id": source.id,
                "target_id": base.id,
                "itself": itself,
                "everything": share,
            }
        )
    return pd.DataFrame(rows, columns=["source_id", "target_id", "itself", "everything"])


@dataclass(frozen=True)
class _Pair:
    """A source (`own`) and a base as prompts, each with the source's answer and the base's."""

    own: tuple[Prompt, Prompt]
    base: tuple[Prompt, Prompt]
    positions: int

    @property
    def where(self) -> slice:
        """The base's positions that are patched."""
        end = len(self.base[0].tokens)
        return slice(end - self.positions, end)

    @classmethod
    def of(
        cls,
        model: HookedModel,
        source: Instance,
        base: Instance,
        *,
        neurons: NeuronSet,
        align: Align,
    ) -> "_Pair":
        check_choice("align", align, ALIGN)
        require_same_model(neurons, layout_of(model))
        answers = source.answer_text, base.answer_text
        if folded(source) == folded(base):
            raise CulnigError(
                f"instances {source.id} and {base.id} have the same answer {answers[0]!r}: "
                "patching cannot move it; take another pair"
            )

        own, there = (with_answers(model, one, answers) for one in (source, base))
        lengths = len(own[0].tokens), len(there[0].tokens)
        if align == "refuse" and lengths[0] != lengths[1]:
            raise CulnigError(
                f"instances {source.id} and {base.id} have {lengths[0]} and {lengths[1]} tokens: "
                "take prompts of one length, or align='end'"
            )
        return cls(own, there, min(lengths))

    def about(self) -> dict[str, Any]:
        source, base = self.own[0].instance, self.base[0].instance
        return {
            "source": source.group or source.id,
            "target": base.group or base.id,
            "source_id": source.id,
            "target_id": base.id,
            "source_answer": source.options[0],
            "target_answer": source.options[1],
            "positions": self.positions,
        }


def with_answers(
    model: HookedModel, instance: Instance, answers: tuple[str, str]
) -> tuple[Prompt, Prompt]:
    """The instance's prompt with each of two answers, the right one first or second."""
    both = [replace(instance, options=answers, answer=i, labels=("A", "B")) for i in (0, 1)]
    first, second = model_prompts(model, both, answer_format="cloze")
    return first, second


def _in_source(
    model: HookedModel, pair: _Pair, neurons: NeuronSet
) -> tuple[dict[Key, Tensor], float]:
    """The source's own run: [pos, neuron] of the set at each (layer, site), and D."""
    found: dict[Key, Tensor] = {}
    with frozen(model), torch.no_grad():
        side = float(_side(model, pair.own, hooks=keep_hooks(neurons, found)))
    end = len(pair.own[0].tokens)
    found = {key: values[:end] for key, values in found.items()}
    name = f"instance {pair.own[0].instance.id}"
    check_finite(list(found.values()), [name] * len(found), "activations")
    return found, side


def _patched(
    model: HookedModel, pair: _Pair, neurons: NeuronSet, *, values: dict[Key, Tensor]
) -> float:
    """D in the base's run with the last of `values` at the last positions of its prompt."""

    def patch(key: Key, index: Any) -> Callable[..., Tensor]:
        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            flat = activation.flatten(2).clone()
            part = flat[:, pair.where]
            part[:, :, torch.tensor(index)] = values[key][-pair.positions :]
            return flat.view(activation.shape)

        return hook_function

    hooks = [(hook_name(*key), patch(key, index)) for key, index in neurons.by_site().items()]
    with frozen(model), torch.no_grad():
        return float(_side(model, pair.base, hooks=hooks))


def _estimated(
    model: HookedModel, pair: _Pair, neurons: NeuronSet, *, values: dict[Key, Tensor]
) -> tuple[float, float]:
    """What `attribution_patch` estimates with the source's `values`, and D without a patch."""
    by_site = neurons.by_site()
    points = {key: hook_name(*key) for key in by_site}
    parts: list[float] = []

    def use(key: Key, activation: Tensor, gradient: Tensor) -> None:
        index = torch.tensor(by_site[key])
        here = activation[0].flatten(1)[pair.where][:, index]
        # Both rows hold the same prompt, so its D depends on the sum of their gradients.
        slope = gradient.flatten(2)[:, pair.where][:, :, index].sum(dim=0)
        parts.append(float(((values[key][-pair.positions :] - here) * slope).sum()))

    with frozen(model), gradient_hooks(model, points, use):
        side = _side(model, pair.base)
        side.backward()
    name = f"instance {pair.base[0].instance.id}"
    check_finite(torch.tensor([parts]), [name], "activations or gradients")
    return sum(parts), float(side.detach())


def _distances(before: float, after: float, in_source: float) -> dict[str, float]:
    moved, distance = after - before, in_source - before
    return {
        "before": before,
        "after": after,
        "in_source": in_source,
        "moved": moved,
        "share": moved / distance if abs(distance) > 1e-9 else float("nan"),
    }


def _side(
    model: HookedModel, prompts: tuple[Prompt, Prompt], *, hooks: Sequence[tuple[str, Any]] = ()
) -> Tensor:
    """D: log P of the source's answer minus that of the base's, after one and the same prompt.

    One pass of two rows; the shorter is padded on its right, where no position looks back from.
    """
    ends = [len(prompt.sequence) for prompt in prompts]
    rows = [[*prompt.sequence, *[0] * (max(ends) - len(prompt.sequence))] for prompt in prompts]
    tokens = torch.tensor(rows, device=model.cfg.device)
    with hooked(model, hooks):
        both = label_log_probability(
            model, tokens, None, labels=[prompt.label for prompt in prompts], ends=ends
        )
    check_finite(both[None], [f"instance {prompts[0].instance.id}"], "log-probabilities")
    return both[0] - both[1]
