import dataclasses
from functools import partial

import numpy as np
import pytest
from culture_by_hand import BIG, CULTURE, LAYOUT, by_group, scores

from culnig_tl.errors import CulnigError, EmptySelection, FlatRanking
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import (
    overlap,
    select_general,
    select_random,
    select_specific,
)
from culnig_tl.neurons.sets import NeuronSet

NEARLY_FLAT = scores({0: 1.0, 10: 1.0})  # the first of each pool, and ties


def chosen(*args, **kwargs) -> list[int]:
    return select_general(*args, **kwargs).ids.tolist()


def test_scores_of_two_models_are_refused():
    other = scores({})
    other.provenance["model"]["name"] = "huge"
    for pair in ((other, None), (None, other)):
        with pytest.raises(CulnigError, match="scores of tiny and of huge: use scores of one mod"):
            select_general(scores({}), *pair)


def test_highest_of_each_pool():
    # 20 x 0.15 = 3 of MLP; 16 x 0.2 = 3.2, so 3 of attention, from q, k and v together.
    made = scores({5: 0.1, 20: 0.9, 27: 0.5, 3: 0.2, 12: 0.3, 33: 0.8, 34: 0.4, 10: 0.2})
    assert chosen(made, None, None, top_mlp=0.15, top_attention=0.2) == [3, 12, 20, 27, 33, 34]


@pytest.mark.parametrize(
    ("share", "mlp", "attention"),
    [(0.0625, 1, 1), (0.1, 2, 1), (0.19, 3, 3), (0.26, 5, 4), (0.99, 19, 15), (1.0, 20, 16)],
)
def test_counts_are_floors(share, mlp, attention):
    found = select_general(NEARLY_FLAT, None, None, top_mlp=share, top_attention=share)
    assert found.counts()["gate"].sum() == mlp
    assert found.counts()[["q", "k", "v"]].to_numpy().sum() == attention


def test_floor_does_not_lose_a_neuron_to_rounding():
    layout = NeuronLayout(n_layers=1, gate=100, q=1, k=1, v=1)  # 100 * 0.29 is 28.999...
    assert len(chosen(scores({0: 1.0}, layout), None, None, top_mlp=0.29, top_attention=0.0)) == 29


def test_ties_break_by_layer_site_index():
    assert chosen(NEARLY_FLAT, None, None, top_mlp=0.6, top_attention=0.75) == [
        *range(10),  # layer 0, gate
        *range(10, 18),  # layer 0, attention
        18,
        19,  # layer 1, gate
        *range(28, 32),  # layer 1, q
    ]
    # 30 and 12 tie behind 35: the earlier layer comes first.
    made = scores({35: 0.9, 30: 0.5, 12: 0.5})
    assert chosen(made, None, None, top_mlp=0.0, top_attention=0.125) == [12, 35]


def test_ties_keep_their_order_in_a_large_pool():
    # Three levels, each with many ties: an unstable sort would mix them.
    levels = np.arange(360) % 3
    made = scores({i: float(level) for i, level in enumerate(levels)}, BIG)
    gates = BIG.ids_of(["gate"])
    expected = [i for i in gates if levels[i] == 2] + [i for i in gates if levels[i] == 1]
    found = chosen(made, None, None, top_mlp=0.5, top_attention=0.0)
    assert found == sorted(expected[:100])


def test_the_control_is_subtracted():
    culture = scores({0: 0.9, 1: 0.5, 10: 0.9, 11: 0.5})
    control = scores({0: 0.8, 10: 0.3, 11: 0.1}, name="control")
    wanted = {"top_mlp": 0.05, "top_attention": 0.07}
    assert chosen(culture, None, None, **wanted) == [0, 10]
    # 0.9 - 0.8 < 0.5 - 0 among gates; 0.9 - 0.3 > 0.5 - 0.1 in attention.
    assert chosen(culture, control, None, **wanted) == [1, 10]


def test_negative_scores_are_the_lowest():
    # Of the gates only 19..26 are at 0; 27 is the best of the rest.
    culture = scores({i: -0.5 for i in range(19)} | {27: -0.1})
    assert chosen(culture, None, None, top_mlp=0.45, top_attention=0.0) == list(range(19, 28))


