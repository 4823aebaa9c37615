"""200 studies in which masking does what random neurons do, with five instances of each question.

Those marked `slow` CI sees in the notebook on evidence, which asserts the same.
"""

import pytest
from scipy import stats

from culnig_tl.analysis.simulation import rejections, simulate_study
from culnig_tl.resampling import questions_for

STUDIES = range(200)
# Where 95% of such counts are when 5% are to be rejected.
LOW, HIGH = (stats.binom.ppf(q, 200, 0.05) / 200 for q in (0.025, 0.975))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["correct", "nats"])
def test_a_true_null_is_rejected_in_5_percent(metric):
    rate = rejections(STUDIES, metric=metric, questions=100, instances=5, sets=3, resamples=300)
    assert LOW <= rate <= HIGH


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["correct", "nats"])
def test_counted_in_instances_it_is_rejected_far_more_often(metric):
    rate = rejections(
        STUDIES, metric=metric, unit="instances", questions=100, instances=5, sets=3, resamples=300
    )
    assert rate > 2 * HIGH


def test_the_loss_is_what_was_asked_for():
    losses = []
    for seed in range(100):
        _, masked, random = simulate_study(loss=0.1, seed=seed, sets=1)
        losses.append(random[0]["correct"].mean() - masked["correct"].mean())
    assert sum(losses) / 100 == pytest.approx(0.1, abs=0.015)


@pytest.mark.slow
def test_the_questions_that_a_loss_takes_find_it():
    # 0.33 is the deviation over questions in these studies.
    needed = questions_for(0.05, deviation=0.33)
    rate = rejections(STUDIES, metric="correct", questions=needed, loss=0.05, resamples=300)
    assert rate == pytest.approx(0.8, abs=0.08)
