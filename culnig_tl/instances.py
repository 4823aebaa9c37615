"""One multiple-choice item, its country, and randomness that does not depend on order."""

import hashlib
import random
from dataclasses import asdict, dataclass

from culnig_tl.errors import CulnigError
from culnig_tl.files import sha256_of

COUNTRIES = (
    "Algeria",
    "Assam",
    "Azerbaijan",
    "China",
    "Ethiopia",
    "Greece",
    "Indonesia",
    "Iran",
    "Mexico",
    "North Korea",
    "Northern Nigeria",
    "South Korea",
    "Spain",
    "UK",
    "USA",
    "West Java",
)
FOCUS_COUNTRIES = ("China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA")
_ALIASES = {
    "us": "USA",
    "united states": "USA",
    "united states of america": "USA",
    "great britain": "UK",
    "united kingdom": "UK",
    "nigeria": "Northern Nigeria",
    "korea": "South Korea",
}
_IN_TEXT = {"UK": "the UK", "USA": "the US"}


def country_name(name: str) -> str:
    """The one spelling used in this package: `South_Korea`, `south korea` -> `South Korea`.

    Raises:
        CulnigError: not one of `COUNTRIES`; the message lists them.
    """
    plain = " ".join(name.replace("_", " ").split()).lower()
    known = {country.lower(): country for country in COUNTRIES} | _ALIASES
    if plain not in known:
        raise CulnigError(f"unknown country {name!r}: choose from {', '.join(COUNTRIES)}")
    return known[plain]


def country_in_text(country: str) -> str:
    """The country as it stands inside a sentence: `USA` -> `the US`."""
    return _IN_TEXT.get(country, country)


def stable_random(*key: object) -> random.Random:
    """A generator seeded by a hash of `key`: the same on every machine and in any order."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode("utf-8")).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True)
class Instance:
    """One question with its options, rendered as text for both answer formats.

    Attributes:
        id: unique within its task, split and template.
        task: the task's name, as `load_task` knows it.
        split: `neuron`, `control` or `test`.
        country: one of `COUNTRIES`, or None for a task without countries.
        template: index of the prompt template.
        options: the options' texts, all different.
        answer: index of the right option.
        cloze: the text before a cloze answer, up to and with `Answer:`.
        user: the user's turn for the letter format.
        labels: the options' labels in `user`, such as A, B, C, D.
        system: the system turn for the letter format, or the empty string.
        prefill: text that begins the model's turn in the letter format, or the empty string.

    Raises:
        CulnigError: fewer than two options, duplicate options, or the answer is not among them.
    """

    id: str
    task: str
    split: str
    country: str | None
    template: int
    options: tuple[str, ...]
    answer: int
    cloze: str
    user: str
    labels: tuple[str, ...] = ("A", "B", "C", "D")
    system: str = ""
    prefill: str = ""

    def __post_init__(self) -> None:
        folded = [option.strip().lower() for option in self.options]
        if len(self.options) < 2:
            raise CulnigError(f"instance {self.id}: {len(self.options)} option; give at least two")
        if len(set(folded)) < len(folded):
            raise CulnigError(
                f"instance {self.id}: duplicate options {list(self.options)}; make them different"
            )
        if not 0 <= self.answer < len(self.options):
            raise CulnigError(
                f"instance {self.id}: answer {self.answer} is not among its {len(self.options)} "
                "options; correct the row"
            )
        if len(self.labels) != len(self.options):
            raise CulnigError(
                f"instance {self.id}: {len(self.labels)} labels for {len(self.options)} options; "
                "give one label an option"
            )

    @property
    def answer_text(self) -> str:
        """The right option's own text."""
        return self.options[self.answer]


def content_hash(instances: list[Instance]) -> str:
    """SHA-256 of everything the instances say, in their order."""
    return sha256_of([asdict(instance) for instance in instances])