def test_countryrc_is_removed_from_mlp_and_attention_apart():
    culture = scores({0: 0.9, 1: 0.8, 10: 0.7, 11: 0.6})
    # Among all neurons the top tenth of these would be gates alone.
    names = scores({0: 50.0, 5: 40.0, 11: 0.2, 30: 0.1, 1: 30.0}, name="countryrc")
    wanted = {"top_mlp": 0.1, "top_attention": 0.125}
    assert chosen(culture, None, None, **wanted) == [0, 1, 10, 11]
    # 20 x 0.1 = 2 gates (0, 5) and 16 x 0.1 = 1 attention neuron (11) are taken out.
    assert chosen(culture, None, names, **wanted, remove=0.1) == [1, 10]
    assert chosen(culture, None, names, **wanted, remove=0.15) == [10]
    assert chosen(culture, None, names, **wanted, remove=0.0) == [0, 1, 10, 11]


def test_the_removed_are_not_replaced():
    culture = scores({0: 0.9, 1: 0.8, 2: 0.7})
    names = scores({0: 0.9}, name="countryrc")
    assert chosen(culture, None, names, top_mlp=0.1, top_attention=0.0, remove=0.05) == [1]


def test_control_and_countryrc_together():
    culture = scores({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6})
    control = scores({0: 0.9}, name="control")
    names = scores({2: 0.5}, name="countryrc")
    found = chosen(culture, control, names, top_mlp=0.15, top_attention=0.0, remove=0.05)
    assert found == [1, 3]


@pytest.mark.parametrize(("variant", "ids"), [("max", [0]), ("mean", [1])])
def test_variant(variant, ids):
    made = scores({0: 0.9, 1: -0.9})
    assert chosen(made, None, None, variant=variant, top_mlp=0.05, top_attention=0.0) == ids


def test_a_variant_that_the_scores_do_not_hold():
    with pytest.raises(CulnigError, match="no score variant 'norm': these scores hold max, mean"):
        select_general(scores({0: 0.9}), None, None, variant="norm")


def test_provenance_tells_what_it_was_made_from():
    control, names = scores({}, name="control"), scores({35: 1.0, 27: 1.0}, name="countryrc")
    found = select_general(
        NEARLY_FLAT, control, names, top_mlp=0.1, top_attention=0.2, remove=0.07, name="mine"
    )
    about = found.provenance
    assert found.name == "mine"
    assert about["model"] == {"name": "tiny"}
    assert about["method"] == "select_general"
    assert about["arguments"] == {
        "variant": "max",
        "target": "product",
        "top_mlp": 0.1,
        "top_attention": 0.2,
        "remove": 0.07,
        "estimate": "first_order",
    }
    hashes = [about[key]["hash"] for key in ("scores", "control", "names")]
    assert hashes == ["everyday", "control", "countryrc"]
    assert about["versions"]["numpy"] == np.__version__
    without = select_general(NEARLY_FLAT, None, None, top_mlp=0.1)
    assert (without.provenance["control"], without.provenance["names"]) == (None, None)


def test_a_selection_can_be_saved(tmp_path):
    found = select_general(scores({4: 1.0}), None, None, top_mlp=0.1)
    found.save(tmp_path / "set.json")
    assert NeuronSet.load(tmp_path / "set.json", layout=LAYOUT) == found
    assert NeuronSet.load(tmp_path / "set.json").provenance == found.provenance


def test_empty_selection():
    # The defaults, 1% of 20 and 0.2% of 16, are no neuron.
    with pytest.raises(CulnigError, match="the selection 'culture-general' is empty: raise"):
        select_general(scores({}), None, None)
    with pytest.raises(CulnigError, match="'mine' is empty: .* or lower remove"):
        select_general(NEARLY_FLAT, None, NEARLY_FLAT, top_mlp=0.1, remove=0.1, name="mine")


@pytest.mark.parametrize("what", ["top_mlp", "top_attention", "remove"])
@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_share_out_of_range(what, share):
    with pytest.raises(CulnigError, match=f"{what} is {share}: give a share between 0 and 1"):
        select_general(scores({}), None, None, **{what: share})


