"""Ways of selecting, for `selection.py`: each ranks all neurons of a model, from a run's scores.

Whoever has another one adds a function to `METHODS`: from `Material` to a rank value a neuron.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from culnig_tl.measure.gradients import gradient_hooks
from culnig_tl.models.batches import fitting_budget, pad_batch
from culnig_tl.models.description import describe_model, layout_of, tokenizer_of
from culnig_tl.models.forward import frozen, label_log_probability
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.models.sums import add_batches, remove_checkpoint
from culnig_tl.neurons.estimates import Estimate, estimate_points
from culnig_tl.neurons.layout import ATTENTION_SITES, Key, Site, hook_name
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import rank_values, top_share
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.no_group import group_in_scores
from culnig_tl.progress import progress_bar
from culnig_tl.study.data import SCORED
from culnig_tl.study.once import once, scores_once
from culnig_tl.study.run import Run
from culnig_tl.tasks.instances import Instance, content_hash

POOLS: dict[str, tuple[Site, ...]] = {"MLP": ("gate",), "attention": ATTENTION_SITES}
PAPER = "first_order"
WRONG = 2  # wrong answers that are scored, for the cheap contrast
CANDIDATES = 2000  # neurons that a learned mask may choose from
STEPS = 300  # half an hour on two cores
RATE = 0.1
AT_ONCE = 6  # cultural questions in a step, and as many retained ones
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a method may rank by: a run, and scores that are made when asked for.

    Attributes:
        run: the run.
        home: where new scores are kept.
        model: gives the run's model.
        retained: by task, instances of what is to be kept, which are not asked afterwards.
    """

    run: Run
    home: Path
    model: Callable[[], Any]
    retained: Mapping[str, Sequence[Instance]]

    def scores(self, part: str = "neuron", estimate: Estimate = PAPER) -> Scores:
        """Of `neuron`, `control`, `names`; `wrong 1`, ...: the same questions with other
        options as answers; or of a task that is to be kept, `keep TASK`."""
        study = self.run.study
        if part in SCORED and estimate == study.estimate:
            return self.run.scores(part)
        study = replace(study, estimate=estimate)
        return scores_once(
            self.home / estimate, self.model(), {part: self._instances(part)}, study=study
        )[part]

    def mean(self, part: str = "neuron", estimate: Estimate = PAPER) -> np.ndarray:
        """The mean score of each neuron, as the run's variant and target have it."""
        study = self.run.study
        return self.scores(part, estimate).mean(variant=study.variant, target=study.target)

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What `make` gives, from a file where it was made before."""
        file = self.home / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        once(file, lambda: np.save(file, make()))
        return np.load(file)

    def _instances(self, part: str) -> Sequence[Instance]:
        if part in SCORED:
            return self.run.data.scored[part]
        kind, name = part.split()
        if kind == "keep":
            return self.retained[name]
        return [
            replace(one, answer=(one.answer + int(name)) % len(one.options))
            for one in self.run.data.neuron
        ]


def of_size(rank: np.ndarray, material: Material, name: str) -> NeuronSet:
    """The neurons of the highest rank that do not answer to names, as many as the run's own set
    has in either pool. For the ranking that the run selected by, that is the run's set again."""
    like = material.run.neurons
    chosen = []
    for ids in (like.layout.ids_of(sites) for sites in POOLS.values()):
        kept = np.setdiff1d(ids, _highest(material, "names"))
        count = int(np.isin(like.ids, ids).sum())
        chosen.append(kept[np.argsort(-rank[kept], kind="stable")[:count]])
    return NeuronSet(like.layout, np.concatenate(chosen), name)


def _highest(material: Material, part: str) -> np.ndarray:
    """The top share of either pool by these scores: what the run's filter of names takes out."""
    run, score = material.run, material.mean(part)
    return np.concatenate(
        [
            top_share(run.neurons.layout.ids_of(sites), score, run.study.remove, what=pool, ties={})
            for pool, sites in POOLS.items()
        ]
    )


def minus_control(material: Material, estimate: Estimate = PAPER) -> np.ndarray:
    """The paper's: the questions' scores minus those of their controls."""
    study = material.run.study
    scores, control = (material.scores(part, estimate) for part in ("neuron", "control"))
    return rank_values(scores, control, study.variant, target=study.target)


def stable(material: Material) -> np.ndarray:
    """The paper's, of the half of the questions on which a neuron ranks lower."""
    study = material.run.study
    scores, control = (material.scores(part) for part in ("neuron", "control"))
    ranks = [
        rank_values(scores.half(h), control.half(h), study.variant, target=study.target)
        for h in (0, 1)
    ]
    return np.minimum(*ranks)


def minus_retained(material: Material, estimate: Estimate = PAPER) -> np.ndarray:
    """The paper's, minus the mean of the scores on what is to be kept; each task counts as one."""
    kept = [material.mean(f"keep {task}", estimate) for task in material.retained]
    return minus_control(material, estimate) - np.mean(kept, axis=0)


