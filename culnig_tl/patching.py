# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Activation patching: a neuron set's activations from one country's prompt in another's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from culnig_tl.ablation import check_set
from culnig_tl.attribution import frozen, gradient_hooks
from culnig_tl.effects import log_probability
from culnig_tl.errors import CulnigError
from culnig_tl.files import progress
from culnig_tl.instances import Instance, country_in_text
from culnig_tl.models import HookedModel, tokenizer_of
from culnig_tl.neurons import NeuronSet, hook_name
from culnig_tl.prompts import Prompt, make_prompts, resolve_format

ALIGN = ("end", "refuse")
Key = tuple[int, str]


def activation_patch(
    model: HookedModel,
    source: Instance,
    target: Instance,
    neurons: NeuronSet,
    align: str = "end",
    answer_format: str = "cloze",
) -> dict[str, Any]:
    """Put the set's activations from the source's prompt into the target's run.

    The answer's side is D = log P(source's answer) - log P(target's answer), in nats; both are
    read off the target's prompt. Prompts of unequal length are matched from their ends
    (`align="end"`: the longer one's first positions stay as they are) or refused. Positions of an
    answer of several tokens are never patched.

    Returns:
        source, target (countries), source_id, target_id; source_answer, target_answer;
        positions (how many were patched); before and after (D in the target's run, without and
        with the patch), in_source (D in the source's own run), moved (after - before), share
        (moved / (in_source - before): 0 nothing, 1 all the way to the source's own run).

    Raises:
        CulnigError: unknown `align`; unequal lengths that are refused; both have the same answer;
            a set of another model; the letter format.
    """
    pair = _Pair.of(model, source, target, neurons, align, answer_format)
    return pair.about() | _moved(model, pair, neurons, _activations(model, pair.source, neurons))


def attribution_patch(
    model: HookedModel,
    source: Instance,
    target: Instance,
    neurons: NeuronSet,
    align: str = "end",
    answer_format: str = "cloze",
) -> dict[str, Any]:
    """The gradient's estimate of what `activation_patch` moves, without patching.

    estimated = sum over neurons and patched positions of (n_source - n_target) dD/dn at the
    target, D as there. Two backward passes, however many neurons. Beside what
    first order always leaves out, it counts what a neuron does through later neurons of the set,
    which patching cuts, as those have their values put in.

    Returns:
        As `activation_patch`, with `estimated` in place of what patching measures.

    Raises:
        CulnigError: as `activation_patch`.
    """
    pair = _Pair.of(model, source, target, neurons, align, answer_format)
    values = _activations(model, pair.source, neurons)
    return pair.about() | {"estimated": _estimated(model, pair, neurons, values)}


def patching_effects(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    align: str = "end",
    answer_format: str = "cloze",
    limit: int | None = None,
) -> pd.DataFrame:
    """Both kinds of patching for every ordered pair of countries that are asked the same question.

    Pairs whose answers are the same are left out; `limit` takes the first so many.
    `agreement(frame, "estimated", by="set", truth="moved")` says how far the gradient's estimate
    can be trusted.

    Returns:
        One row a pair: the columns of `activation_patch`, estimated, question (its number), and
        set, instance (the question again) and probability (1), as `agreement` wants them.

    Raises:
        CulnigError: no pair among the instances, or as `activation_patch`.
    """
    pairs = country_pairs(instances)[:limit]
    if not pairs:
        raise CulnigError(
            "no two instances ask the same question of different countries with different "
            "answers: load a task with countries, such as everyday or blend"
        )
    rows = []
    for question, source, target in progress(pairs, "Patching", len(pairs)):
        pair = _Pair.of(model, source, target, neurons, align, answer_format)
        values = _activations(model, pair.source, neurons)
        estimated = _estimated(model, pair, neurons, values)
        row = pair.about() | _moved(model, pair, neurons, values)
        rows.append(row | {"estimated": estimated, "question": question})
    frame = pd.DataFrame(rows)
    return frame.assign(set=neurons.name, instance=frame["question"], probability=1.0)


def country_pairs(instances: Sequence[Instance]) -> list[tuple[int, Instance, Instance]]:
    """(question, source, target) of all ordered pairs asked the same with different answers.

    Two instances ask the same question if their text is the same but for the country's name.
    """
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        if instance.country is not None:
            name = country_in_text(instance.country)
            key = instance.cloze.replace(name, "{country}") + f"#{instance.template}"
            groups.setdefault(key, []).append(instance)
    return [
        (number, source, target)
        for number, group in enumerate(groups.values())
        for source in group
        for target in group
        if source.country != target.country
        and source.answer_text.strip().lower() != target.answer_text.strip().lower()
    ]


