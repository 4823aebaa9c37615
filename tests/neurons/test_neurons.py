import json
import operator

import numpy as np
import pandas as pd
import pytest

from culnig_tl.errors import CulnigError
from culnig_tl.neurons.layout import SITES, Neuron, NeuronLayout, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model

LAYOUT = NeuronLayout(n_layers=3, gate=5, q=4, k=2, v=2)
OTHER = NeuronLayout(n_layers=3, gate=6, q=4, k=2, v=2)
# (layer, site, index) in the order of flat ids, written out without the layout's own arithmetic.
ALL = [
    (layer, site, index)
    for layer in range(3)
    for site, size in (("gate", 5), ("q", 4), ("k", 2), ("v", 2))
    for index in range(size)
]


def some() -> NeuronSet:
    neurons = [Neuron(2, "v", 1), Neuron(0, "gate", 3), Neuron(1, "q", 0), Neuron(1, "q", 2)]
    made = NeuronSet.of(LAYOUT, neurons, "mine")
    return NeuronSet(
        layout=LAYOUT, ids=made.ids, name="mine", provenance={"model": {"name": "tiny"}, "seed": 3}
    )


def test_sizes():
    assert (LAYOUT.per_layer, LAYOUT.total) == (13, 39)
    assert LAYOUT.counts() == {"gate": 15, "q": 12, "k": 6, "v": 6}
    assert str(LAYOUT) == "39 neurons (3 layers x (gate 5, q 4, k 2, v 2))"


def test_hook_names():
    assert hook_name(3, "q") == "blocks.3.attn.hook_q"
    assert hook_name(0, "gate") == "blocks.0.mlp.hook_pre"


def test_flat_ids_number_layer_then_site_then_index():
    assert [LAYOUT.flat_id(Neuron(*neuron)) for neuron in ALL] == list(range(39))
    assert LAYOUT.flat_id(Neuron(1, "k", 1)) == 13 + 5 + 4 + 1


def test_decode_is_the_inverse_of_flat_id():
    frame = LAYOUT.decode(np.arange(39))
    assert list(frame.columns) == ["layer", "site", "index"]
    decoded = zip(frame["layer"], frame["site"].astype(str), frame["index"], strict=True)
    assert list(decoded) == ALL
    assert list(LAYOUT.decode(np.array([38, 0]))["layer"]) == [2, 0]


def test_spans_lie_end_to_end():
    spans = [LAYOUT.span(layer, site) for layer in range(3) for site in SITES]
    assert (spans[0].start, spans[-1].stop) == (0, 39)
    assert all(a.stop == b.start for a, b in zip(spans, spans[1:], strict=False))
    assert LAYOUT.span(1, "q") == slice(18, 22)


def test_ids_of_pools_sites_in_ascending_order():
    expected = [i for i, (_, site, _) in enumerate(ALL) if site in ("k", "q")]
    assert LAYOUT.ids_of(["k", "q"]).tolist() == expected
    assert LAYOUT.ids_of(SITES).tolist() == list(range(39))
    assert LAYOUT.ids_of(["gate"]).tolist() == [*range(5), *range(13, 18), *range(26, 31)]


OUT_OF_RANGE = pytest.mark.parametrize(
    "neuron",
    [(3, "q", 0), (-1, "q", 0), (0, "q", 4), (0, "q", -1), (0, "up", 0), (2, "gate", 5)],
    ids=str,
)


@OUT_OF_RANGE
def test_a_neuron_out_of_range_has_no_id(neuron):
    with pytest.raises(CulnigError, match=r"no neuron \(.*\) in a model with 39 neurons"):
        LAYOUT.flat_id(Neuron(*neuron))


@OUT_OF_RANGE
def test_a_neuron_out_of_range_is_in_no_set(neuron):
    with pytest.raises(CulnigError, match="no neuron"):
        NeuronSet.of(LAYOUT, [Neuron(*neuron)])


@pytest.mark.parametrize("ids", [[39], [-1], [0, 5, 40]])
def test_out_of_range_id(ids):
    with pytest.raises(CulnigError, match="neuron set 'mine' has ids from .* the model only 39"):
        NeuronSet(LAYOUT, np.array(ids), "mine")


