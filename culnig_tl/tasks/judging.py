"""Judging a reply: whether it has the words of an answer, in any of BLEnD's languages."""

import functools
import importlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from culnig_tl.errors import CulnigError

# A word: letters with the marks that belong to them (vowel signs, accents), and digits. Or a
# mark at school, A* or B+, which is another than A or B; but not a letter in bold, **A**.
_WORD = r"(?<![\p{L}\p{M}\p{N}*'’])\p{L}[*+](?![*+\p{L}\p{M}\p{N}])|[\p{L}\p{M}\p{N}]+"
_CHINESE_DIGITS = "〇一二三四五六七八九"
_CHINESE_NUMBERS = f"{_CHINESE_DIGITS}十百千万"


def judge_answer(reply: str, answers: Sequence[str], language: str) -> bool:
    """Whether the reply has the words of one of the answers, in sequence (appendix D).

    Both are folded (case, digits, Unicode's forms) and taken apart into words; two words are the
    same if they are written the same or have the same basic form (`basic_words`), so that an
    inflected form or a particle behind a word does not count against it. In zh, ko and fa, where
    it is not fixed what is written as one word, an answer may be divided in another way than in
    the reply, but begins and ends where a word of the reply does.

    Raises:
        CulnigError: as `basic_words`.

    Example:
        >>> judge_answer("They mostly drink Tea.", ["coffee", "tea"], "en")
        True
        >>> judge_answer("They drink steam.", ["tea"], "en")
        False
    """
    said = _read(reply, language)
    return any(_holds(said, _read(answer, language)) for answer in answers)


def basic_words(text: str, language: str) -> list[str]:
    """The words of a text, folded and in their basic form.

    en, es, el, id, fa: lemmas (simplemma); zh: segmented (jieba); ko: morphemes without particles
    and endings (kiwipiepy); ar: Snowball's stems; ha: hausastemmer's stems; all others, among them
    am, as, az and su: the words as they are, since no well-kept package has them.

    Raises:
        CulnigError: the extra `saq` is not installed.
    """
    return [basic for _, basic in _read(text, language).words]


class _Reading(NamedTuple):
    """A text taken apart.

    Attributes:
        words: each as it is written, folded, and in its basic form.
        pieces: everything that is written, divided wherever a word may begin or end; only of
            languages in which an answer may be divided otherwise than in a reply.
    """

    words: tuple[tuple[str, str], ...]
    pieces: tuple[str, ...] = ()


def _read(text: str, language: str) -> _Reading:
    return _READERS.get(language, _plain_words)(_fold(text, language))


def _holds(said: _Reading, answer: _Reading) -> bool:
    """Whether `answer` is in `said`, one word after the other."""
    words, starts = answer.words, range(len(said.words) - len(answer.words) + 1)
    if words and any(
        all(set(here) & set(there) for here, there in zip(said.words[i:], words, strict=False))
        for i in starts
    ):
        return True
    whole = "".join(answer.pieces)
    return bool(whole) and any(_begins(said.pieces[i:], whole) for i in range(len(said.pieces)))


def _begins(pieces: Sequence[str], whole: str) -> bool:
    """Whether the first pieces, joined, are `whole`."""
    for piece in pieces:
        if not whole.startswith(piece):
            return False
        whole = whole[len(piece) :]
        if not whole:
            return True
    return False


def _fold(text: str, language: str) -> str:
    """One form of what Unicode writes in several: case, digits, compatibility, what is not seen."""
    # Persian joins parts of a word by a character of no width; others have such by accident.
    text = text.replace("ত্\u200d", "ৎ").replace("\u200c", " " if language == "fa" else "")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    # Arabic's vowel marks and stretched lines are written or not; there are some on spaces too.
    text = re.sub("[\u0640\u064b-\u0652\u0656-\u065f\u0670\ufe70-\ufe7f]", "", text)
    # Unicode's compatibility caseless matching: a capital may be two letters, or one with a mark.
    for form in ("NFD", "NFKD", "NFKD"):
        text = unicodedata.normalize(form, text).casefold()
    # Turkish and Azerbaijani İ is i with its dot as a mark. Their capital of ı is what others write
    # for i, so that which of the two was meant is lost in capitals.
    text = re.sub("i\u0307+", "i", text)
    if language == "az":
        text = text.replace("ı", "i")
    text = unicodedata.normalize("NFKC", text).replace("ʼ", "'")
    if language == "fa":  # what an Arabic keyboard writes
        text = text.replace("ي", "ی").replace("ى", "ی").replace("ك", "ک")
    text = re.sub(r"\d", lambda digit: str(int(digit[0])), text)
    text = re.sub("[\u1369-\u137c]+", lambda number: _ethiopic_number(number[0]), text)
    # Letters in bold or italics, which are no marks at school.
    text = re.sub(r"\*\*(.+?)\*\*(?!\*)", r"\1", text)
    return re.sub(r"(?<![\w*])\*([^*\s](?:[^*\n]*[^*\s])?\*?)\*(?![\w*])", r"\1", text)