def filtered(material: Material, rank: Callable[[Material], np.ndarray]) -> np.ndarray:
    """A rank without the neurons that are in the top share of any task that is to be kept, as the
    paper's filter of names does it."""
    found = rank(material).copy()
    for task in material.retained:
        found[_highest(material, f"keep {task}")] = -np.inf
    return found


def second_control(material: Material) -> np.ndarray:
    """The right answer's scores minus the mean of wrong answers', no other control."""
    wrong = [material.mean(f"wrong {number}") for number in range(1, WRONG + 1)]
    return material.mean("neuron") - np.mean(wrong, axis=0)


def contrast(material: Material) -> np.ndarray:
    """The scores of the target ln P(y) / L minus the mean of the wrong options' ln P(w) / L.

    The difference is taken at each position, before the maximum over them. No other control.
    """
    sums = contrast_by_group(material)
    return sums.sum(axis=0) / len(material.run.data.neuron)


def contrast_by_group(material: Material) -> np.ndarray:
    """`contrast_sums`, [country, neuron], in the order of the countries of the run's scores."""
    return material.kept("contrast", lambda: contrast_sums(material))


def contrast_sums(material: Material) -> np.ndarray:
    """Sums over each country's instances of max over positions of n dT/dn, T as in `contrast`.

    Every option runs behind its own copy of the prompt. On the prompt's positions the copies have
    the same activations, so the scores of all options add up there; behind it, the answer's count.
    """
    model, instances = material.model(), material.run.data.neuron
    prompts = model_prompts(model, instances, answer_format=material.run.study.answer_format)
    layout = layout_of(model)
    lengths = [len(prompt.options) * prompt.longest for prompt in prompts]
    countries = material.scores().groups
    total = torch.zeros(len(countries), layout.total, dtype=torch.float64)
    points = estimate_points(layout.keys, PAPER)

    def work(batch: list[int]) -> Tensor:
        asked = [prompts[row] for row in batch]
        tokens, mask, labels = _options(model, asked)
        width = tokens.shape[1]
        found = torch.zeros(len(asked), layout.total)

        def reduce(key: Key, activation: Tensor, gradient: Tensor) -> None:
            score = (activation * gradient).flatten(2)
            row = 0
            for place, prompt in enumerate(asked):
                shared = torch.zeros(len(prompt.tokens), score.shape[2], device=score.device)
                best = None
                for option, label in enumerate(prompt.options):
                    behind = width - (len(label) - 1)
                    shared += score[row, behind - len(prompt.tokens) : behind]
                    if option == prompt.instance.answer and len(label) > 1:
                        best = score[row, behind:].amax(dim=0)
                    row += 1
                highest = shared.amax(dim=0)
                if best is not None:
                    highest = torch.maximum(highest, best)
                found[place, layout.span(*key)] = highest.cpu()

        with gradient_hooks(model, points, reduce):
            log_p = label_log_probability(model, tokens, mask, labels=labels)
            torch.stack([m for m, _ in _margins(log_p, asked, mean=True)]).sum().backward()
        return found

    checkpoint = material.home / "contrast.checkpoint"
    about = {
        "what": "contrast",
        "model": describe_model(model),
        "data": content_hash(list(instances)),
    }
    budget = fitting_budget(model, max(lengths))
    with frozen(model):
        for rows, found in add_batches(
            lengths,
            budget,
            work=work,
            sums={"total": total},
            made_from=about,
            what="Contrast",
            checkpoint=checkpoint,
        ):
            where = [countries.index(group_in_scores(instances[row].group)) for row in rows]
            total.index_add_(0, torch.tensor(where), found.double())
    remove_checkpoint(checkpoint)
    return total.to(torch.float32).numpy()


def _options(model: Any, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, list]:
    """All options of all prompts, each behind its prompt: tokens, mask, and the labels."""
    rows = [(prompt.tokens, label) for prompt in prompts for label in prompt.options]
    sequences = [tokens + label[:-1] for tokens, label in rows]
    batch = pad_batch(sequences, range(len(rows)), tokenizer_of(model), device=model.cfg.device)
    return batch.tokens, batch.mask, [label for _, label in rows]


