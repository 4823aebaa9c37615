"""CountryRC: reading comprehension whose answer is a country that the passage names."""

from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.tasks.countries import COUNTRIES, FOCUS_COUNTRIES, country_in_text
from culnig_tl.tasks.instances import Split, stable_random
from culnig_tl.tasks.tables import check_once, checked, text_of
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("neuron", "test")
_DIGITS = "1. {option_a}\n2. {option_b}\n3. {option_c}\n4. {option_d}"
TEMPLATES = (
    Template(
        user=(
            "Read the passage, then reply with the letter of the right option and nothing else.\n"
            "Passage: {passage}\nQuestion: {question}\n"
            "A. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}"
        ),
        cloze="{passage}\nQuestion: {question}\nAnswer:",
    ),
    Template(
        user=(
            "{passage}\n\n{question}\n"
            "A. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}\n"
            "The text above settles it. Which letter?"
        ),
        cloze="Text: {passage}\nQ: {question}\nA:",
    ),
    Template(
        user=(
            f"Question: {{question}}\n{_DIGITS}\n"
            "Look the answer up in this text and reply with its number alone.\nText: {passage}"
        ),
        cloze="Question about a text: {question}\nText: {passage}\nAnswer:",
    ),
    Template(
        user=(
            "A short text, a question about it, four countries: find the number of the country "
            f"that is asked for.\nText: {{passage}}\nQuestion: {{question}}\n{_DIGITS}\nNumber:"
        ),
        cloze="{passage}\n{question}\nThe text says:",
    ),
)
_BUNDLED = Path(__file__).parent / "data" / "passages.json"


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """Each passage with each target country: the first half for neurons, the second to test.

    `data` is a JSON list of `{"id", "context", "question"}`, where the context holds `{country}`
    and perhaps `{country_dummy}`; without it the 50 bundled passages are used. Three wrong
    options come from the other countries; the dummy country is one of them.

    Raises:
        CulnigError: a malformed entry (its number, counted from 1).
    """
    path = data or _BUNDLED
    passages = read_json(path)
    if not isinstance(passages, list) or len(passages) < 2:
        raise CulnigError(f"{path} must be a JSON list of two or more passages")
    names = [_name(passage, position, path) for position, passage in enumerate(passages)]
    half = len(passages) // 2
    chosen = range(half) if split == "neuron" else range(half, len(passages))
    items = []
    for position in chosen:
        passage, number = passages[position], position + 1
        if not isinstance(passage, dict):
            raise CulnigError(f"{path}, row {number}: not an object with id, context, question")
        context = checked(passage, "context", path, number=number)
        question = checked(passage, "question", path, number=number)
        if "{country}" not in context:
            raise CulnigError(f"{path}, row {number}: the context does not hold {{country}}")
        for country in countries or FOCUS_COUNTRIES:
            items.append(_item(names[position], context, question, country=country))
    check_once(names, path, "id")
    return items


def _name(passage: Any, position: int, path: Path) -> str:
    """Its id, or its place where it has none."""
    name = passage.get("id") if isinstance(passage, dict) else None
    return str(position) if name is None else text_of(name, "'id'", f"{path}, row {position + 1}")


def _item(name: str, context: str, question: str, *, country: str) -> Item:
    others = [other for other in COUNTRIES if other != country]
    wrong = stable_random("countryrc", name, country).sample(others, 3)
    passage = context.replace("{country_dummy}", country_in_text(wrong[0]))
    passage = passage.replace("{country}", country_in_text(country))
    options = tuple(country_in_text(c) for c in (country, *wrong))
    return Item(
        id=f"{name}/{country}",
        group=country,
        fields={"passage": passage, "question": question},
        options=options,
        answer=0,
        question_id=name,
    )