def test_a_set_has_no_order_and_no_doubles():
    one = NeuronSet(LAYOUT, np.array([7, 3, 7, 1]))
    assert one.ids.tolist() == [1, 3, 7]
    assert len(one) == 3


def test_sets_of_the_same_neurons_are_equal():
    one = NeuronSet(LAYOUT, np.array([7, 3, 7, 1]))
    assert one == NeuronSet(LAYOUT, np.array([1, 3, 7]), "another name")
    assert hash(one) == hash(NeuronSet(LAYOUT, np.array([3, 1, 7])))


@pytest.mark.parametrize(
    "other",
    [NeuronSet(OTHER, np.array([1, 3, 7])), NeuronSet(LAYOUT, np.array([1, 3])), "a set"],
    ids=["another model's", "fewer", "no set"],
)
def test_other_sets_are_not_equal(other):
    assert NeuronSet(LAYOUT, np.array([1, 3, 7])) != other


def test_ids_are_a_copy():
    given = np.array([1, 2])
    made = NeuronSet(LAYOUT, given)
    given[0] = 5
    assert made.ids.tolist() == [1, 2]


def test_ids_cannot_be_changed():
    made = NeuronSet(LAYOUT, np.array([1, 2]))
    with pytest.raises(ValueError, match="read-only"):
        made.ids[0] = 5


def test_iterates_over_neurons_in_order():
    expected = [(0, "gate", 3), (1, "q", 0), (1, "q", 2), (2, "v", 1)]
    assert [tuple(neuron) for neuron in some()] == expected
    assert NeuronSet.of(LAYOUT, list(some())) == some()


def test_counts_have_every_layer_and_site():
    counts = some().counts()
    assert list(counts.columns) == list(SITES)
    assert list(counts.index) == [0, 1, 2]
    assert counts.to_numpy().tolist() == [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]]


def test_by_site():
    found = {place: indices.tolist() for place, indices in some().by_site().items()}
    assert found == {(0, "gate"): [3], (1, "q"): [0, 2], (2, "v"): [1]}


def test_empty_set():
    empty = NeuronSet(LAYOUT, np.array([], dtype=np.int64), "none")
    assert len(empty) == 0
    assert list(empty) == []
    assert empty.counts().shape == (3, 4)
    assert empty.counts().to_numpy().sum() == 0
    assert empty.by_site() == {}
    assert repr(empty) == "none: 0 of 39 neurons (0.00%): gate 0, q 0, k 0, v 0"


def test_repr_has_the_counts():
    assert repr(some()) == "mine: 4 of 39 neurons (10.26%): gate 1, q 2, k 0, v 1"
    assert "mine: 4 of 39 neurons" in some()._repr_html_()
    assert "<table" in some()._repr_html_()


def test_save_and_load(tmp_path):
    some().save(tmp_path / "set.json")
    for layout in (None, LAYOUT):
        loaded = NeuronSet.load(tmp_path / "set.json", layout=layout)
        assert loaded == some()
        assert loaded.name == "mine"
        assert loaded.layout == LAYOUT
        assert loaded.provenance == {"model": {"name": "tiny"}, "seed": 3}
    pd.testing.assert_frame_equal(loaded.counts(), some().counts())


def test_empty_set_can_be_saved(tmp_path):
    empty = NeuronSet(LAYOUT, np.array([], dtype=np.int64), "none")
    empty.save(str(tmp_path / "set.json"))
    assert NeuronSet.load(str(tmp_path / "set.json")) == empty


def test_the_file_names_neurons_by_layer_site_and_index(tmp_path):
    some().save(tmp_path / "set.json")
    content = json.loads((tmp_path / "set.json").read_text())
    assert content["neurons"] == [[0, "gate", 3], [1, "q", 0], [1, "q", 2], [2, "v", 1]]
    assert content["layout"] == {"n_layers": 3, "gate": 5, "q": 4, "k": 2, "v": 2}


def test_load_refuses_another_layout_and_gives_both(tmp_path):
    some().save(tmp_path / "set.json")
    message = r"set\.json was made for a model with 39 neurons .*gate 5,.* this one has 42 .*gate 6"
    with pytest.raises(CulnigError, match=message):
        NeuronSet.load(tmp_path / "set.json", layout=OTHER)


