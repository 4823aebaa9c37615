"""No country: one spelling in frames and files of them, one on the axis of scores."""

from culnig_tl.no_group import group_in_frames, group_in_scores


def test_a_country_stays_as_it_is():
    assert group_in_frames("Spain") == group_in_scores("Spain") == "Spain"


def test_no_country_is_spelled_as_saved_files_have_it():
    assert group_in_frames(None) == ""
    assert group_in_scores(None) == "(none)"
