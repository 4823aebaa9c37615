import numpy as np
import pandas as pd
import pytest
from frames_by_hand import both, frame

from culnig_tl.analysis.comparison import by_group, compare
from culnig_tl.analysis.groups import (
    compare_groups,
    group_intervals,
    own_ranks,
    rank_groups,
)
from culnig_tl.errors import CulnigError


def test_accuracies_by_hand():
    table = compare(
        frame([1, 1, 1, 0]), frame([1, 0, 0, 0]), [frame([1, 1, 1, 1]), frame([1, 1, 0, 0])]
    )
    assert list(table.index) == ["everyday"]
    row = table.loc["everyday"]
    assert (row["items"], row["original"], row["masked"]) == (4, 75.0, 25.0)
    # The sets have 100 and 50: mean 75, population standard deviation 25 (the sample's is 35.4).
    assert (row["random"], row["random_sd"]) == (75.0, 25.0)


def test_one_random_set_has_no_spread():
    table = compare(frame([1, 0]), frame([0, 0]), [frame([1, 0])])
    assert np.isnan(table.loc["everyday", "random_sd"])


# (0 + 1) / (2,000 + 1): as small as 2,000 resamples can show.
LEAST_P = pytest.approx(1 / 2001)


def test_masked_hurts_all_and_random_none():
    fine = frame([1] * 30)
    row = compare(fine, frame([0] * 30), [fine, fine]).loc["everyday"]
    assert (row["p_mean"], row["p_one"]) == (LEAST_P, LEAST_P)
    assert bool(row["significant"]) is True


def test_nothing_is_significant_on_few_questions():
    fine = frame([1] * 29)
    row = compare(fine, frame([0] * 29), [fine, fine]).loc["everyday"]
    assert row["p_holm"] < 0.001
    assert bool(row["significant"]) is False


def test_the_interval_of_a_difference_by_hand():
    # Of two questions one is lost: 0, 1 or 2 times in a resample, so 0, -50 or -100 points.
    fine = frame([1, 1])
    row = compare(fine, frame([0, 1]), [fine]).loc["everyday"]
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (-50, -100, 0)


def repeated(made: pd.DataFrame, times: int) -> pd.DataFrame:
    """Each question so many times."""
    rows = made.assign(question=made["id"]).loc[made.index.repeat(times)].reset_index(drop=True)
    return rows.assign(id=[f"{one}/{turn}" for turn, one in enumerate(rows["id"])])


def test_five_instances_of_each_question_are_no_more_evidence():
    rng = np.random.default_rng(0)
    frames = [frame(rng.random(40) < share) for share in (0.9, 0.7, 0.8, 0.8)]
    once = compare(frames[0], frames[1], frames[2:])
    original, masked, *random = (repeated(one, 5) for one in frames)
    table = compare(original, masked, random)
    assert table["items"].tolist() == [200]
    pd.testing.assert_frame_equal(table.drop(columns="items"), once.drop(columns="items"))


def test_the_papers_way_resamples_instances():
    rng = np.random.default_rng(0)
    frames = [repeated(frame(rng.random(40) < share), 5) for share in (0.9, 0.7, 0.8)]
    width = {}
    for unit in ("questions", "instances"):
        row = compare(frames[0], frames[1], frames[2:], unit=unit).loc["everyday"]
        width[unit] = row["difference_high"] - row["difference_low"]
    # Five times as many seem to be there: narrower by the root of 5.
    assert width["questions"] / width["instances"] == pytest.approx(5**0.5, rel=0.1)


def test_templates_of_an_item_are_one_question_in_frames_of_earlier_versions():
    made = both(frame([1, 0]), frame([1, 1]))
    made["id"] = ["a", "b", "a#1", "b#1"]
    assert compare(made, made, [made]).loc["everyday", "questions"] == 2


