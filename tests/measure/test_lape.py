"""LAPE and CAPE by hand; activation counts and perplexity against plain passes."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from tiny import TEXTS

from culnig_tl import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.activity import activation_shares
from culnig_tl.measure.perplexity import perplexity, perplexity_increase
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.neurons.lape import ActivationShares, select_cape, select_lape
from culnig_tl.neurons.layout import NeuronLayout, hook_name
from culnig_tl.neurons.selection import select_random
from culnig_tl.neurons.sets import NeuronSet

LAYOUT = NeuronLayout(n_layers=2, gate=5, q=1, k=1, v=1)
IDS = LAYOUT.ids_of(["gate"])  # 0-4, 8-12


def shares(rows: dict[str, list[int]], tokens: int = 100) -> ActivationShares:
    about = {"model": {"name": "tiny"}, "texts": {"hash": "x"}, "arguments": {}}
    active = np.array(list(rows.values()))
    return ActivationShares(
        layout=LAYOUT,
        groups=tuple(rows),
        tokens=(tokens,) * len(rows),
        active=active,
        provenance=about,
    )


# Ten gate neurons on a hundred tokens of each language.
BY_HAND = shares(
    {
        "fa": [90, 0, 80, 5, 5, 0, 10, 10, 10, 70],
        "es": [0, 0, 80, 5, 5, 0, 10, 10, 10, 65],
    }
)


def test_lape_by_hand():
    """Sorted, the twenty counts end in 65, 70, 80, 80, 90: the 0.8 quantile lies at 15.2 of 0 to 19,
    a fifth of the way from 65 to 70."""
    values = np.sort(BY_HAND.active.ravel())
    assert np.quantile(values, 0.8) == pytest.approx(66)
    found = select_lape(BY_HAND, quantile=0.8, top=0.2)
    # Candidates: 0 (entropy 0), 2 (ln 2) and 9 (a little below ln 2); two are kept.
    assert found["fa"].ids.tolist() == [IDS[0], IDS[9]]
    assert found["es"].ids.tolist() == []  # 9 has 65 there, not above 66
    more = select_lape(BY_HAND, quantile=0.8, top=1.0)
    assert more["fa"].ids.tolist() == [IDS[0], IDS[2], IDS[9]]
    assert more["es"].ids.tolist() == [IDS[2]]
    assert found["fa"].name == "LAPE fa"


def test_ties_break_by_id():
    tied = shares({"fa": [9, 9, 9] + [0] * 7, "es": [0] * 10})
    found = select_lape(tied, quantile=0.5, top=0.2)
    assert found["fa"].ids.tolist() == [IDS[0], IDS[1]]
    assert found["es"].ids.tolist() == []


def test_silent_neurons_are_never_chosen():
    silent = shares({"fa": [0] * 10, "es": [0] * 10})
    assert [len(s) for s in select_lape(silent, quantile=0.5, top=1.0).values()] == [0, 0]


def test_a_cut_inside_a_wide_tie_is_said(caplog):
    tied = shares({"fa": [9] * 6 + [0] * 4, "es": [0] * 10})
    found = select_lape(tied, quantile=0.5, top=0.2)
    assert found["fa"].ids.tolist() == [IDS[0], IDS[1]]
    assert found["fa"].provenance["ties"] == {"LAPE neurons": 6}
    assert "LAPE neurons: 2 of the 2 selected are the first of 6 that tie at 0" in caplog.text
    assert "ties" not in select_lape(BY_HAND, quantile=0.8, top=0.2)["fa"].provenance


LAPE = {"fa": NeuronSet(LAYOUT, IDS[:1], "LAPE fa"), "es": NeuronSet(LAYOUT, IDS[2:3], "x")}
CULTURES = dataclasses.replace(BY_HAND, groups=("Iran", "Spain"))
SPOKEN = {"Iran": "fa", "Spain": "es"}


def test_cape_leaves_out_the_languages_own():
    found = select_cape(CULTURES, LAPE, SPOKEN, quantile=0.8, top=1.0)
    assert found["Iran"].ids.tolist() == [IDS[2], IDS[9]]
    assert found["Spain"].ids.tolist() == []
    assert found["Iran"].provenance["without"] == "LAPE fa"


def test_cape_needs_the_language_of_every_culture():
    with pytest.raises(CulnigError, match="culture 'Spain' has language '', of which there is no"):
        select_cape(CULTURES, LAPE, {"Iran": "fa"})


def test_cape_and_lape_are_of_one_model():
    small = NeuronSet(NeuronLayout(n_layers=1, gate=2, q=1, k=1, v=1), np.array([0]))
    with pytest.raises(CulnigError, match="the LAPE sets are of a model with 5 neurons.*one model"):
        select_cape(CULTURES, LAPE | {"fa": small}, SPOKEN)


def test_lape_of_a_share_that_is_none():
    with pytest.raises(CulnigError, match=r"top is 1\.5: give a share between 0 and 1"):
        select_lape(BY_HAND, top=1.5)


def test_lape_of_one_language():
    with pytest.raises(CulnigError, match="these shares hold fa only.*two or more"):
        select_lape(shares({"fa": [1] * 10}))


def test_saved_shares_are_loaded(tmp_path):
    path = tmp_path / "a" / "shares.safetensors"
    BY_HAND.save(path)
    loaded = ActivationShares.load(path)
    assert loaded.frame().equals(BY_HAND.frame())
    assert loaded.provenance == BY_HAND.provenance


def test_shares_whose_counts_do_not_fit(tmp_path):
    dataclasses.replace(BY_HAND, tokens=(1,)).save(tmp_path / "shares.safetensors")
    with pytest.raises(CulnigError, match="is damaged .counts .*: count again"):
        ActivationShares.load(tmp_path / "shares.safetensors")


def test_no_file_of_shares(tmp_path):
    with pytest.raises(CulnigError, match="no file"):
        ActivationShares.load(tmp_path / "none")


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_counts_equal_one_pass_a_window(kind, model_class):
    model = tiny.model(kind, model_class)
    found = activation_shares(model, TEXTS, context=6, token_budget=20)
    tokenizer, layout = tokenizer_of(model), layout_of(model)
    for row, parts in enumerate(TEXTS.values()):
        lines = [f"{part}\n" for part in parts if part.strip()]
        flat = [t for line in lines for t in tokenizer(line)["input_ids"]]
        counts = np.zeros((layout.n_layers, layout.gate), dtype=int)
        for start in range(0, len(flat), 6):
            tokens = torch.tensor([flat[start : start + 6]])
            _, cache = model.run_with_cache(tokens)
            for layer in range(layout.n_layers):
                gate = cache[hook_name(layer, "gate")][0]
                act = torch.nn.functional.gelu if kind == "gemma3" else torch.nn.functional.silu
                after = act(gate)
                assert torch.equal(gate > 0, after > 0)
                counts[layer] += (after > 0).sum(dim=0).numpy()
        assert found.tokens[row] == len(flat)
        assert np.array_equal(found.active[row], counts.ravel())
    whole = activation_shares(model, TEXTS, context=6, token_budget=10_000)
    assert np.array_equal(found.active, whole.active)


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_perplexity_equals_plain_passes(kind, model_class, masked):
    model = tiny.model(kind, model_class)
    tokenizer = tokenizer_of(model)
    neurons = select_random(NeuronSet(layout_of(model), np.arange(20)), 0) if masked else None
    found = perplexity(model, TEXTS, neurons, context=6, token_budget=20)
    for name, parts in TEXTS.items():
        lines = [f"{part}\n" for part in parts if part.strip()]
        flat = [t for line in lines for t in tokenizer(line)["input_ids"]]
        total, count = 0.0, 0
        for start in range(0, len(flat), 6):
            window = flat[start : start + 6]
            with torch.no_grad(), ablate(model, neurons):
                logits = model(torch.tensor([window]))[0, :-1].log_softmax(dim=-1)
            total -= sum(float(logits[i, t]) for i, t in enumerate(window[1:]))
            count += len(window) - 1
        assert found.loc[name, "tokens"] == count
        assert found.loc[name, "perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_increase_is_of_nats_before_and_after(kind, model_class):
    model = tiny.model(kind, model_class)
    like = NeuronSet(layout_of(model), np.arange(20))
    masked = select_random(like, 0)
    increase = perplexity_increase(model, TEXTS, {"a": masked, "none": like}, context=6)
    before = perplexity(model, TEXTS, None, context=6)["nats"]
    after = perplexity(model, TEXTS, masked, context=6)["nats"]
    assert increase.loc["a"].to_numpy() == pytest.approx((after - before).to_numpy(), abs=1e-6)
    assert list(increase.columns) == ["food", "drink"]


RESUMED = """
import sys, os, signal
sys.path.insert(0, {tests!r})
import tiny
from culnig_tl.measure import activity as texts
from tiny import TEXTS
counted = texts._count
def count(*args):
    count.calls += 1
    if count.calls == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return counted(*args)
