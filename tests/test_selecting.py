"""The protocol of `benchmarks/selection.py`, and what its methods rank by."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import selecting
import selection
import tiny
import torch

from culnig_tl.errors import CulnigError
from culnig_tl.models.description import layout_of
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.layout import NeuronLayout, hook_name
from culnig_tl.neurons.sets import NeuronSet


def material(model, instances, folder, retained=None):
    """What the methods that run a model ask of a run."""
    countries = tuple(dict.fromkeys(one.group for one in instances))
    study = SimpleNamespace(answer_format="cloze", remove=0.0)
    layout = layout_of(model)
    neurons = NeuronSet(layout, np.r_[layout.ids_of(["gate"])[:6], layout.ids_of(["q"])[:2]])
    run = SimpleNamespace(data=SimpleNamespace(neuron=instances), study=study, neurons=neurons)
    return SimpleNamespace(
        run=run,
        model=lambda: model,
        home=folder,
        retained=retained or {},
        scores=lambda: SimpleNamespace(groups=countries),
        mean=lambda part: np.arange(layout.total, dtype=float),
    )


def alone(model, prompt, option):
    """n dT/dn, [pos, neuron], of one option alone, T its ln P / L, without batch or padding."""
    seen, layout = {}, layout_of(model)

    def keep(key):
        def hook_function(activation, hook):
            if key[0] == 0 and key[1] != "gate":
                activation = activation.detach().requires_grad_()
            activation.retain_grad()
            seen[key] = activation
            return activation

        return hook_function

    sequence = torch.tensor([[*prompt.tokens, *option[:-1]]])
    with model.hooks(fwd_hooks=[(hook_name(*key), keep(key)) for key in layout.keys]):
        log_p = model(sequence)[0].log_softmax(dim=-1)
        first = len(prompt.tokens) - 1
        picked = [log_p[first + i, token] for i, token in enumerate(option)]
        (sum(picked) / len(option)).backward()
    scores = [(seen[key] * seen[key].grad)[0].flatten(1) for key in layout.keys]
    return torch.cat(scores, dim=1).detach()


@pytest.mark.model
@pytest.mark.parametrize("kind", ["gemma3", "llama"])
def test_contrast_is_the_difference_at_each_position(kind, tmp_path):
    """Each option alone, and the maximum over positions taken in the end, by hand."""
    model, instances = tiny.model(kind), tiny.instances(8)
    found = selecting.contrast_sums(material(model, instances, tmp_path))
    expected = np.zeros_like(found)
    for row, prompt in enumerate(model_prompts(model, instances, answer_format="cloze")):
        length = len(prompt.tokens)
        of_options = [alone(model, prompt, option) for option in prompt.options]
        answer = of_options.pop(prompt.instance.answer)
        wrong = torch.stack([one[:length] for one in of_options]).mean(dim=0)
        positions = torch.cat([answer[:length] - wrong, answer[length:]])
        expected[row % 4] += positions.amax(dim=0).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(expected).max() > 0.1


@pytest.mark.model
def test_a_learned_mask_closes_what_the_answers_need(tmp_path, monkeypatch):
    """It lowers the answers' share further than as many neurons of the highest start."""
    monkeypatch.setattr(selecting, "STEPS", 60)
    monkeypatch.setattr(selecting, "RATE", 0.5)
    monkeypatch.setattr(selecting, "CANDIDATES", 80)
    model, instances = tiny.model("gemma3"), tiny.instances(8)
    others = [replace(one, answer=(one.answer + 1) % 4) for one in instances[:2]]
    given = material(model, instances, tmp_path, {"tiny": others})
    start = np.random.default_rng(0).random(layout_of(model).total)
    rank = selecting.learn_mask(given, start)
    chosen = np.isfinite(rank)
    assert 70 <= chosen.sum() <= 80
    assert ((rank[chosen] > 0) & (rank[chosen] < 1)).all()
    learned, first = (selecting.of_size(by, given, "") for by in (rank, start))
    assert len(learned) == len(first) == 8
    assert share(model, instances, learned) < share(model, instances, first)


