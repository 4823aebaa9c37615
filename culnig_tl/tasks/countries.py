"""Countries: one spelling of each, and how each stands in a sentence."""

import re

from culnig_tl.errors import CulnigError

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
_SPELLINGS = {
    "USA": "us, united states, united states of america, the united states, america",
    "UK": "great britain, britain, united kingdom, the united kingdom, "
    "united kingdom of great britain and northern ireland",
    "Iran": "iran islamic republic of, islamic republic of iran",
    "South Korea": "korea, korea south, republic of korea, korea republic of",
    "North Korea": "korea north, dprk, democratic peoples republic of korea, "
    "korea democratic peoples republic of",
    "China": "peoples republic of china, prc, mainland china",
    "Northern Nigeria": "nigeria",
}
_KNOWN = {country.lower(): country for country in COUNTRIES} | {
    spelling: country for country, line in _SPELLINGS.items() for spelling in line.split(", ")
}
_IN_TEXT = {"UK": "the UK", "USA": "the US"} | {
    name: f"the {name}"
    for name in ("Czech Republic", "Dominican Republic", "Netherlands", "Philippines")
}


def country_name(name: str) -> str:
    """The one spelling used in this package: `South_Korea`, `Korea, South` -> `South Korea`.

    Raises:
        CulnigError: not one of `COUNTRIES`; the message lists them.
    """
    plain = _plain(name)
    if plain not in _KNOWN:
        raise CulnigError(
            f"unknown country {name!r}: choose from {', '.join(COUNTRIES)}; of other groups there "
            "are questions of your own (--questions FILE)"
        )
    return _KNOWN[plain]


def benchmark_country(name: str) -> tuple[str, str]:
    """A benchmark row's country, in the one spelling, and as it stands inside a sentence.

    A name outside `COUNTRIES` is kept, tidied: `bosnia_and_herzegovina` -> `Bosnia and
    Herzegovina`. Nigeria counts with BLEnD's Northern Nigeria, but the text says Nigeria.
    """
    plain = _plain(name)
    if plain == "nigeria":
        return _KNOWN[plain], "Nigeria"
    tidy = " ".join(name.replace("_", " ").split())
    if tidy == tidy.lower():
        tidy = re.sub(r"\b(And|Of|The)\b", lambda word: word[0].lower(), tidy.title())
    country = _KNOWN.get(plain, tidy)
    return country, country_in_text(country)


def _plain(name: str) -> str:
    """Lower-case words: `Iran, Islamic Republic of` -> `iran islamic republic of`."""
    return " ".join(re.sub(r"[\W_]+", " ", re.sub(r"[.'’]", "", name)).split()).lower()


def country_in_text(country: str) -> str:
    """The country as it stands inside a sentence: `USA` -> `the US`."""
    return _IN_TEXT.get(country, country)
