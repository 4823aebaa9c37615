import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file
from scores_by_hand import LAYOUT, OTHER, scores

from culnig_tl.errors import CulnigError
from culnig_tl.neurons.scores import Part, Scores
from culnig_tl.neurons.selection import check_selectable
from culnig_tl.neurons.sets import NeuronSet


def test_mean_weighs_countries_by_instances():
    # Neuron 5: (5 + 105) / 4, not the mean 53.33 of the countries' own means.
    assert scores().mean(variant="max")[5] == 27.5
    np.testing.assert_array_equal(scores().mean(variant="max"), (2 * np.arange(14) + 100) / 4)
    np.testing.assert_array_equal(scores().mean(variant="norm"), (2 * np.arange(14) + 100) / 2)


def test_mean_of_some_countries():
    np.testing.assert_array_equal(
        scores().mean(variant="max", groups=["Iran"]), 100.0 + np.arange(14)
    )
    np.testing.assert_array_equal(scores().mean(variant="max", groups=["Spain"]), np.arange(14) / 3)
    both = scores().mean(variant="max", groups=["Iran", "Spain"])
    np.testing.assert_array_equal(both, scores().mean(variant="max"))


def test_the_sum_is_of_double_precision():
    big = dataclasses.replace(
        scores(), sums=np.tile(np.float32([[16777216.0], [1.0]]), (2, 2, 1, 14)), instances=(1, 0)
    )
    assert big.mean(variant="max")[0] == 16777217.0


def test_unknown_variant():
    with pytest.raises(CulnigError, match="no score variant 'mean': these scores hold max, norm"):
        scores().mean(variant="mean")


def test_targets():
    """The first is the default; the second of this file is the first's negative."""
    np.testing.assert_array_equal(
        scores().mean(variant="max", target="product"), scores().mean(variant="max")
    )
    np.testing.assert_array_equal(
        scores().mean(variant="max", target="log"), -scores().mean(variant="max")
    )
    with pytest.raises(CulnigError, match="no target 'x': these scores hold product, log"):
        scores().mean(variant="max", target="x")


def test_no_group():
    with pytest.raises(CulnigError, match="no group to average over"):
        scores().mean(variant="max", groups=[])


def test_a_country_named_twice_counts_once():
    twice = scores().mean(variant="max", groups=["Iran", "Iran"])
    np.testing.assert_array_equal(twice, scores().mean(variant="max", groups=["Iran"]))


def test_unknown_country():
    with pytest.raises(CulnigError, match="no scores for 'China': these hold Spain, Iran"):
        scores().mean(variant="max", groups=["Spain", "China"])


def test_top():
    top = scores().highest(count=3)
    assert list(top["score"]) == [31.5, 31.0, 30.5]
    assert list(top["layer"]) == [1, 1, 1]
    assert list(top["site"]) == ["v", "k", "q"]
    assert list(top["index"]) == [0, 0, 1]
    assert len(scores().highest(count=100, variant="norm")) == 14


def test_top_breaks_ties_by_layer_site_index():
    flat = dataclasses.replace(scores(), sums=np.zeros((2, 2, 2, 14), dtype=np.float32))
    assert list(flat.highest(count=4)["site"]) == ["gate", "gate", "gate", "q"]
    assert list(flat.highest(count=4)["index"]) == [0, 1, 2, 0]


def test_repr():
    assert repr(scores()) == (
        "Scores of 14 neurons from 4 instances of everyday (neuron), 2 groups, "
        "targets product, log, variants max, norm"
    )
    assert "31.5" in scores()._repr_html_()