def test_the_correction_is_over_the_rows_of_a_table():
    rng = np.random.default_rng(0)
    tasks = [f"task {number}" for number in range(3)]
    frames = [
        pd.concat([frame(rng.random(40) < share, task) for task in tasks], ignore_index=True)
        for share in (0.9, 0.7, 0.8)
    ]
    table = compare(frames[0], frames[1], frames[2:])
    larger = table[["p_mean", "p_one"]].max(axis=1)
    assert table["p_holm"].min() == pytest.approx(min(1.0, 3 * larger.min()))


def test_chance_is_the_mean_of_the_instances():
    made = frame([1, 0], chance=[0.25, 0.5])
    assert compare(made, made, [made]).loc["everyday", "chance"] == 37.5
    assert np.isnan(compare(frame([1]), frame([1]), [frame([1])]).loc["everyday", "chance"])


# ln P falls by 1 for Spain and by 2 for Iran.
LIKELY = frame([1] * 4, probability=[1.0, 1.0, np.e**-3, np.e**-3])
UNLIKELY = frame([1] * 4, probability=np.exp([-1.0, -2.0, -4.0, -5.0]))


def test_nats_by_hand():
    row = compare(LIKELY, UNLIKELY, [LIKELY], metric="nats").loc["everyday"]
    assert (row["original"], row["masked"]) == pytest.approx((-1.5, -3.0))


def test_nats_of_countries_by_hand():
    table = compare_groups(LIKELY, {"Iran": UNLIKELY}, metric="nats")
    assert table.loc["Iran"].to_dict() == pytest.approx({"Spain": 1, "Iran": 2})


def test_own_ranks_of_nats_by_hand():
    own = own_ranks(LIKELY, {"Iran": UNLIKELY}, metric="nats").loc["Iran"]
    assert (own["reduction"], own["others"], own["rank"]) == pytest.approx((2, 1, 1))


def test_nats_of_a_probability_that_is_0_in_floating_point():
    gone = compare(LIKELY, frame([1] * 4, probability=0.0), [LIKELY], metric="nats")
    assert gone.loc["everyday", "masked"] == pytest.approx(np.log(1e-30))


@pytest.mark.parametrize("correct", [[1] * 20, [1, 0] * 10])
def test_identical_evaluations_give_one(correct):
    same = frame(correct)
    row = compare(same, same, [same, same, same]).loc["everyday"]
    assert (row["p_mean"], row["p_one"]) == (1.0, 1.0)
    assert bool(row["significant"]) is False


def test_random_that_hurts_as_much_is_a_tie_and_gives_one():
    hurt = frame([0, 1, 1] * 10)
    row = compare(frame([1] * 30), hurt, [hurt] * 7).loc["everyday"]
    assert (row["p_mean"], row["p_one"]) == (1.0, 1.0)


def test_a_tie_of_probabilities_is_not_lost_to_rounding():
    # The mean of seven equal sums of decimals is rounded, and may come out below them.
    hurt = frame([1] * 30, p=np.linspace(0.013, 0.7, 30))
    before = frame([1] * 30, p=np.linspace(0.1, 0.9, 30))
    row = compare(before, hurt, [hurt] * 7, metric="p").loc["everyday"]
    assert (row["p_mean"], row["p_one"]) == (1.0, 1.0)


def test_random_that_hurts_more():
    row = compare(frame([1] * 20), frame([1] * 20), [frame([0] * 20)]).loc["everyday"]
    assert (row["p_mean"], row["p_one"]) == (1.0, 1.0)


def test_p_values_by_hand_with_one_set():
    # The masked reduction is positive unless item 0 is drawn neither time: 1/2 x 1/2.
    fine = frame([1, 1])
    row = compare(fine, frame([0, 1]), [fine], resamples=20000).loc["everyday"]
    assert row["p_mean"] == pytest.approx(0.25, abs=0.012)
    assert row["p_one"] == row["p_mean"]


