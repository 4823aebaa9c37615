"""The examples in the docstrings of public names: each name has one, and they say what is so."""

import doctest
import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import short_question_files
import tiny

import culnig_tl
from culnig_tl.neurons.layout import NeuronLayout

# Of studies, training and configurations.
ELSEWHERE = ("culnig_tl.study", "culnig_tl.training", "culnig_tl.models.configs")
NAMES = [
    name
    for name in culnig_tl.__all__
    if not getattr(culnig_tl, name).__module__.startswith(ELSEWHERE)
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict:
    """What the examples call by name: a tiny random model, and what was measured on it."""
    folder = tmp_path_factory.mktemp("examples")
    model, instances = tiny.model(*tiny.FEWER_MODELS[0]), tiny.instances(8)
    scores = culnig_tl.attribute(model, instances)
    neurons = culnig_tl.select_general(
        scores, None, None, top_mlp=0.1, top_attention=0.05, name="culture"
    )
    few = culnig_tl.NeuronSet(neurons.layout, neurons.ids[:4], "few")
    random = culnig_tl.select_random(neurons, 0)
    iran, spain = (
        culnig_tl.Instance(
            id=f"lunch/{country}",
            task="tiny",
            split="test",
            country=country,
            template=0,
            options=("rice", "bread"),
            answer=answer,
            cloze=f"Question : what do people in {country.lower()} eat for lunch ? Answer:",
            user="",
            labels=("A", "B"),
            question_id="lunch",
        )
        for answer, country in enumerate(("Iran", "Spain"))
    )
    return vars(culnig_tl) | {
        "model": model,
        "instances": instances,
        "iran": iran,
        "spain": spain,
        "texts": tiny.TEXTS,
        "scores": scores,
        "neurons": neurons,
        "few": few,
        "shares": culnig_tl.activation_shares(model, tiny.TEXTS, context=8),
        "layout": NeuronLayout(n_layers=2, gate=3, q=2, k=1, v=1),
        "original": culnig_tl.evaluate(model, instances),
        "masked": culnig_tl.evaluate(model, instances, neurons),
        "random": [culnig_tl.evaluate(model, instances, random)],
        "effects": culnig_tl.taylor_check(model, instances[:3], few, steps=0),
        "patching": culnig_tl.patching_effects(model, [iran, spain], neurons),
        "curves": pd.DataFrame(
            {
                "trained": "qnli",
                "task": ["qnli", "everyday"] * 4,
                "which": ["top"] * 4 + ["bottom"] * 4,
                "learning_rate": 1e-4,
                "seed": 0,
                "step": [0, 0, 8, 8] * 2,
                "accuracy": [50.0, 40.0, 60.0, 30.0, 50.0, 40.0, 60.0, 38.0],
            }
        ),
        "sweep": pd.DataFrame(
            {"reduction": [1.0, 3.0], "neurons": [10, 20]},
            index=pd.MultiIndex.from_tuples([(0.01, 0.0), (0.02, 0.0)], names=["t", "r"]),
        ),
        "folder": str(tiny.byte_model(folder / "model")),
        "blend": short_question_files.folder(folder / "blend"),
        "np": np,
    }


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
def test_the_example_says_what_is_so(names, name):
    text = inspect.getdoc(getattr(culnig_tl, name)) or ""
    assert "Example:" in text, f"{name} has no example"
    test = doctest.DocTestParser().get_doctest(text, dict(names), name, None, 0)
    assert test.examples
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    plt.close("all")
    assert not failed, "".join(said)