def share(model, instances, neurons):
    """The answers' mean log share of their options with these masked."""
    from culnig_tl.measure.ablation import ablation_hooks

    prompts = model_prompts(model, instances, answer_format="cloze")
    tokens, mask, labels = selecting._options(model, prompts)
    with torch.no_grad(), model.hooks(fwd_hooks=ablation_hooks(model, neurons)):
        log_p = selecting.label_log_probability(model, tokens, mask, labels=labels)
    return float(torch.stack([one for one, _ in selecting._margins(log_p, prompts)]).mean())


LAYOUT = NeuronLayout(n_layers=1, gate=4, q=2, k=1, v=1)


def test_a_method_is_confirmed_once(tmp_path):
    file = tmp_path / "confirmed.json"
    first = NeuronSet(LAYOUT, np.array([1, 2]), "mine")
    selection.confirm_once(file, first)
    before = file.read_text()
    selection.confirm_once(file, first)
    assert file.read_text() == before
    with pytest.raises(CulnigError, match="mine was confirmed with another set at .* own"):
        selection.confirm_once(file, NeuronSet(LAYOUT, np.array([1, 3]), "mine"))


def answered(task, correct):
    return pd.DataFrame(
        {
            "task": task,
            "group": "Iran",
            "question": [f"{task}-{i}" for i in range(len(correct))],
            "id": [f"{task}-{i}" for i in range(len(correct))],
            "correct": np.array(correct, dtype=bool),
            "probability": np.where(correct, 0.5, 0.25),
        }
    )


def both(culture, kept):
    return pd.concat([answered("own", culture), answered("kept", kept)], ignore_index=True)


ORIGINAL = both([1] * 60, [1] * 60)
MASKED = {
    # Half of the culture, and half of the rest.
    selecting.PAPER: both([1, 0] * 30, [1, 0] * 30),
    # Half of the culture, and nothing else.
    "spares": both([1, 0] * 30, [1] * 60),
    # Spares the rest too, but takes less of the culture.
    "weak": both([1, 1, 1, 0] * 15, [1] * 60),
}


def test_effects_and_winners_by_hand():
    table = selection.effects(ORIGINAL, MASKED, [ORIGINAL], own="own").assign(half="confirm")
    rows = table.set_index(["metric", "test", "method"])
    assert rows.loc[("points", "own", "spares"), "change"] == -50
    assert rows.loc[("points", "rest", selecting.PAPER), "change"] == -50
    assert rows.loc[("points", "specificity", selecting.PAPER), "change"] == 0
    assert rows.loc[("points", "specificity", "spares"), "change"] == 50
    assert rows.loc[("nats", "specificity", "spares"), "change"] == pytest.approx(np.log(2) / 2)
    assert rows.loc[("points", "specificity", "weak"), "less_paper"] == 25
    assert selection.winners(table, "own") == {"points": ["spares"], "nats": ["spares"]}


def test_beyond_random():
    """What random neurons take too is no effect of a set."""
    table = selection.effects(ORIGINAL, MASKED, [MASKED["spares"]], own="own")
    rows = table.set_index(["metric", "test", "method"])
    assert rows.loc[("points", "own", "spares"), "change"] == 0
    assert rows.loc[("points", "specificity", "spares"), "change"] == 0


def test_all_countries_forms_of_a_question_are_drawn_together():
    """Ten topics, each asked of six countries, which rise and fall together: ten pieces of
    evidence, not sixty."""
    topics = [f"{i // 6}" for i in range(60)]
    countries = [f"c{i % 6}" for i in range(60)]
    questions = [f"{topic}/{country}" for topic, country in zip(topics, countries, strict=True)]
    before = answered("own", [1] * 60).assign(group=countries, question=questions)
    after = answered("own", [i // 6 % 2 for i in range(60)]).assign(
        group=countries, question=questions
    )
    assert len(set(selection.question_numbers(before))) == 10
    assert selection.wider(before, after)["points"] == pytest.approx(np.sqrt(6), rel=0.15)