def test_scores_of_another_layout_are_refused():
    other = scores({}, BIG)
    with pytest.raises(CulnigError, match=r"the control's scores has 360 .*expected 36 neurons"):
        select_general(scores({}), other, None, top_mlp=0.1)
    with pytest.raises(CulnigError, match=r"the names' scores has 360 .*expected 36 neurons"):
        select_general(scores({}), None, other, top_mlp=0.1)


def of_big(count: int) -> NeuronSet:
    return NeuronSet(
        layout=BIG, ids=np.arange(count), name="like", provenance={"model": {"name": "tiny"}}
    )


@pytest.mark.parametrize("matched", [False, True])
def test_random_is_the_same_for_a_seed(matched):
    like = of_big(60)
    first = select_random(like, seed=7, matched=matched)
    assert first == select_random(like, seed=7, matched=matched)
    assert first != select_random(like, seed=8, matched=matched)
    assert len(first) == 60
    assert first.layout == BIG
    assert first.name == ("random-matched-7" if matched else "random-7")
    assert first.provenance["model"] == {"name": "tiny"}
    assert first.provenance["arguments"] == {
        "seed": 7,
        "matched": matched,
        "like": "like",
        "count": 60,
    }


def test_random_draws_without_replacement():
    everything = select_random(of_big(360), seed=0)
    assert everything.ids.tolist() == list(range(360))
    assert len(select_random(of_big(0), seed=0)) == 0


def test_random_is_uniform_over_all_sites_and_layers():
    # `like` holds only gates of the first layers, which must not matter.
    draws = [select_random(of_big(180), seed) for seed in range(100)]
    counts = sum(draw.counts() for draw in draws)
    # Hypergeometric: the standard deviation of a share of a half is 0.0026 in 18,000.
    shares = counts.sum(axis=0) / 18000
    np.testing.assert_allclose(shares, [50 / 90, 20 / 90, 10 / 90, 10 / 90], atol=0.011)
    np.testing.assert_allclose(counts.sum(axis=1) / 18000, [0.25] * 4, atol=0.011)
    hits = np.bincount(np.concatenate([draw.ids for draw in draws]), minlength=360)
    # Binomial(100, 1/2) for each neuron: 50 +- 5, and the spread itself shows it is no cycle.
    assert hits.min() > 25
    assert hits.max() < 75
    assert 4 < hits.std() < 6


def test_matched_keeps_the_counts_of_every_site_and_layer():
    ids = np.random.default_rng(0).choice(360, size=75, replace=False)
    like = NeuronSet(BIG, ids, "like")
    for seed in range(5):
        drawn = select_random(like, seed, matched=True)
        assert drawn.counts().to_numpy().tolist() == like.counts().to_numpy().tolist()
        assert drawn != like
    whole = NeuronSet(BIG, np.arange(BIG.span(2, "k").start, BIG.span(2, "k").stop), "k2")
    assert select_random(whole, 0, matched=True) == whole
    assert len(select_random(of_big(0), 0, matched=True)) == 0


def test_matched_draws_every_neuron_of_a_site():
    like = NeuronSet(BIG, np.array([BIG.span(1, "v").start]), "one")
    seen = {select_random(like, seed, matched=True).ids[0] for seed in range(100)}
    assert seen == set(range(BIG.span(1, "v").start, BIG.span(1, "v").stop))


FEW = {"top": 5 / 36, "remove": 1 / 36}


@pytest.mark.parametrize(
    ("least", "ids"), [({}, [0, 10, 16]), ({"least_z": -np.inf}, [0, 10, 16, 20, 27])]
)
def test_specific_by_hand(least, ids):
    """One pool over all sites; 20 has z 0, 27 has z -0.71 for Iran; 0, 10 and 16 have z of 1.4."""
    found = select_specific(CULTURE, None, None, group="Iran", **least, **FEW)
    assert found.ids.tolist() == ids
    assert found.name == "Iran"