def _ethiopic_number(text: str) -> str:
    """፻፳፫ -> 123. Units side by side, which is no number of old, are read as digits: ፩፪ -> 12."""
    if re.search("[\u1369-\u1371]{2}", text):
        return "".join(f"{unicodedata.numeric(sign):.0f}" for sign in text)
    total = part = 0
    for sign in text:
        value = int(unicodedata.numeric(sign))
        if value < 100:
            part += value
        elif value == 100:
            part = (part or 1) * 100
            total, part = total + part, 0
        else:
            total, part = ((total + part) or 1) * value, 0
    return str(total + part)


_Reader = Callable[[str], _Reading]


@functools.cache
def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CulnigError(
            f"judging short answers needs the package {name!r}: pip install 'culnig-tl[saq]'"
        ) from error


def _words(text: str) -> list[str]:
    return _package("regex").findall(_WORD, text)


def _each(basic: Callable[[str], str], *, written: Callable[[str], str] = str) -> _Reader:
    """A reader of words one by one; `basic` and `written` give a folded word's two forms."""

    def read(text: str) -> _Reading:
        return _Reading(tuple((written(word), basic(word)) for word in _words(text)))

    return read


def _lemma(language: str) -> Callable[[str], str]:
    def lemma(word: str) -> str:
        return _package("simplemma").lemmatize(word, lang=language).casefold()

    return lemma


def _without_accents(word: str) -> str:
    """Greek capitals have no accents."""
    marks = "[\u0300\u0301\u0308\u0342]"
    return re.sub(marks, "", unicodedata.normalize("NFD", word)).replace("ς", "σ")


def _greek_lemma(word: str) -> str:
    return _without_accents(_lemma("el")(re.sub("σ$", "ς", word)))


def _persian(text: str) -> _Reading:
    reading = _each(_lemma("fa"))(text)
    return _Reading(reading.words, tuple(word for word, _ in reading.words))


def _segments(text: str) -> _Reading:
    jieba = _package("jieba")
    jieba.setLogLevel("ERROR")  # it says how long its dictionary took
    # Each run of letters alone: marks beside it change where it is divided.
    lines = "\n".join(part for run in _words(text) for part in jieba.cut(run))
    # 一万 and 二千 side by side are one number.
    number = f"[{_CHINESE_NUMBERS}]"
    lines = re.sub(rf"(?<={number})\n(?={number}+(\n|$))", "", lines)
    pieces = tuple(word for part in lines.split("\n") for word in _words(_chinese_numbers(part)))
    return _Reading(tuple((piece, piece) for piece in pieces), pieces)


def _chinese_numbers(word: str) -> str:
    """A word's numbers as digits: 十二 -> 12, 二〇二四 -> 2024; but 百度 has none."""
    digits = re.search(f"[{_CHINESE_DIGITS}]", word) or not set(word) - set(_CHINESE_NUMBERS)
    if not digits:
        return word
    return re.sub(f"[{_CHINESE_NUMBERS}]+", lambda number: _chinese_number(number[0]), word)


def _chinese_number(signs: str) -> str:
    if not set(signs) - set(_CHINESE_DIGITS):
        return "".join(str(_CHINESE_DIGITS.index(sign)) for sign in signs)
    total = part = digit = 0
    for sign in signs:
        if sign in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS.index(sign)
        elif sign == "万":
            total, part, digit = (total + part + digit or 1) * 10_000, 0, 0
        else:
            part, digit = part + (digit or 1) * 10 ** (1 + "十百千".index(sign)), 0
    return str(total + part + digit)


@functools.cache
def _kiwi() -> Any:
    return _package("kiwipiepy").Kiwi()


def _morphemes(text: str) -> _Reading:
    words: list[tuple[str, str]] = []
    pieces: list[str] = []
    # What stands between two marks alone: a mark beside a word changes how it is analysed.
    for run in _package("regex").findall(r"[\p{L}\p{M}\p{N}][\p{L}\p{M}\p{N}\s]*", text):
        tokens = _kiwi().tokenize(run)
        # Tags that begin with J are particles, E endings, S but for SL, SH, SN punctuation.
        kept = [t for t in tokens if t.tag[0] not in "JES" or t.tag in ("SL", "SH", "SN")]
        words += [(word, word) for token in kept for word in _words(token.form)]
        ends = {end for token in tokens for end in (token.start, token.start + token.len)}
        ends = sorted(ends | {0, len(run)})
        divided = [run[start:end].split() for start, end in pairwise(ends)]
        pieces += [piece for part in divided for piece in part]
    return _Reading(tuple(words), tuple(pieces))


def _arabic_stem(word: str) -> str:
    return _package("snowballstemmer").stemmer("arabic").stemWord(word)


def _hausa_stem(word: str) -> str:
    return _package("hausastemmer").stem(word)


_plain_words = _each(str)
_READERS: dict[str, _Reader] = {
    **{language: _each(_lemma(language)) for language in ("en", "es", "id")},
    "el": _each(_greek_lemma, written=_without_accents),
    "fa": _persian,
    "zh": _segments,
    "ko": _morphemes,
    "ar": _each(_arabic_stem),
    "ha": _each(_hausa_stem),
}
