"""Verification: the checks of the gradient on a finished run, a section added to its report."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from culnig_tl.analysis.agreement import agreement
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written, write_atomically
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.measure.effects import taylor_check
from culnig_tl.measure.patching import country_pairs, patching_effects
from culnig_tl.measure.set_effects import dose_response, interaction
from culnig_tl.measure.token_view import token_attribution
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import note_arguments
from culnig_tl.study.arguments import evaluation_budget
from culnig_tl.study.data import cultural_instances
from culnig_tl.study.folder import finished_study, set_hashes
from culnig_tl.study.run_files import CHECKS
from culnig_tl.study.running import check_own_data, load_study_model, run_sets, write_run_report
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.instances import content_hash

DOSES = (0.0, 0.5, 1.0, 1.5, 2.0)


RANDOM_SETS = 3


FEW_COUNTRIES = ("China", "Iran", "Mexico", "USA")


_log = logging.getLogger(__name__)


def verify_run(
    out: str | Path,
    *,
    prompts: int = 6,
    sample: int = 200,
    steps: int = 2,
    pairs: int = 24,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Check the gradient of a finished run against true interventions, on its test questions.

    Into `out/verify` go: effects.csv (`taylor_check` of the culture-general set and of `sample`
    random neurons), interactions.csv and doses.csv (the set and the run's first random sets),
    patching.csv (countries' prompts against each other) and tokens.html. What is there is not
    done again. Then the report is written anew, with a section on them.

    Args:
        out: the folder of `run_study`.
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
            same question, or `out/verify` was made with others or from something else.
    """
    out = Path(out)
    for what, value in (("prompts", prompts), ("sample", sample), ("pairs", pairs)):
        check_count(what, value, least=1)
    check_count("steps", steps)
    run, study = finished_study(out, trust_remote_code=trust_remote_code)
    folder = out / "verify"
    (culture,) = run_sets(out, "general")
    random = run_sets(out, "random") or run_sets(out, "matched")
    sets = [culture, *random[:RANDOM_SETS]]
    check_own_data(out, run, study)
    questions = cultural_instances(study, study.countries, prompts)
    many = cultural_instances(study, study.countries, min(8 * prompts, 64))
    to_patch = cultural_instances(study, _patched_countries(study.countries), 0)
    if not country_pairs(to_patch):
        raise CulnigError(
            f"{out} cannot be verified: patching puts neurons of one country's prompt into "
            "another's, and its data hold no two countries with the same question and different "
            "answers"
        )
    arguments = {"prompts": prompts, "sample": sample, "steps": steps, "pairs": pairs}
    arguments |= {
        "questions": content_hash([*questions, *many, *to_patch]),
        "sets": set_hashes(sets),
    }
    note_arguments(folder / "verify.json", arguments)
    clear_half_written(folder, deep=True)
    model = load_study_model(study)
    others = np.setdiff1d(np.arange(culture.layout.total), culture.ids)
    drawn = np.random.default_rng(0).choice(others, min(sample, len(others)), replace=False)
    checked = NeuronSet(culture.layout, np.concatenate([culture.ids, drawn]), "checked")
    answer_format, budget = study.answer_format, evaluation_budget(study)

    def effects() -> pd.DataFrame:
        return taylor_check(
            model,
            questions,
            checked,
            positions="all",
            steps=steps,
            answer_format=answer_format,
            token_budget=budget,
            checkpoint=folder / "finished",
        )

    def interactions() -> pd.DataFrame:
        known = read_frame(folder / "effects.csv", CHECKS["effects"])
        finished = folder / "finished"
        parts = [
            interaction(
                model,
                questions,
                culture,
                answer_format=answer_format,
                token_budget=budget,
                checkpoint=None,
                effects=known,
            )
        ]
        parts += [
            interaction(
                model,
                questions,
                one,
                answer_format=answer_format,
                token_budget=budget,
                checkpoint=finished,
            )
            for one in sets[1:]
        ]
        return pd.concat(parts, ignore_index=True)

    def doses() -> pd.DataFrame:
        parts = [
            dose_response(
                model, many, one, factors=DOSES, answer_format=answer_format, token_budget=budget
            )
            for one in sets[:2]
        ]
        return pd.concat(parts, ignore_index=True)

    def patching() -> pd.DataFrame:
        return patching_effects(model, to_patch, culture, limit=pairs)

    steps_to_do: dict[str, Callable[[], pd.DataFrame]] = {
        "effects": effects,
        "interactions": interactions,
        "doses": doses,
        "patching": patching,
    }
    page = folder / "tokens.html"
    if not page.exists():
        view = token_attribution(model, questions[0], culture, answer_format=answer_format)
        write_atomically(page, lambda name: name.write_text(view, encoding="utf-8"))
    for name, make in steps_to_do.items():
        file = folder / f"{name}.csv"
        if not file.exists():
            _log.info("verifying: %s", name)
            frame = make()
            write_frame(frame, file)
    write_run_report(out)
    return agreement(read_frame(folder / "effects.csv", CHECKS["effects"]))


def _patched_countries(countries: tuple[str, ...] | None) -> tuple[str, ...]:
    """Few of the run's, so that every pair of them is asked several questions; beside a single one
    others, as it takes two."""
    own = tuple(map(country_name, countries or FEW_COUNTRIES))
    if len(own) < 2:
        own += tuple(country for country in FEW_COUNTRIES if country not in own)
    return own[: len(FEW_COUNTRIES)]