def _margins(
    log_p: Tensor, prompts: Sequence[Prompt], *, mean: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """Of each prompt: how much the answer's ln P / L is above the wrong options' mean; or else
    its log share of all options. And the answer's own ln P / L."""
    lengths = [len(label) for prompt in prompts for label in prompt.options]
    each = log_p / torch.tensor(lengths, device=log_p.device)
    found = []
    for prompt, own in zip(prompts, each.split([len(p.options) for p in prompts]), strict=True):
        answer = own[prompt.instance.answer]
        wrong = (own.sum() - answer) / (len(own) - 1)
        share = answer - wrong if mean else answer - own.logsumexp(dim=0)
        found.append((share, answer))
    return found


def learned(
    material: Material, start: Callable[[Material], np.ndarray] = second_control
) -> np.ndarray:
    """How far a learned mask closes each neuron: 0 to 1; -inf of those that it cannot choose."""
    return material.kept("learned", lambda: learn_mask(material, start(material)))


def learn_mask(material: Material, start: np.ndarray) -> np.ndarray:
    """A factor from 0 to 1 for each of the best candidates, learned on the scored questions.

    1. Candidates are those of the highest `start`, in either pool in the pools' proportion; those
       that would be selected begin nearly closed, the others nearly open.
    2. The loss of a step is the answers' log share of their options on cultural questions, plus
       what the answers of what is to be kept lose, of their log share and of their ln P / L, plus
       a penalty on closing more neurons than are to be selected.
    3. The rank is how far each neuron is closed in the end.
    """
    run, model = material.run, material.model()
    answer_format, layout = run.study.answer_format, run.neurons.layout
    size = len(run.neurons)
    warm = of_size(start, material, "warm")
    wide = _candidates(start, material, CANDIDATES / size)
    rng = np.random.default_rng(0)
    culture = model_prompts(model, run.data.neuron, answer_format=answer_format)
    kept = {
        task: model_prompts(model, part, answer_format=answer_format)
        for task, part in material.retained.items()
    }
    closed = torch.from_numpy(np.where(np.isin(wide, warm.ids), 1.5, -2.5)).float()
    closed.requires_grad_()
    optimiser = torch.optim.Adam([closed], lr=RATE)
    by_key = NeuronSet(layout, wide, "candidates").by_site()
    assert (np.sort(wide) == wide).all()

    def factors() -> list[tuple[str, Any]]:
        hooks, taken = [], 0
        scale = 1 - torch.sigmoid(closed)
        for key in layout.keys:
            if key not in by_key:
                continue
            index = torch.tensor(by_key[key])
            part = scale[taken : taken + len(index)]
            taken += len(index)
            every = torch.ones(layout.size(key[1])).index_put((index,), part)

            def scaling(activation: Tensor, hook: Any, every: Tensor = every) -> Tensor:
                return activation * every.to(activation).view(activation.shape[2:])

            hooks.append((hook_name(*key), scaling))
        return hooks

    def answers(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        tokens, mask, labels = _options(model, prompts)
        log_p = label_log_probability(model, tokens, mask, labels=labels)
        share, own = zip(*_margins(log_p, prompts), strict=True)
        return torch.stack(share), torch.stack(own)

    before: dict[str, tuple[Tensor, Tensor]] = {}
    with frozen(model), progress_bar("Learning a mask", STEPS) as advance:
        with torch.no_grad():
            for task, prompts in kept.items():
                parts = [answers([prompt]) for prompt in prompts]
                share, own = zip(*parts, strict=True)
                before[task] = torch.cat(share), torch.cat(own)
        _log.info("learning a mask over %d neurons", len(wide))
        tasks = list(kept)
        for step in range(STEPS):
            asked = [culture[i] for i in rng.choice(len(culture), AT_ONCE, replace=False)]
            task = tasks[step % len(tasks)]
            count = min(AT_ONCE, len(kept[task]))
            some = rng.choice(len(kept[task]), count, replace=False)
            with hooked(model, factors()):
                loss = answers(asked)[0].mean()
                found = answers([kept[task][i] for i in some])
            for now, then in zip(found, before[task], strict=True):
                loss = loss + (then[some] - now).clamp(min=0).mean()
            much = torch.sigmoid(closed).sum() / size
            loss = loss + (much - 1).clamp(min=0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            advance(1)
            _log.info("step %d of %d: loss %.2f", step + 1, STEPS, float(loss.detach()))
    rank = np.full(layout.total, -np.inf)
    rank[wide] = torch.sigmoid(closed).detach().numpy()
    return rank


def _candidates(rank: np.ndarray, material: Material, times: float) -> np.ndarray:
    """`times` as many neurons as the run's set has in either pool, ascending."""
    run = material.run
    found = []
    for ids in (run.neurons.layout.ids_of(sites) for sites in POOLS.values()):
        ids = np.setdiff1d(ids, _highest(material, "names"))
        count = int(times * np.isin(run.neurons.ids, ids).sum())
        found.append(ids[np.argsort(-rank[ids], kind="stable")[:count]])
    return np.sort(np.concatenate(found))


METHODS: dict[str, Callable[[Material], np.ndarray]] = {
    PAPER: minus_control,
    "gate_exact": functools.partial(minus_control, estimate="gate_exact"),
    "stable": stable,
    "minus_retained": minus_retained,
    "gate_exact_minus_retained": functools.partial(minus_retained, estimate="gate_exact"),
    "filtered": functools.partial(filtered, rank=minus_control),
    "second_control": second_control,
    "contrast": contrast,
    "contrast_filtered": functools.partial(filtered, rank=contrast),
    "learned": learned,
}
