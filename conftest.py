"""No network in tests, and what the examples in the package's docstrings are about."""

import os
from unittest import mock

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _names_in_examples(request, doctest_namespace):
    """Before an example: all public names, and what it calls by name. After it: no open figure."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    doctest_namespace.update(request.getfixturevalue("example_names"))
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def _small_run(folder):
    """A finished run of a tiny model, whose figures are not drawn."""
    import tiny

    from culnig_tl import run_study
    from culnig_tl.study import report

    study = tiny.study(folder / "tiny", test_limit=16, other_limit=4)
    with mock.patch.object(report, "_saved", lambda figures, _: dict.fromkeys(figures, "")):
        return run_study(study, folder / "run")


@pytest.fixture(scope="session")
def example_names(tmp_path_factory) -> dict:
    """A tiny random model, and what was measured on it; each example says what it uses."""
    # Not before the tests are collected: their annotations are checked from then on.
    import pandas as pd
    import question_files
    import short_question_files
    import tiny

    import culnig_tl
    from culnig_tl.neurons.layout import NeuronLayout

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
            group=country,
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
    public = {name: getattr(culnig_tl, name) for name in culnig_tl.__all__}
    return public | {
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
        "patching": culnig_tl.patching_effects(
            model,
            [iran, spain],
            neurons,
            pairs=culnig_tl.pair_preferences(model, [iran, spain]).assign(decided=True),
        ),
        "sums": culnig_tl.interaction(model, instances[:3], few),
        "curve": culnig_tl.faithfulness_curve(
            model, instances, scores.mean(), shares=(0.1,), seeds=1
        ),
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
        "run": _small_run(folder),
        "work": folder / "work",
        "questions": question_files.jobs(folder / "questions"),
        "blend": short_question_files.folder(folder / "blend"),
    }
