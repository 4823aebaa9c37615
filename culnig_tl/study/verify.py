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
from matplotlib.axes import Axes

from culnig_tl.analysis.agreement import agreement, patching_matrix
from culnig_tl.analysis.plots import (
    plot_agreement,
    plot_agreement_by_layer,
    plot_dose_response,
    plot_interaction,
    plot_matrix,
)
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.frames import (
    COUNT,
    MAYBE_NUMBER,
    NAME,
    NUMBER,
    PLACE,
    SHARE,
    TEXT,
    Frame,
    one_of,
)
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.schemas import damaged
from culnig_tl.study.arguments import evaluation_budget
from culnig_tl.study.data import cultural_instances
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import Section, read_frames, table_rows
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.instances import content_hash

DOSES = (0.0, 0.5, 1.0, 1.5, 2.0)
RANDOM_SETS = 3
FEW_COUNTRIES = ("China", "Iran", "Mexico", "USA")
CHECKS = {
    "effects": Frame(
        {
            "layer": COUNT,
            "site": one_of(SITES),
            "index": COUNT,
            "position": PLACE,
            "token": TEXT,
            "instance": NAME,
            "country": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "integrated": MAYBE_NUMBER,
            "exact": NUMBER,
        },
        key=("instance", "layer", "site", "index", "position"),
        optional={"question": NAME},
    ),
    "interactions": Frame(
        {
            "instance": NAME,
            "country": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "singles": NUMBER,
            "singles_nats": MAYBE_NUMBER,
            "joint": NUMBER,
            "joint_nats": MAYBE_NUMBER,
            "set": NAME,
            "neurons": COUNT,
        },
        key=("set", "instance"),
    ),
    "doses": Frame(
        {
            "set": NAME,
            "factor": NUMBER,
            "items": COUNT,
            "accuracy": SHARE,
            "probability": SHARE,
        },
        key=("set", "factor"),
        optional={
            "questions": COUNT,
            "chance": SHARE,
            "change": MAYBE_NUMBER,
            "change_low": MAYBE_NUMBER,
            "change_high": MAYBE_NUMBER,
        },
    ),
    "patching": Frame(
        {
            "source": NAME,
            "target": NAME,
            "before": NUMBER,
            "after": NUMBER,
            "in_source": NUMBER,
            "moved": NUMBER,
            "share": MAYBE_NUMBER,
            "estimated": NUMBER,
            "question": COUNT,
            "set": NAME,
            "instance": COUNT,
            "probability": NUMBER,
        },
        key=("instance", "source", "target"),
    ),
}
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

    Into `verify` go: effects.csv (`taylor_check` of the culture-general set and of `sample`
    random neurons), interactions.csv and doses.csv (the set and the run's first random sets),
    patching.csv (countries' prompts against each other) and tokens.html. What is there is not
    done again. Then the report is written anew, with a section on them.

    Args:
        run: a finished run, or its folder.
        prompts: questions for the effects and interactions; eight times as many, at most 64, for
            the doses.
        sample: random neurons beside the set's.
        steps: nodes of the integrated gradient; 0 leaves it out.
        pairs: at most so many pairs of prompts are patched.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        `agreement` of the first-order estimate by site.

    Raises:
        CulnigError: not a finished run, one of these below 1, no two countries that are asked the
            same question, or `verify` was made with others or from something else.

    Example:
        `run` is a finished run of a tiny model.

        >>> summary = verify_run(run, prompts=1, sample=4, steps=0, pairs=1)
        >>> list(summary.columns[:3])
        ['instances', 'questions', 'effects']
    """
    from culnig_tl.measure.patching import country_pairs, patching_effects
    from culnig_tl.measure.set_effects import dose_response, interaction
    from culnig_tl.measure.taylor import taylor_check
    from culnig_tl.measure.token_view import token_attribution

    for what, value in (("prompts", prompts), ("sample", sample), ("pairs", pairs)):
        check_count(what, value, least=1)
    check_count("steps", steps)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, culture = run.study, run.neurons
    sets = [culture, *run.random()[:RANDOM_SETS]]
    run.check_own_data()
    questions = cultural_instances(study, study.countries, prompts)
    many = cultural_instances(study, study.countries, min(8 * prompts, 64))
    to_patch = cultural_instances(study, _patched_countries(study.countries), 0)
    if not country_pairs(to_patch):
        raise CulnigError(
            f"{run.folder} cannot be verified: patching puts neurons of one country's prompt into "
            "another's, and its data hold no two countries with the same question and different "
            "answers"
        )
    step = run.step(
        "verify",
        prompts=prompts,
        sample=sample,
        steps=steps,
        pairs=pairs,
        questions=content_hash([*questions, *many, *to_patch]),
        sets=set_hashes(sets),
    )
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
        return taylor_check(step.model, questions, checked, steps=steps, checkpoint=finished, **how)

    def interactions() -> pd.DataFrame:
        _log.info("verifying: interactions")
        parts = [interaction(step.model, questions, culture, effects=found, **how)]
        parts += [
            interaction(step.model, questions, one, checkpoint=finished, **how) for one in sets[1:]
        ]
        return pd.concat(parts, ignore_index=True)

    def doses() -> pd.DataFrame:
        _log.info("verifying: doses")
        parts = [dose_response(step.model, many, one, factors=DOSES, **how) for one in sets[:2]]
        return pd.concat(parts, ignore_index=True)

    def patching() -> pd.DataFrame:
        _log.info("verifying: patching")
        return patching_effects(step.model, to_patch, culture, limit=pairs)

    step.text("tokens.html", tokens)
    found = step.frame("effects", CHECKS["effects"], effects)
    step.frame("interactions", CHECKS["interactions"], interactions)
    step.frame("doses", CHECKS["doses"], doses)
    step.frame("patching", CHECKS["patching"], patching)
    run.write_report()
    return agreement(found)


def _patched_countries(countries: tuple[str, ...] | None) -> tuple[str, ...]:
    """Few of the run's, so that every pair of them is asked several questions; beside a single one
    others, as it takes two."""
    own = tuple(map(country_name, countries or FEW_COUNTRIES))
    if len(own) < 2:
        own += tuple(country for country in FEW_COUNTRIES if country not in own)
    return own[: len(FEW_COUNTRIES)]


def _read(folder: Path) -> dict[str, Any] | None:
    """The frames of `CHECKS`, and `tokens`, HTML."""
    found, page = read_frames(folder / "verify", CHECKS), folder / "verify" / "tokens.html"
    if found is None:
        return None
    try:
        return found | {"tokens": page.read_text(encoding="utf-8")}
    except OSError as error:
        raise CulnigError(f"cannot read {page}: {error.strerror}; give verify again") from error
    except ValueError as error:
        raise damaged(page, f"no text in UTF-8 ({error})") from error


def _show(checks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Axes]]:
    """Tables and figures of the section on the gradient."""
    effects, patching = checks["effects"], checks["patching"]
    estimates = ["first_order"]
    if effects["integrated"].notna().any():
        estimates.append("integrated")
    tables = pd.concat(
        {name: agreement(effects, estimate=name) for name in estimates}, names=["estimate"]
    )
    additive = checks["interactions"].copy()
    for column in ("first_order", "singles", "joint"):
        additive[column] /= additive["probability"]
    figures = {
        "estimate against truth": plot_agreement(effects),
        "agreement by layer": plot_agreement_by_layer(agreement(effects, by=["site", "layer"])),
        "additivity": plot_interaction(checks["interactions"]),
        "dose response": plot_dose_response(checks["doses"]),
        "patching": plot_matrix(
            patching_matrix(patching), "share", "How far the answer moves to the source's"
        ),
    }
    values = {
        "agreement": table_rows(tables),
        "additivity": table_rows(
            additive.groupby("set", sort=False)[
                ["first_order", "singles", "joint", "singles_nats", "joint_nats"]
            ].mean()
        ),
        "patching": table_rows(agreement(patching, estimate="estimated", by="set", truth="moved")),
        "pairs": len(patching),
        "prompts": effects["instance"].nunique(),
        "tokens": checks["tokens"],
    }
    return values, figures


SECTION = Section("verify", _read, _show)