def test_p_values_by_hand_with_two_sets():
    # c = times item 0 is drawn: 0, 1, 2 with 1/4, 1/2, 1/4. The sets reduce by 2 and by 0, their
    # mean by 1. p_mean = P(1 >= c) = 3/4; p_one = (P(2 >= c) + P(0 >= c)) / 2 = 5/8.
    fine = frame([1, 1])
    row = compare(fine, frame([0, 1]), [frame([0, 0]), fine], resamples=20000).loc["everyday"]
    assert row["p_mean"] == pytest.approx(0.75, abs=0.012)
    assert row["p_one"] == pytest.approx(0.625, abs=0.013)


def test_significant_needs_both():
    # One set in ten hurts everything: the mean hides it, a set drawn at random shows it.
    fine = frame([1] * 100)
    row = compare(fine, frame([0, 1] * 50), [frame([0] * 100)] + [fine] * 9).loc["everyday"]
    assert row["p_mean"] < 0.05
    assert row["p_one"] == pytest.approx(0.1, abs=0.03)
    assert bool(row["significant"]) is False


def test_each_task_has_its_own_row_in_order():
    before = both(frame([1] * 30), frame([1] * 30, "blend"))
    after = both(frame([0] * 30), frame([1] * 30, "blend"))
    table = compare(before, after, [before])
    assert list(table.index) == ["everyday", "blend"]
    assert list(table["masked"]) == [0.0, 100.0]
    assert list(table["p_mean"]) == [LEAST_P, 1.0]
    assert list(table["significant"]) == [True, False]


def test_another_metric():
    before, after = frame([1, 1], p=[0.5, 0.25]), frame([1, 1], p=[0.25, 0.25])
    row = compare(before, after, [before], metric="p").loc["everyday"]
    assert (row["original"], row["masked"], row["random"]) == (37.5, 25.0, 37.5)


def test_the_seed_fixes_the_result():
    rng = np.random.default_rng(0)
    before = frame(rng.random(40) < 0.9)
    after = frame(rng.random(40) < 0.7)
    random = [frame(rng.random(40) < 0.8) for _ in range(3)]
    first = compare(before, after, random, seed=1)
    pd.testing.assert_frame_equal(first, compare(before, after, random, seed=1))
    assert 0 < first.loc["everyday", "p_mean"] < 1
    others = {compare(before, after, random, seed=s).loc["everyday", "p_one"] for s in range(5)}
    assert len(others) > 1


def test_no_random_evaluation():
    with pytest.raises(CulnigError, match="no random evaluation to compare with"):
        compare(frame([1]), frame([0]), [])


def other_id() -> pd.DataFrame:
    changed = frame([1, 1, 1])
    changed.loc[2, "id"] = "everyday-9"
    return changed


@pytest.mark.parametrize(
    "wrong",
    [
        other_id(),
        frame([1, 1]),
        frame([1, 1, 1], "blend"),
        frame([1, 1, 1]).iloc[::-1].reset_index(drop=True),
    ],
    ids=["other id", "fewer", "other task", "other order"],
)
def test_different_instances_are_refused(wrong):
    same = frame([1, 1, 1])
    with pytest.raises(CulnigError, match="the evaluations are of different instances"):
        compare(same, wrong, [same])
    with pytest.raises(CulnigError, match="the evaluations are of different instances"):
        compare(same, same, [same, wrong])


def test_by_group():
    table = by_group(
        frame([1, 1, 1, 0]), frame([1, 0, 0, 0]), [frame([1, 1, 1, 1]), frame([0, 1, 0, 0])]
    )
    assert list(table.index) == [("everyday", "Spain"), ("everyday", "Iran")]
    shown = table[["items", "questions", "original", "masked", "random", "difference"]]
    assert shown.to_numpy().tolist() == [[2, 2, 100, 50, 50, 0], [2, 2, 50, 0, 75, -75]]
    # Iran's two: -50 and -100.
    ends = table.loc[("everyday", "Iran"), ["difference_low", "difference_high"]]
    assert ends.tolist() == [-100, -50]


