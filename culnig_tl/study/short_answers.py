"""The step short-answers: short questions in many languages, with a run's neurons masked."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from culnig_tl.analysis.comparison import compare
from culnig_tl.analysis.evaluations import write_evaluation
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.measure.answering import answer_questions, check_languages
from culnig_tl.paths import check_inputs_outside
from culnig_tl.provenance import note_arguments, sha256_of
from culnig_tl.study.folder import finished_study, set_hashes
from culnig_tl.study.run_files import REPLIES
from culnig_tl.study.running import load_study_model, run_sets
from culnig_tl.tasks.short_questions import load_short_questions

_log = logging.getLogger(__name__)


def short_answers_run(
    out: str | Path,
    *,
    countries: Sequence[str] | None = None,
    limit: int = 40,
    data: str | Path | None = None,
    english: bool = False,
    max_new_tokens: int = 512,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Ask short questions with nothing masked, with a run's culture-general set, and with a random
    set of it masked (the counterpart of Table 13).

    Into `out/short-answers` go a CSV of the replies for each, and table.csv. What is there is not
    written again.

    Args:
        out: the folder of a finished `run_study`.
        countries, limit, data, english: as `load_short_questions`; without `data`, that of the
            run's task `blend`.
        max_new_tokens: as `generate`.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        `compare`'s table, a row a country and language.

    Raises:
        CulnigError: not a finished run, a folder made with other arguments, or as
            `load_short_questions`.
    """
    out = Path(out)
    check_count("limit", limit, least=1)
    check_count("max_new_tokens", max_new_tokens, least=1)
    _, study = finished_study(out, trust_remote_code=trust_remote_code)
    folder = out / "short-answers"
    data = data or study.data.get("blend")
    if data is not None:
        check_inputs_outside(folder, {"data": data})
    if countries is not None and not countries:
        raise CulnigError("no countries: give some, as China,Iran, or leave them out for all")
    questions = load_short_questions(countries=countries, limit=limit, data=data, english=english)
    if not questions:
        raise CulnigError(f"no question was answered (limit {limit}): raise limit, or ask others")
    check_languages(questions)
    (culture,) = run_sets(out, "general")
    random = (run_sets(out, "random") or run_sets(out, "matched"))[0]
    arguments = {
        "countries": None if countries is None else list(countries),
        "limit": limit,
        "english": english,
        "max_new_tokens": max_new_tokens,
        "questions": sha256_of([asdict(question) for question in questions]),
        "sets": set_hashes([culture, random]),
    }
    note_arguments(folder / "short-answers.json", arguments)
    clear_half_written(folder)
    model = load_study_model(study)
    frames = []
    for name, neurons in (("original", None), (culture.name, culture), (random.name, random)):
        file = folder / f"{name}.csv"
        if not file.exists():
            _log.info("short answers: %s", name)
            frame = answer_questions(
                model, questions, neurons, factor=study.factor, max_new_tokens=max_new_tokens
            )
            write_evaluation(frame, file)
        frame = read_frame(file, REPLIES)
        frames.append(frame.assign(task=frame["country"] + ", " + frame["language"]))
    table = compare(frames[0], frames[1], frames[2:])
    write_frame(table, folder / "table.csv", index=True)
    return table
