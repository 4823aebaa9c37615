"""BLEnD's short-answer questions with the answers that people gave."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.blend import HUB, LANGUAGES, country_file
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.formats import read_json_or_lines
from culnig_tl.tasks.instances import stable_random
from culnig_tl.tasks.tables import check_once, hub_errors, is_blank, read_table, text_of

_ANNOTATIONS = "{}_data.json"
_PROMPTS = "prompts/{}_prompts.csv"
_QUESTION = "{q}"


@dataclass(frozen=True)
class ShortQuestion:
    """A question to be answered freely.

    Attributes:
        id: BLEnD's, with the country.
        country: one of `COUNTRIES`.
        language: ISO 639-1 code of the question and its answers.
        question: as it is written.
        prompt: what a chat model is told: one of BLEnD's wordings, the question in it.
        answers: what people in that country answered.
    """

    id: str
    country: str
    language: str
    question: str
    prompt: str
    answers: tuple[str, ...]


def load_short_questions(
    *,
    countries: Sequence[str] | None = None,
    limit: int | None = None,
    data: str | Path | None = None,
    english: bool = False,
) -> list[ShortQuestion]:
    """BLEnD's questions that somebody answered, in each country's own language.

    Args:
        countries: only these; None takes all 16.
        limit: at most so many a country, drawn by a stable hash.
        data: BLEnD's folder: `annotations/US_data.json`, `prompts/US_prompts.csv` and so on;
            without it the annotations come from the Hub. The wording of a prompt is drawn by a
            stable hash from the country's file; where there is none, the question stands alone.
        english: the questions, prompts and answers in English instead.

    Raises:
        CulnigError: an unknown country, a missing or malformed file (with the question's id).

    Example:
        `blend` is a folder with the files of BLEnD, of Spain alone.

        >>> (question,) = load_short_questions(countries=["Spain"], data=blend)
        >>> question.language, question.question, question.answers
        ('es', '¿Qué se bebe?', ('vino', 'Vino', 'agua'))
    """
    wanted = LANGUAGES if countries is None else dict.fromkeys(map(country_name, countries))
    found = []
    for country in wanted:
        file = _annotation_file(country, data)
        wordings = [_QUESTION]
        prompts = None if data is None else country_file(data, _PROMPTS, country)
        if prompts is not None and prompts.exists():
            column = "English" if english else "Translation"
            wordings = list(read_table(prompts, [column])[column])
        questions = [
            _question(
                row,
                identifier,
                country,
                english=english,
                wordings=wordings,
                where=f"{file}, {identifier}",
            )
            for identifier, row in _rows(file)
        ]
        answered = [question for question in questions if question and question.answers]
        if limit is not None and limit < len(answered):
            drawn = stable_random("short answers", country).sample(range(len(answered)), limit)
            answered = [answered[i] for i in sorted(drawn)]
        found += answered
    return found


def _annotation_file(country: str, data: str | Path | None) -> Path:
    if data is not None:
        return country_file(data, f"annotations/{_ANNOTATIONS}", country)
    import huggingface_hub

    # The files themselves: the Hub's own loader of this configuration fails on their nested column.
    name = str(country_file("data/annotations_hf", _ANNOTATIONS, country))
    with hub_errors(f"{name} of {HUB}"):
        return Path(huggingface_hub.hf_hub_download(HUB, name, repo_type="dataset"))


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The questions of an annotation file by id: one object by id, or rows with an `ID`."""
    if not os.path.exists(file):
        raise CulnigError(f"no file {file}: check the path given as data")
    try:
        content = read_json_or_lines(file)
    except CulnigError:
        raise
    except ValueError as error:
        raise CulnigError(f"cannot parse {file}: {error}; is it BLEnD's file?") from error
    if isinstance(content, dict):
        rows = list(content.items())
    elif isinstance(content, list):
        rows = [(r.get("ID") if isinstance(r, dict) else None, r) for r in content]
    else:
        raise CulnigError(f"{file} is neither an object nor a list; use BLEnD's annotations")
    if not rows:
        raise CulnigError(f"{file} has no questions; use BLEnD's annotations")
    names = [text_of(name, "'ID'", f"{file}, row {n}") for n, (name, _) in enumerate(rows, start=1)]
    check_once(names, file, "ID")
    for name, (_, row) in zip(names, rows, strict=True):
        if not isinstance(row, dict):
            raise CulnigError(f"{file}, {name}: not an object; use BLEnD's annotations")
        yield name, row


def _question(
    row: Mapping[str, Any],
    identifier: str,
    country: str,
    *,
    english: bool,
    wordings: Sequence[str],
    where: str,
) -> ShortQuestion | None:
    """None where the question is not written down in the language."""
    key, answers_key = ("en_question", "en_answers") if english else ("question", "answers")
    try:
        text = row[key]
        lists = [part[answers_key] for part in row["annotations"]]
    except (KeyError, TypeError) as error:
        raise CulnigError(f"{where}: {error!r} is not there; use BLEnD's annotations") from error
    if not all(isinstance(answers, list) for answers in lists):
        raise CulnigError(f"{where}: {answers_key!r} is not a list; use BLEnD's annotations")
    if is_blank(text):
        return None
    text = text_of(text, repr(key), where)
    given = [answer for answers in lists for answer in answers if not is_blank(answer)]
    answers = [text_of(answer, f"an answer in {answers_key!r}", where) for answer in given]
    name = f"{identifier}/{country}"
    # Its wordings end a question with a mark of their own here and there.
    wording = stable_random("wording", name).choice(list(wordings))
    prompt = wording.replace(f"{_QUESTION}?", _QUESTION).replace(_QUESTION, text.strip())
    language = "en" if english else LANGUAGES[country]
    unique = tuple(dict.fromkeys(answer.strip() for answer in answers))
    return ShortQuestion(
        id=name,
        country=country,
        language=language,
        question=text.strip(),
        prompt=prompt,
        answers=unique,
    )
