"""A page on every neuron of a run: what it says, that it is made once, and what is refused."""

import json
import re

import numpy as np
import pytest
import tiny
from command import Captured, byte_run, culnig

from culnig_tl import CulnigError, NeuronSet, attribute, exact_effects
from culnig_tl.local_html import LocalHTML
from culnig_tl.measure.neuron_facts import neuron_facts
from culnig_tl.models.description import layout_of
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.selection import rank_values
from culnig_tl.study.neuron_pages import neuron_page, neurons_html, neurons_run
from culnig_tl.study.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return byte_run(patch, Captured(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    texts = tmp_path_factory.mktemp("texts") / "texts.txt"
    texts.write_text("tea in Iran\n\n</script><b>bold</b>\n")
    with pytest.MonkeyPatch.context() as patch:
        code, *_ = culnig(
            patch, Captured(),
            "neurons", "--run", run, "--texts", texts, "--prompts", "2", "--contexts", "2",
        )  # fmt: skip
    assert code == 0
    return run, texts


def facts_of(page: str) -> dict:
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(data)


def test_the_page_has_every_neuron_and_what_the_file_says(made):
    out, _ = made
    written = json.loads((out / "neurons" / "neurons.json").read_text())
    page = (out / "neurons" / "neurons.html").read_text()
    assert facts_of(page) == written
    run = Run.open(out)
    assert [(n["layer"], n["site"], n["index"]) for n in written["neurons"]] == [*run.neurons]
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://fb.me", "")[:2000]
    ranks = rank_values(
        run.scores(), run.scores("control"), run.study.variant, target=run.study.target
    )
    for fact, flat in zip(written["neurons"], run.neurons.ids, strict=True):
        assert fact["score"] == pytest.approx(ranks[flat], rel=1e-3)
        assert set(fact["scores"]) == set(run.scores().groups)
        assert len(fact["effects"]) == 2
        assert all(len(c["tokens"]) == len(c["values"]) <= 24 for c in fact["contexts"])
        assert bool(fact["raised"]) == (fact["site"] in ("gate", "v"))
        assert bool(fact["looks"]) == (fact["site"] in ("q", "k") and bool(fact["contexts"]))


def test_effects_are_true_ones(made):
    out, _ = made
    run = Run.open(out)
    (fact, *_) = json.loads((out / "neurons" / "neurons.json").read_text())["neurons"]
    model, asked = run.load_model(), {i.id: i for i in run.own_data.tests[run.study.task]}
    first = NeuronSet(run.neurons.layout, run.neurons.ids[:1], "first")
    for effect in fact["effects"]:
        found = exact_effects(
            model, asked[effect["instance"]], first, answer_format=run.study.answer_format
        )
        assert effect["true"] == pytest.approx(found["nats"].iloc[0], rel=1e-2, abs=1e-5)


def test_what_is_there_is_not_measured_again(monkeypatch, made):
    """Not even the model is loaded."""
    out, texts = made
    before = (out / "neurons" / "neurons.html").read_text()
    monkeypatch.setattr(Run, "load_model", None)
    neurons_run(out, texts=texts, prompts=2, contexts=2)
    assert (out / "neurons" / "neurons.html").read_text() == before
    with pytest.raises(CulnigError, match="contexts"):
        neurons_run(out, texts=texts, prompts=2, contexts=3)


def test_a_set_of_ones_own(made):
    out, _ = made
    layout = Run.open(out).neurons.layout
    mine = NeuronSet(layout, np.array([0, layout.span(1, "q").start]), "mine")
    page = neurons_run(out, neurons=mine, prompts=0, contexts=1)
    assert page == out / "neurons" / "mine" / "neurons.html"
    content = facts_of(page.read_text())
    assert content["about"]["questions"] == 0
    assert [fact["effect"] for fact in content["neurons"]] == [None, None]


def test_what_is_refused(monkeypatch, capsys, tmp_path, run):
    (tmp_path / "blank.txt").write_text(" \n\n")
    other = NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1)
    NeuronSet(other, np.array([0]), "other").save(tmp_path / "other.json")
    layout = Run.open(run).neurons.layout
    NeuronSet(layout, np.array([], dtype=int), "none").save(tmp_path / "none.json")
    for options, words in (
        (("--texts", tmp_path / "blank.txt"), "has no text: give one a line"),
        (("--texts", tmp_path / "missing.txt"), "missing.txt"),
        (("--neurons", tmp_path / "other.json"), "use the model that it was made from"),
        (("--neurons", tmp_path / "none.json"), "'none' is empty: there is nothing to show"),
        (("--prompts", "-1"), "prompts"),
        (("--contexts", "0"), "contexts"),
    ):
        code, _, error = culnig(monkeypatch, capsys, "neurons", "--run", run, *options)
        assert code != 0
        assert words in " ".join(error.split()), error


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_one_neuron_in_a_notebook(kind, model_class):
    model, instances = tiny.model(kind, model_class), tiny.instances()
    scores = attribute(model, instances, answer_format="cloze")
    for neuron in ((1, "gate", 3), (0, "q", 2), (2, "k", 1), (1, "v", 0)):
        page = neuron_page(
            model,
            scores,
            neuron,
            instances=instances,
            texts=["tea in iran"],
            effects_on=instances[:1],
        )
        assert page._repr_html_() == page
        (fact,) = facts_of(page)["neurons"]
        assert (fact["layer"], fact["site"], fact["index"]) == neuron
    with pytest.raises(CulnigError, match="no neuron"):
        neuron_page(model, scores, (9, "gate", 0), instances=instances)


@pytest.mark.model
def test_explained_variance_of_a_neuron_that_is_the_country():
    """What the country explains, where the activation is all country, and where it is none."""
    model, instances = tiny.model(*tiny.FEWER_MODELS[0]), tiny.instances()
    layout = layout_of(model)
    neurons = NeuronSet(layout, np.arange(layout.total), "all")
    scores = attribute(model, instances, answer_format="cloze")
    facts = neuron_facts(model, neurons, instances, scores=scores, answer_format="cloze")
    shares = [fact["explained"]["group"] for fact in facts]
    assert all(share is None or share <= 1 for share in shares)
    ranks = sorted(fact["rank"] for fact in facts if fact["site"] == "gate")
    assert ranks == list(range(1, len(ranks) + 1))


def test_a_token_is_no_markup():
    fact = {"raised": ["</script><img src=x>"], "layer": 0, "explained": {}}
    fact |= {"contexts": [], "effects": []}
    page = neurons_html(
        {"model": "<b>", "set": "s", "neurons": 1, "of": 2, "prompts": 1, "questions": 0}, [fact]
    )
    assert "<img" not in page
    assert "&lt;b&gt;" in page
    assert facts_of(page)["neurons"] == [fact]


def test_a_notebook_shows_a_page_and_its_text_is_short():
    page = LocalHTML("<p>" + "x" * 1000)
    assert page._repr_html_() == str(page)
    assert repr(page) == "HTML of 1,003 characters"