@dataclass(frozen=True)
class _Pair:
    """A source (`own`) and a target as prompts, each with the source's answer and the target's."""

    own: tuple[Prompt, Prompt]
    target: tuple[Prompt, Prompt]
    positions: int

    @property
    def source(self) -> Prompt:
        return self.own[0]

    @property
    def where(self) -> slice:
        """The target's positions that are patched."""
        end = len(self.target[0].tokens)
        return slice(end - self.positions, end)

    @classmethod
    def of(
        cls,
        model: HookedModel,
        source: Instance,
        target: Instance,
        neurons: NeuronSet,
        align: str,
        answer_format: str,
    ) -> "_Pair":
        if align not in ALIGN:
            raise CulnigError(f"unknown align {align!r}: choose from {', '.join(ALIGN)}")
        check_set(model, neurons)
        tokenizer = tokenizer_of(model)
        if resolve_format(tokenizer, answer_format) == "letter":
            raise CulnigError(
                "patching asks for the answers' own texts, and a letter means another option in "
                "each prompt: use answer_format='cloze'"
            )
        answers = source.answer_text, target.answer_text
        if answers[0].strip().lower() == answers[1].strip().lower():
            raise CulnigError(
                f"instances {source.id} and {target.id} have the same answer {answers[0]!r}: "
                "patching cannot move it; take another pair"
            )

        def prompts(instance: Instance) -> tuple[Prompt, Prompt]:
            both = [replace(instance, options=answers, answer=i, labels=("A", "B")) for i in (0, 1)]
            first, second = make_prompts(tokenizer, both, answer_format)
            return first, second

        own, there = prompts(source), prompts(target)
        lengths = len(own[0].tokens), len(there[0].tokens)
        if align == "refuse" and lengths[0] != lengths[1]:
            raise CulnigError(
                f"instances {source.id} and {target.id} have {lengths[0]} and {lengths[1]} tokens: "
                "take prompts of one length, or align='end'"
            )
        return cls(own, there, min(lengths))

    def about(self) -> dict[str, Any]:
        source, target = self.own[0].instance, self.target[0].instance
        return {
            "source": source.country or source.id,
            "target": target.country or target.id,
            "source_id": source.id,
            "target_id": target.id,
            "source_answer": source.options[0],
            "target_answer": source.options[1],
            "positions": self.positions,
        }


def _activations(model: HookedModel, prompt: Prompt, neurons: NeuronSet) -> dict[Key, Tensor]:
    """[pos, neuron] of the set at each (layer, site), in a run of the prompt alone."""
    found: dict[Key, Tensor] = {}

    def keep(key: Key, index: Any) -> Callable[..., None]:
        def hook_function(activation: Tensor, hook: Any) -> None:
            found[key] = activation[0].flatten(1)[:, torch.tensor(index)]

        return hook_function

    hooks = [(hook_name(*key), keep(key, index)) for key, index in neurons.by_site().items()]
    tokens = torch.tensor([prompt.tokens], device=model.cfg.device)
    with frozen(model), torch.no_grad(), model.hooks(fwd_hooks=hooks):
        model(tokens)
    return found


def _moved(
    model: HookedModel, pair: _Pair, neurons: NeuronSet, values: dict[Key, Tensor]
) -> dict[str, float]:
    """What `activation_patch` measures, with the source's `values`."""
    with frozen(model), torch.no_grad():
        before, in_source = _side(model, pair.target), _side(model, pair.own)
        after = _side(model, pair.target, _patches(pair, neurons, values))
    moved = after - before
    distance = in_source - before
    return {
        "before": before,
        "after": after,
        "in_source": in_source,
        "moved": moved,
        "share": moved / distance if abs(distance) > 1e-9 else float("nan"),
    }


def _estimated(
    model: HookedModel, pair: _Pair, neurons: NeuronSet, values: dict[Key, Tensor]
) -> float:
    """What `attribution_patch` estimates, with the source's `values`."""
    by_site = neurons.by_site()
    sides: list[float] = []
    for prompt in pair.target:
        parts: list[float] = []

        def use(key: Key, activation: Tensor, gradient: Tensor, parts: list[float] = parts) -> None:
            index = torch.tensor(by_site[key])
            here = activation[0].flatten(1)[pair.where][:, index]
            slope = gradient[0].flatten(1)[pair.where][:, index]
            parts.append(float(((values[key][-pair.positions :] - here) * slope).sum()))

        with frozen(model), gradient_hooks(model, list(by_site), use):
            log_probability(model, prompt).sum().backward()
        sides.append(sum(parts))
    return sides[0] - sides[1]


def _patches(
    pair: _Pair, neurons: NeuronSet, values: dict[Key, Tensor]
) -> list[tuple[str, Callable[..., Tensor]]]:
    """Hooks that put the last of `values` at the last positions of the target's prompt."""

    def patch(key: Key, index: Any) -> Callable[..., Tensor]:
        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            flat = activation.flatten(2).clone()
            part = flat[0, pair.where]
            part[:, torch.tensor(index)] = values[key][-pair.positions :]
            return flat.view(activation.shape)

        return hook_function

    return [(hook_name(*key), patch(key, index)) for key, index in neurons.by_site().items()]


def _side(
    model: HookedModel, prompts: tuple[Prompt, Prompt], hooks: Sequence[tuple[str, Any]] = ()
) -> float:
    """D: log P of the source's answer minus that of the target's, after one and the same prompt."""
    first, second = (float(log_probability(model, prompt, hooks=hooks)) for prompt in prompts)
    return first - second