@pytest.mark.parametrize("content", [[1, 2], {"format": "something else"}, {}, "text"])
def test_load_refuses_what_is_not_a_set(tmp_path, content):
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(CulnigError, match=r"set\.json is not a neuron set saved by this package"):
        NeuronSet.load(tmp_path / "set.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"neurons": [[0, "gate"]]},
        {"neurons": [3]},
        {"neurons": None},
        {"layout": {"n_layers": 3}},
        {"layout": [3, 5]},
        {"layout": None},
    ],
)
def test_load_of_a_damaged_set(tmp_path, changes):
    some().save(tmp_path / "set.json")
    content = json.loads((tmp_path / "set.json").read_text()) | changes
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(CulnigError, match=r"set\.json is damaged .*: make the set again"):
        NeuronSet.load(tmp_path / "set.json")


@pytest.mark.parametrize("key", ["layout", "neurons", "name", "provenance"])
def test_load_of_a_set_that_lacks_a_part(tmp_path, key):
    some().save(tmp_path / "set.json")
    content = json.loads((tmp_path / "set.json").read_text())
    del content[key]
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(CulnigError, match=f"is damaged .*{key}.*: make the set again"):
        NeuronSet.load(tmp_path / "set.json")


def test_load_of_half_a_file(tmp_path):
    some().save(tmp_path / "set.json")
    text = (tmp_path / "set.json").read_text()
    (tmp_path / "set.json").write_text(text[: len(text) // 2])
    with pytest.raises(CulnigError, match=r"set\.json is not valid JSON"):
        NeuronSet.load(tmp_path / "set.json")


def test_load_of_a_neuron_out_of_range(tmp_path):
    some().save(tmp_path / "set.json")
    content = json.loads((tmp_path / "set.json").read_text())
    content["neurons"].append([7, "q", 0])
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(CulnigError, match=r"no neuron \(7, 'q', 0\) in a model with 39 neurons"):
        NeuronSet.load(tmp_path / "set.json")


A = NeuronSet(LAYOUT, np.array([5, 1, 3]), "a", {"model": {"name": "tiny"}})
B = NeuronSet(LAYOUT, np.array([4, 3]), "b")


@pytest.mark.parametrize(
    ("joined", "ids", "sign", "method"),
    [
        (A | B, [1, 3, 4, 5], "|", "union"),
        (A & B, [3], "&", "intersection"),
        (A - B, [1, 5], "-", "difference"),
    ],
    ids=["union", "intersection", "difference"],
)
def test_sets_join(joined, ids, sign, method):
    assert joined.ids.tolist() == ids
    assert joined.name == f"a {sign} b"
    about = joined.provenance
    assert (about["method"], about["sets"]) == (method, ["a", "b"])
    assert about["model"] == {"name": "tiny"}


def test_a_set_without_itself_is_empty():
    assert (A - A).ids.tolist() == []


def test_a_joined_set_can_be_named():
    assert (A | B).named("both").name == "both"


def test_a_set_does_not_join_what_is_none():
    with pytest.raises(TypeError):
        A | {1}  # type: ignore[operator]


@pytest.mark.parametrize("join", [operator.or_, operator.and_, operator.sub])
def test_sets_of_two_models_do_not_join(join):
    a, b = NeuronSet(LAYOUT, np.array([1]), "a"), NeuronSet(OTHER, np.array([1]), "b")
    message = "'b' is of a model with 42 .*, 'a' with 39 .*: take sets of one model"
    with pytest.raises(CulnigError, match=message):
        join(a, b)


def test_what_is_of_one_model():
    require_same_model(some(), LAYOUT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "'mine' is of a model with 39 .*, this one has 42 .*: use"),
        (
            {"what": "the scores have", "other": "expected", "remedy": "score again"},
            "the scores have 39 .*, expected 42 .*: score again",
        ),
    ],
    ids=["in its own words", "in words that are given"],
)
def test_what_is_of_two_models_is_refused(words, message):
    with pytest.raises(CulnigError, match=message):
        require_same_model(some(), OTHER, **words)