count.calls = 0
texts._count = count
texts.activation_shares(tiny.bridge("llama"), TEXTS, context=4, token_budget=4, checkpoint={path!r}, checkpoint_seconds=0)
"""


@pytest.mark.model
def test_killed_counting_resumes(tmp_path):
    path = tmp_path / "counts"
    script = RESUMED.format(tests=str(tiny.__file__).rsplit("/", 1)[0], path=str(path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert path.exists()
    model = tiny.bridge("llama")
    whole = activation_shares(model, TEXTS, context=4, token_budget=4)
    resumed = activation_shares(model, TEXTS, context=4, token_budget=4, checkpoint=path)
    assert np.array_equal(whole.active, resumed.active)
    with pytest.raises(CulnigError, match="belongs to another run: .*delete it or name another"):
        activation_shares(model, TEXTS, context=5, token_budget=4, checkpoint=path)


@pytest.mark.model
@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda model: activation_shares(model, {"fa": [" "]}),
            "group 'fa' has no text: give some, or leave it out",
            id="a group without text",
        ),
        pytest.param(
            lambda model: perplexity(model, {}), "no texts: give one group or more", id="no group"
        ),
        pytest.param(
            lambda model: perplexity(model, TEXTS, context=0),
            "context is 0: give 1 or more tokens",
            id="no context",
        ),
    ],
)
def test_texts_that_cannot_be_counted(call, message):
    with pytest.raises(CulnigError, match=message):
        call(tiny.bridge("llama"))