def test_by_country_leaves_out_items_without_one():
    made = frame([1, 0])
    made["group"] = ["", "Spain"]
    table = by_group(made, made, [made])
    assert list(table.index) == [("everyday", "Spain")]
    assert table.loc[("everyday", "Spain"), "items"] == 1


def drawn(rng: np.random.Generator, accuracy: float, items: int = 200) -> pd.DataFrame:
    return frame(rng.random(items) < accuracy)


def test_a_real_loss_is_significant():
    """70% right, 50% with the set masked, 68% with ten random ones, each item drawn by itself."""
    rng = np.random.default_rng(1)
    random = [drawn(rng, 0.68) for _ in range(10)]
    row = compare(drawn(rng, 0.7), drawn(rng, 0.5), random).loc["everyday"]
    assert row["p_mean"] < 0.05
    assert row["p_one"] < 0.05
    assert row["significant"]


def test_a_loss_that_random_sets_share_is_not():
    """70% right, and 50% with whatever is masked."""
    rng = np.random.default_rng(1)
    random = [drawn(rng, 0.5) for _ in range(10)]
    row = compare(drawn(rng, 0.7), drawn(rng, 0.5), random).loc["everyday"]
    assert row["p_mean"] > 0.05
    assert not row["significant"]


def test_false_positives_of_200_null_simulations():
    """The set is one more random set: p_mean is below 5% in some 5% of the cases.

    `significant` is rarer: it also asks for p_one, which is compared with single sets, whose
    spread is larger than that of their mean.
    """
    rng = np.random.default_rng(0)
    rows = [
        compare(
            drawn(rng, 0.7), drawn(rng, 0.6), [drawn(rng, 0.6) for _ in range(3)], resamples=500
        ).loc["everyday"]
        for _ in range(200)
    ]
    found = pd.DataFrame(rows)
    rate = (found["p_mean"].astype(float) < 0.05).mean()
    assert 0.02 <= rate <= 0.09  # binomial(200, 0.05): 5% +- 1.5%
    assert found["significant"].mean() <= rate


# Masking Iran's neurons takes half of Iran's answers, Spain's take nothing.
BEFORE = frame([1] * 40)
OF_IRAN = frame([1, 0, 1, 1] * 10)


def test_compare_countries_by_hand():
    table = compare_groups(BEFORE, {"Iran": OF_IRAN, "Spain": BEFORE})
    assert table.loc["Iran"].to_dict() == {"Iran": 50.0, "Spain": 0.0}
    assert table.loc["Spain"].to_dict() == {"Iran": 0.0, "Spain": 0.0}
    ranks = rank_groups(table)
    assert ranks.loc["Iran"].to_dict() == {"Iran": 1.0, "Spain": 2.0}
    assert ranks.loc["Spain"].to_dict() == {"Iran": 1.5, "Spain": 1.5}


def test_own_ranks_by_hand():
    related = {"Iran": ["Spain", "Azerbaijan"]}
    table = own_ranks(BEFORE, {"Iran": OF_IRAN, "Spain": BEFORE}, related=related)
    iran, spain = table.loc["Iran"], table.loc["Spain"]
    assert (iran["items"], iran["reduction"], iran["others"], iran["rank"]) == (20, 50.0, 0.0, 1)
    assert (iran["rank_low"], iran["rank_high"]) == (1, 1)
    assert iran["related_rank"] == 2
    assert (iran["questions"], iran["difference"], iran["p"]) == (20, 50.0, LEAST_P)
    assert 0 < iran["difference_low"] < 50 < iran["difference_high"] < 100
    assert not iran["significant"]  # of 20 questions
    assert (spain["rank"], spain["rank_low"], spain["rank_high"]) == (1.5, 1.5, 1.5)
    assert np.isnan(spain["related_rank"])


