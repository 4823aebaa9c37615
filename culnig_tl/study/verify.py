"""The step verify: the gradient of a finished run against true interventions."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.analysis.agreement import agreement
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.neurons.estimates import VALUES
from culnig_tl.neurons.selection import rank_values
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.answered import LEAST, answered_first
from culnig_tl.study.arguments import Study, evaluation_budget
from culnig_tl.study.data import chosen_groups, cultural_instances
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.verify_section import CHECKS, MORE
from culnig_tl.tasks import OWN
from culnig_tl.tasks.instances import content_hash
from culnig_tl.tasks.question_rows import groups_of

DOSES = (0.0, 0.5, 1.0, 1.5, 2.0)
RANDOM_SETS = 3
CURVE = (0.001, 0.01, 0.1)  # shares of the neurons, masked and kept
FEW_COUNTRIES = ("China", "Iran", "Mexico", "USA")
_log = logging.getLogger(__name__)


def verify_run(
    run: Run | str | Path,
    *,
    prompts: int = 6,
    sample: int = 200,
    steps: int = 2,
    pairs: int = 24,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Check the gradient of a finished run against true interventions, on its test questions.

    The questions are such as the model answers: the right option first and P(answer) above 1% when
    nothing is masked. Where there are too few, those of the highest P(answer) come next.

    Into `verify` go: effects.csv (`taylor_check` of the culture-general set and of `sample`
    random neurons, with the value that each was ranked by), interactions.csv, joint.csv
    (`joint_path`) and doses.csv (the set and the run's first random sets), curves.csv
    (`faithfulness_curve` of the ranking), pairs.csv, scale.csv and patching.csv (groups'
    prompts against each other; the last two where each of two prompts prefers its own answer) and
    tokens.html. What is there is not done again. Then the report is written anew, with a section
    on them.

    Args:
        run: a finished run, or its folder.
        prompts: questions for the effects, interactions and joint paths; four times as many, at
            most 32, for the curves; eight times as many, at most 64, for the doses.
        sample: random neurons beside the set's.
        steps: nodes of the integrated gradient; 0 leaves it out.
        pairs: at most so many pairs of prompts are patched.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        `agreement` of the first-order estimate by site.

    Raises:
        CulnigError: not a finished run, one of these below 1, no two groups that are asked the
            same question, or `verify` was made with others or from something else.

    Example:
        `run` is a finished run of a tiny model.

        >>> summary = verify_run(run, prompts=1, sample=4, steps=0, pairs=1)
        >>> list(summary.columns[:3])
        ['instances', 'questions', 'effects']
    """
    from culnig_tl.measure.faithfulness import faithfulness_curve
    from culnig_tl.measure.pairs import group_pairs, pair_preferences
    from culnig_tl.measure.patching import check_scale, patching_effects
    from culnig_tl.measure.paths import path_sums
    from culnig_tl.measure.reference import reference_activations
    from culnig_tl.measure.set_effects import dose_response, interaction
    from culnig_tl.measure.taylor import taylor_check
    from culnig_tl.measure.token_view import token_attribution

    for what, value in (("prompts", prompts), ("sample", sample), ("pairs", pairs)):
        check_count(what, value, least=1)
    check_count("steps", steps)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, culture = run.study, run.neurons
    sets = [culture, *run.random()[:RANDOM_SETS]]
    answered = answered_first(run, run.own_data.tests[study.task])
    questions = answered[:prompts]
    some = answered[: min(4 * prompts, 32)]
    many = cultural_instances(study, study.groups, min(8 * prompts, 64))
    to_patch = cultural_instances(study, _patched_groups(study), 0)
    if not group_pairs(to_patch):
        raise CulnigError(
            f"{run.folder} cannot be verified: patching puts neurons of one group's prompt into "
            "another's, and its data hold no two groups with the same question and different "
            "answers"
        )
    step = run.step(
        "verify",
        prompts=prompts,
        sample=sample,
        steps=steps,
        pairs=pairs,
        answerable=LEAST,
        questions=content_hash([*questions, *many, *to_patch]),
        sets=set_hashes(sets),
    )
    control = run.scores("control") if study.control else None
    ranking = rank_values(run.scores("neuron"), control, study.variant, target=study.target)
    others = np.setdiff1d(np.arange(culture.layout.total), culture.ids)
    drawn = np.random.default_rng(0).choice(others, min(sample, len(others)), replace=False)
    checked = NeuronSet(culture.layout, np.concatenate([culture.ids, drawn]), "checked")
    how: dict[str, Any] = {
        "answer_format": study.answer_format,
        "token_budget": evaluation_budget(study),
    }
    finished = step.folder / "finished"

    def tokens() -> str:
        view = token_attribution(
            step.model, questions[0], culture, answer_format=study.answer_format
        )
        return str(view)

    def effects() -> pd.DataFrame:
        _log.info("verifying: effects")
        frame = taylor_check(
            step.model, questions, checked, steps=steps, checkpoint=finished, **how
        )
        ids = np.tile(checked.ids, len(questions))
        return frame.assign(rank=ranking[ids], selected=np.isin(ids, culture.ids))

    def interactions() -> pd.DataFrame:
        _log.info("verifying: interactions")
        parts = [interaction(step.model, questions, culture, effects=found, **how)]
        parts += [
            interaction(step.model, questions, one, checkpoint=finished, **how) for one in sets[1:]
        ]
        return pd.concat(parts, ignore_index=True)

    def joint() -> pd.DataFrame:
        _log.info("verifying: joint paths")
        parts = [path_sums(step.model, questions, one, **how) for one in sets[:2]]
        return pd.concat(parts, ignore_index=True)

    def curves() -> pd.DataFrame:
        _log.info("verifying: what is left when neurons are masked, or only they are kept")
        reference = reference_activations(step.model, many, **how)
        parts = {
            values: faithfulness_curve(
                step.model,
                some,
                ranking,
                shares=CURVE,
                values=values,
                reference=reference,
                seeds=1,
                **how,
            )
            for values in VALUES
        }
        return pd.concat(parts, names=["values"]).reset_index("values").reset_index(drop=True)

    def doses() -> pd.DataFrame:
        _log.info("verifying: doses")
        parts = [dose_response(step.model, many, one, factors=DOSES, **how) for one in sets[:2]]
        return pd.concat(parts, ignore_index=True)

    def preferences() -> pd.DataFrame:
        _log.info("verifying: which pairs of prompts prefer their own answers")
        return pair_preferences(step.model, to_patch)

    step.text("tokens.html", tokens)
    found = step.frame("effects", CHECKS["effects"], effects)
    step.frame("interactions", CHECKS["interactions"], interactions)
    step.frame("joint", MORE["joint"], joint)
    step.frame("doses", CHECKS["doses"], doses)
    step.frame("curves", MORE["curves"], curves)
    asked = step.frame("pairs", MORE["pairs"], preferences)
    if asked["decided"].any():
        scale = step.folder / "scale.csv"
        if not scale.exists():
            checked_pairs = check_scale(step.model, to_patch, asked)
            if len(checked_pairs):
                step.write("scale", checked_pairs, index=False)

        def patching() -> pd.DataFrame:
            _log.info("verifying: patching")
            return patching_effects(step.model, to_patch, culture, limit=pairs, pairs=asked)

        step.frame("patching", MORE["patching"], patching)
    else:
        _log.warning(
            "in none of %d pairs of prompts does each prefer its own answer: nothing is patched",
            len(asked),
        )
    run.write_report()
    return agreement(found)


def _patched_groups(study: Study) -> tuple[str, ...]:
    """Few of the run's, so that every pair of them is asked several questions; beside a single one
    others, as it takes two."""
    few = groups_of(study.data[OWN]) if study.task == OWN else FEW_COUNTRIES
    own = chosen_groups(study) or few
    if len(own) < 2:
        own += tuple(group for group in few if group not in own)
    return own[: len(FEW_COUNTRIES)]