# 27 for Spain: 0.9 of 0.5, 0.9, 0.5 is z = 0.267 / 0.189 = 1.414.
def test_least_z_just_below_a_neurons():
    found = select_specific(CULTURE, None, None, group="Spain", least_z=1.41, top=3 / 36)
    assert found.ids.tolist() == [3, 27]


def test_least_z_just_above_a_neurons():
    with pytest.raises(CulnigError, match="the selection 'Spain' is empty"):
        select_specific(CULTURE, None, None, group="Spain", least_z=1.42, top=3 / 36)


CONTROL = by_group({"Iran": {0: 0.9}, "Spain": {10: 0.9}, "China": {}}, "control")
NAMES = by_group({"Spain": {10: 1.0}, "Iran": {16: 1.0}}, "countryrc")


def test_specific_takes_the_countrys_own_control_and_names():
    found = select_specific(CULTURE, CONTROL, NAMES, group="Iran", top=2 / 36, remove=1 / 36)
    assert found.ids.tolist() == [10]  # 0 is the control's, 16 the name's; Spain's do not matter


def test_specific_needs_names_of_the_country():
    with pytest.raises(CulnigError, match="no scores for 'China': these hold Spain, Iran"):
        select_specific(CULTURE, CONTROL, NAMES, group="China", **FEW)


def test_specific_needs_several_countries():
    with pytest.raises(CulnigError, match="hold Spain only, .*: score several groups"):
        select_specific(scores({}), None, None, group="Spain")


def test_specific_of_a_share_that_is_none():
    with pytest.raises(CulnigError, match="top is 2.0: give a share between 0 and 1"):
        select_specific(CULTURE, None, None, group="Iran", top=2.0)


def test_the_target_is_an_argument():
    """The second target of CULTURE has the countries in the reverse order."""
    of_log = select_specific(CULTURE, None, None, group="China", target="log", **FEW)
    assert of_log.ids.tolist() == [0, 10, 16]
    assert of_log.provenance["arguments"]["target"] == "log"


def test_the_target_of_a_general_set_is_in_its_provenance():
    general = select_general(CULTURE, None, None, top_mlp=0.05, target="log")
    assert general.provenance["arguments"]["target"] == "log"


@pytest.mark.parametrize(
    "select",
    [
        partial(select_general, top_mlp=0.2, top_attention=0.2, remove=0.05),
        partial(select_specific, group="Iran", least_z=-np.inf, **FEW),
    ],
    ids=["general", "specific"],
)
def test_the_default_target_of_the_first_is_that_of_all(select):
    """Though a file has them in another order."""
    half = dataclasses.replace(CULTURE, sums=CULTURE.sums / 2)
    other = dataclasses.replace(half, targets=("log", "product"), sums=half.sums[::-1])
    assert select(CULTURE, other, other) == select(CULTURE, half, half)


def test_a_target_that_the_scores_do_not_hold():
    with pytest.raises(CulnigError, match="no target 'x': these scores hold product, log"):
        select_general(CULTURE, None, None, target="x")


TWO = (NeuronSet(LAYOUT, np.array([1, 2, 3]), "a"), NeuronSet(LAYOUT, np.array([3, 4]), "b"))


def test_overlap():
    table = overlap(list(TWO))
    assert table.to_numpy().tolist() == [[3, 1], [1, 2]]
    assert list(table.index) == list(table.columns) == ["a", "b"]


def test_overlap_of_two_sets_of_one_name():
    with pytest.raises(CulnigError, match="two sets are named 'a': give them names"):
        overlap([*TWO, TWO[0]])


def test_overlap_of_sets_of_two_models():
    with pytest.raises(CulnigError, match="'like' is of a model with 360 .*take sets of one"):
        overlap([TWO[0], of_big(3)])


def both(select, *args, **changes):
    """`select_general` or `select_specific` with shares that take some of LAYOUT's neurons."""
    if select is select_general:
        return select(*args, **{"top_mlp": 0.2, "top_attention": 0.2, "remove": 0.2} | changes)
    return select(*args, group="China", least_z=-np.inf, **{"top": 0.2, "remove": 0.2} | changes)