def test_a_reduction_beyond_its_row_and_column_by_hand():
    """Rows 50, 0 and 0, 25: means of rows 25 and 12.5, of columns too, of all 18.75."""
    of_spain = frame([0, 1, 1, 1, 1, 1, 1, 1] * 5)
    table = own_ranks(BEFORE, {"Iran": OF_IRAN, "Spain": of_spain})
    assert compare_groups(BEFORE, {"Spain": of_spain}).loc["Spain", "Spain"] == 25
    assert table["corrected"].to_dict() == pytest.approx(
        {"Iran": 50 - 25 * 25 / 18.75, "Spain": 25 - 12.5 * 12.5 / 18.75}
    )
    assert table["corrected_rank"].to_dict() == {"Iran": 1, "Spain": 1}
    assert table["p_corrected"].max() < 0.02
    assert (table["corrected_low"] < table["corrected"]).all()
    assert (table["corrected_high"] > table["corrected"]).all()


def test_a_country_that_every_set_hits_is_not_specific_to_its_own():
    """Both sets take half of Iran's answers: Iran is first in both rows, and corrected it is 0."""
    table = own_ranks(BEFORE, {"Iran": OF_IRAN, "Spain": OF_IRAN})
    assert table.loc["Iran", "rank"] == 1
    assert table.loc["Iran", "p"] == LEAST_P
    assert table["corrected"].to_dict() == pytest.approx({"Iran": 0, "Spain": 0})
    assert table["p_corrected"].to_dict() == {"Iran": 1, "Spain": 1}
    assert table["corrected_rank"].to_dict() == {"Iran": 1.5, "Spain": 1.5}


def test_sets_that_take_nothing_cannot_be_corrected():
    table = own_ranks(BEFORE, {"Iran": BEFORE, "Spain": BEFORE})
    assert (
        table[["corrected", "corrected_low", "p_corrected", "corrected_rank"]].isna().all(axis=None)
    )


def test_one_set_alone_cannot_be_corrected():
    row = own_ranks(BEFORE, {"Iran": OF_IRAN}).loc["Iran"]
    assert row[["corrected", "corrected_low", "p_corrected", "corrected_rank"]].isna().all()


def test_the_difference_of_a_set_that_is_not_specific():
    """Both countries lose all."""
    row = own_ranks(BEFORE, {"Iran": frame([0] * 40)}).loc["Iran"]
    assert (row["difference"], row["p"], row["p_holm"]) == (0, 1, 1)


def test_a_set_is_significant_on_enough_questions():
    after = {"Iran": frame([1, 0, 1, 1] * 20)}
    assert own_ranks(frame([1] * 80), after).loc["Iran", "significant"]


def test_intervals_of_a_countrys_reductions():
    low, high = group_intervals(BEFORE, {"Iran": OF_IRAN})
    assert (low.loc["Iran", "Spain"], high.loc["Iran", "Spain"]) == (0, 0)
    assert 0 < low.loc["Iran", "Iran"] < 50 < high.loc["Iran", "Iran"] < 100


def test_the_interval_of_a_rank_covers_what_chance_could_change():
    """Both lose about the same: either can be first."""
    rng = np.random.default_rng(0)
    after = frame(rng.random(60) < 0.6)
    row = own_ranks(frame([1] * 60), {"Iran": after}).loc["Iran"]
    assert (row["rank_low"], row["rank_high"]) == (1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: compare_groups(BEFORE, {}),
            "no masked evaluation to compare with",
            id="nothing masked",
        ),
        pytest.param(
            lambda: compare_groups(BEFORE, {"Iran": frame([1] * 38)}),
            "of different instances",
            id="fewer instances",
        ),
        pytest.param(
            lambda: own_ranks(BEFORE, {"China": BEFORE}),
            "no question is about 'China', whose neurons were mas",
            id="no question about the country",
        ),
        pytest.param(
            lambda: compare_groups(BEFORE.assign(group=""), {"Iran": BEFORE}),
            "no instance has a group: evaluate a cultural task",
            id="no country",
        ),
    ],
)
def test_countries_that_cannot_be_compared(call, message):
    with pytest.raises(CulnigError, match=message):
        call()