def test_save_and_load(tmp_path):
    path = tmp_path / "new" / "scores.safetensors"
    scores().save(path)
    for expected in ({}, {"layout": LAYOUT, "model": "tiny", "dataset_hash": "abc"}):
        loaded = Scores.load(str(path), **expected)
        assert loaded.layout == LAYOUT
        assert loaded.targets == ("product", "log")
        assert loaded.variants == ("max", "norm")
        assert loaded.groups == ("Spain", "Iran")
        assert loaded.instances == (3, 1)
        assert loaded.provenance == scores().provenance
        assert loaded.sums.dtype == np.float32
        np.testing.assert_array_equal(loaded.sums, scores().sums)
    assert [p.name for p in path.parent.iterdir()] == ["scores.safetensors"]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"layout": OTHER}, r"made with neurons 14 neurons .*gate 3.*expected 16 neurons .*gate 4"),
        ({"model": "gemma"}, "made with model tiny, expected gemma"),
        ({"dataset_hash": "def"}, "made with dataset hash abc, expected def"),
    ],
)
def test_load_refuses_what_was_made_from_something_else(tmp_path, expected, message):
    scores().save(tmp_path / "s.safetensors")
    with pytest.raises(CulnigError, match=message):
        Scores.load(tmp_path / "s.safetensors", **expected)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.98])
def test_load_of_a_truncated_file(tmp_path, keep):
    path = tmp_path / "s.safetensors"
    scores().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CulnigError, match=r"s\.safetensors is damaged .*: delete it") as caught:
        Scores.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {}},
        {"instances": (3,)},
        {"layout": OTHER},
        {"groups": ("Spain",), "instances": (3,)},
    ],
)
def test_load_of_what_does_not_fit_together(tmp_path, change):
    dataclasses.replace(scores(), **change).save(tmp_path / "s.safetensors")
    with pytest.raises(CulnigError, match=r"s\.safetensors is damaged .*: score again"):
        Scores.load(tmp_path / "s.safetensors")


def test_load_of_no_file(tmp_path):
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(CulnigError, match="no file .*: check the path"):
            Scores.load(path)


def test_load_of_other_tensors(tmp_path):
    save_file({"weight": np.zeros(2, dtype=np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(CulnigError, match="holds 'other tensors', expected 'culnig_tl scores, ve"):
        Scores.load(tmp_path / "w.safetensors")


def test_check_selectable():
    check_selectable(NeuronSet(LAYOUT, np.array([1])))
    empty = NeuronSet(LAYOUT, np.array([], dtype=np.int64), "mine")
    with pytest.raises(CulnigError, match="the selection 'mine' is empty: raise top_mlp"):
        check_selectable(empty)


def parted() -> Scores:
    """With the halves of the questions: Spain's sums are in both, Iran's in the first alone."""
    whole = scores()
    first = whole.sums.copy()
    first[:, :, 0] /= 3
    drawn = 2 * whole.sums[:1].sum(axis=2, keepdims=True)
    parts = {"half 0": Part(first, (1, 1)), "resample 0": Part(drawn, (8,))}
    return dataclasses.replace(whole, parts=parts)


def test_halves_add_up_to_the_whole():
    first, second = parted().half(0), parted().half(1)
    assert (first.groups, first.instances) == (("Spain", "Iran"), (1, 1))
    assert (second.groups, second.instances) == (("Spain",), (2,))
    total = first.sums.sum(axis=2) + second.sums.sum(axis=2)
    np.testing.assert_allclose(total, scores().sums.sum(axis=2), atol=1e-4)


def test_a_resample_is_of_all_countries():
    drawn = parted().resample(0)
    assert drawn.targets == ("product",)
    np.testing.assert_allclose(drawn.mean(), scores().mean())


def test_parts_are_saved(tmp_path):
    parted().save(tmp_path / "a")
    loaded = Scores.load(tmp_path / "a")
    assert loaded.resamples == 1
    np.testing.assert_array_equal(loaded.half(1).sums, parted().half(1).sums)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores().half(0), "these scores hold no half 0 of their questions: score again"),
        (lambda: scores().resample(3), "these scores hold no resample 3 of their questions"),
        (lambda: parted().half(2), "half is 2: give 1 or less"),
    ],
)
def test_no_such_part(call, message):
    with pytest.raises(CulnigError, match=message):
        call()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(np.zeros((2, 2, 2, 3), np.float32), (1, 1)), "half 0 has sums"),
        (Part(np.full((2, 2, 2, 14), np.nan, np.float32), (1, 1)), "half 0 has scores that are no"),
    ],
)
def test_a_damaged_part(tmp_path, part, message):
    dataclasses.replace(scores(), parts={"half 0": part}).save(tmp_path / "a")
    with pytest.raises(CulnigError, match=message):
        Scores.load(tmp_path / "a")