def flat_like(value: float) -> Scores:
    return dataclasses.replace(CULTURE, sums=np.full_like(CULTURE.sums, value))


@pytest.mark.parametrize("select", [select_general, select_specific])
@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_a_flat_ranking_is_refused(select, value):
    """As where P(y|x) squared underflows for every answer."""
    flat, what = flat_like(value), "MLP neurons|neurons of 'China'"
    for scores_, control, names in (
        (flat, None, None),
        (CULTURE, CULTURE, None),  # all differences are 0
        (CULTURE, None, flat),
    ):
        by = " by names" if names is flat else ""
        with pytest.raises(FlatRanking, match=f"scores of the ({what}){by} are all .*log counts"):
            both(select, scores_, control, names)
    assert isinstance(FlatRanking("x"), EmptySelection)  # so a run leaves the set out


GATES_ONLY = scores({0: 0.5, 1: 0.25, 18: 1.0})


def test_a_pool_is_ranked_by_itself():
    with pytest.raises(FlatRanking, match="the attention neurons are all 0: none ranks first"):
        select_general(GATES_ONLY, None, None, top_mlp=0.1, top_attention=0.1)


def test_a_flat_pool_of_which_none_is_taken():
    assert chosen(GATES_ONLY, None, None, top_mlp=0.1, top_attention=0.0) == [0, 18]


def test_a_flat_pool_of_which_all_are_taken():
    """Nothing is left to chance."""
    assert len(chosen(GATES_ONLY, None, None, top_mlp=0.0, top_attention=1.0)) == 16


def test_a_cut_inside_a_wide_tie_is_said(caplog):
    found = select_general(NEARLY_FLAT, None, None, top_mlp=0.2, top_attention=0.0)
    assert found.ids.tolist() == [0, 1, 2, 3]
    assert found.provenance["ties"] == {"MLP neurons": 19}
    assert "MLP neurons: 3 of the 4 selected are the first of 19 that tie at 0" in caplog.text


@pytest.mark.parametrize(
    ("made", "share"),
    [
        (scores({i: 1.0 for i in range(4)}), 0.2),
        (scores({0: 3.0, 1: 2.0, 2: 1.0, 3: 1.0}), 0.15),
        (scores({0: 3.0, 1: 1.0, 2: 1.0, 3: 1.0}), 0.15),
    ],
    ids=["held whole", "of two", "as wide as the selection"],
)
def test_a_tie_that_is_not_wider_than_the_selection_is_nothing_to_say(caplog, made, share):
    assert "ties" not in select_general(made, None, None, top_mlp=share).provenance
    assert caplog.text == ""


def test_ties_of_what_is_removed_are_said():
    culture, names = scores({5: 3.0, 6: 2.0, 7: 1.0}), scores({1: 1.0, 12: 1.0})
    general = select_general(culture, None, names, top_mlp=0.15, remove=0.15)
    assert general.provenance["ties"] == {
        "MLP neurons by names": 19,
        "attention neurons by names": 15,
    }


def culture_with(value):
    """Its scores, with this one for every country and target of a neuron."""
    bad = dataclasses.replace(CULTURE, sums=CULTURE.sums.copy())
    bad.sums[..., 11] = value
    return bad


NO_NUMBERS = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("select", [select_general, select_specific])
@NO_NUMBERS
@pytest.mark.parametrize("which", range(3))
def test_scores_that_are_no_numbers_are_refused(select, value, which):
    half = dataclasses.replace(CULTURE, sums=CULTURE.sums / 2)
    given = [CULTURE, half, half]
    given[which] = culture_with(value)
    with pytest.raises(CulnigError, match=r"1 of 36 scores .* of layer 0 q 1 first: score again"):
        both(select, *given)


@NO_NUMBERS
def test_scores_that_are_no_numbers_have_no_highest(value):
    with pytest.raises(CulnigError, match="NaN or infinite, of layer 0 q 1 first"):
        culture_with(value).highest(count=3)


@NO_NUMBERS
def test_a_notebook_shows_that_scores_are_no_numbers(value):
    assert "NaN or infinite" in culture_with(value)._repr_html_()
