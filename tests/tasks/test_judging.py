"""Judging short answers: an answer in any case, digits and form of Unicode is that answer."""

import re
import unicodedata

import pytest

from culnig_tl.tasks.blend import LANGUAGES
from culnig_tl.tasks.instances import stable_random
from culnig_tl.tasks.judging import judge_answer
from culnig_tl.tasks.short_questions import load_short_questions

# Where each language's own digits begin. Chinese and Ethiopic have signs for numbers.
DIGITS = {"fa": 0x6F0, "ar": 0x660, "as": 0x9E6}
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
UNSEEN = ("\u200b", "\u200c", "\u200d", "\u00ad", "\u2060", "\ufeff")
ARABIC_FORMS: dict[str, dict[str, str]] = {}
for code in (*range(0xFB50, 0xFDFC), *range(0xFE70, 0xFEFD)):
    kind, *letter = unicodedata.decomposition(chr(code)).split() or [""]
    if len(letter) == 1:
        ARABIC_FORMS.setdefault(kind, {})[chr(int(letter[0], 16))] = chr(code)


def digits_from(text: str, zero: int) -> str:
    return re.sub(r"\d", lambda digit: chr(zero + int(digit[0])), text)


def in_any_form(answer: str, language: str) -> dict[str, str]:
    """The same answer, written in every way that says nothing else."""
    plain = digits_from(answer, 0x30)
    forms = {
        "upper": answer.upper(),
        "lower": answer.lower(),
        "title": answer.title(),
        "swapped": answer.swapcase(),
        "folded": answer.casefold(),
        "digits": plain,
        "wide digits": digits_from(answer, 0xFF10),
        "wide": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in answer),
        "bold": f"**{answer}**",
        "italic": f"- *{answer}*",
        "quoted": f"\u201c{answer}\u201d.",
        "right to left": f"\u202b{answer}\u202c\u200f",
    }
    forms |= {form: unicodedata.normalize(form, answer) for form in FORMS}
    forms |= {f"upper {form}": unicodedata.normalize(form, answer.upper()) for form in FORMS}
    if language != "fa":
        forms |= {f"unseen {ord(c):x}": c.join(answer) for c in UNSEEN}
    if language in DIGITS:
        forms["own digits"] = digits_from(answer, DIGITS[language])
    if language == "az":
        forms["own upper"] = answer.replace("i", "İ").upper()
        forms["own lower"] = answer.replace("İ", "i").replace("I", "ı").lower()
    if language == "el":
        forms["without accents"] = re.sub("[\u0301\u0308]", "", forms["upper NFD"])
    if language in ("ar", "fa"):
        for kind, letters in ARABIC_FORMS.items():
            forms[kind] = "".join(letters.get(c, c) for c in answer)
        forms["stretched"] = re.sub("([بتسعفلم])(?=\\w)", "\\1\u0640", answer)
    if language == "fa":
        forms["Arabic keys"] = answer.replace("ی", "ي").replace("ک", "ك")
        forms |= {"joined": answer.replace("\u200c", ""), "apart": answer.replace("\u200c", " ")}
    if language == "zh":
        forms["own digits"] = re.sub(r"\d", lambda d: "〇一二三四五六七八九"[int(d[0])], plain)
    if language == "am":
        signs = {str(n): chr(0x1368 + n) for n in range(1, 10)} | {"10": "፲", "20": "፳"}
        forms["own digits"] = signs.get(plain, answer)
    return forms


@pytest.mark.parametrize("country", LANGUAGES)
def test_real_answers_in_any_form(country, shared):
    """A sample of each country's answers, half of them with digits where so many have some."""
    language = LANGUAGES[country]
    questions = load_short_questions(countries=[country], data=shared / "data" / "blend")
    answers = list(dict.fromkeys(answer for q in questions for answer in q.answers))
    stable_random("judging", country).shuffle(answers)
    with_digits = [answer for answer in answers if re.search(r"\d", answer)]
    for answer in (*with_digits[:8], *answers[:8]):
        for form, text in in_any_form(answer, language).items():
            assert judge_answer(text, [answer], language), (form, text)
            assert judge_answer(answer, [text], language), (form, text)


@pytest.mark.parametrize(
    ("language", "reply", "answer"),
    [
        ("az", "İdman", "idman"),
        ("az", "QIZIL", "qızıl"),
        ("az", "PENDIR", "pendir"),
        ("az", "pendi̇r", "Pendir"),
        ("en", "STRASSE", "straße"),
        ("en", "ﬁsh and chips", "Fish"),
        ("en", "İstanbul", "istanbul"),
        ("en", "**A***", "A*"),
        ("en", "*A** or B", "a*"),
        ("el", "ΝΤΟΜΑΤΕΣ", "ντομάτες"),
        ("el", "ΤΡΏΝΕ ΝΤΟΜΆΤΕΣ", "ντομάτα"),
        ("el", "Ο ΜΑΪΟΣ", "Μάιος"),
        ("el", "σάντουιτσ", "σάντουιτς"),
        ("fa", "ساعت ۱۲", "12"),
        ("fa", "ساعت ١٢", "۱۲"),
        ("fa", "کتابها", "کتاب‌ها"),
        ("fa", "ﻛﺘﺎﺏ", "کتاب"),
        ("ar", "الساعة ٧", "7"),
        ("as", "৫ মাহ", "5 মাহ"),
        ("as", "বস্ত\u09cd\u200d", "বস্ৎ"),
        ("as", "\u09dcা", "\u09a1\u09bcা"),
        ("am", "፲፪ ሰዓት", "12 ሰዓት"),
        ("am", "፩፪", "12"),
        ("am", "፳፻፲፯", "2017"),
        ("am", "፲፱፻", "1900"),
        ("am", "፻፳፫", "123"),
        ("am", "፼", "10000"),
        ("ha", "ʼYar tsana", "'yar tsana"),
        ("zh", "答案是**炸鸡**。", "炸鸡"),
        ("zh", "答案是：三。", "3"),
        ("zh", "十二", "12"),
        ("zh", "二〇二四", "2024"),
        ("zh", "一万二千三百", "12300"),
        ("zh", "首旅如家.", "首旅如家"),
        ("ko", "정답은 **붕어과자**입니다.", "붕어과자"),
        ("ko", "5.", "5"),
        ("ko", "\u1100\u1175\u11b7\u110e\u1175를 먹습니다", "김치"),
    ],
)
def test_the_same_in_another_form(language, reply, answer):
    assert judge_answer(reply, [answer], language)


@pytest.mark.parametrize(
    ("language", "reply", "answer"),
    [
        ("en", "A", "a*"),
        ("en", "a B+", "b"),
        ("en", "*A* or *b*", "a*"),
        ("en", "therapist", "the rapist"),
        ("en", "112", "12"),
        ("en", "½", "12"),
        ("es", "papá", "papa"),
        ("az", "qızıl", "qazıl"),
        ("el", "ντομάτα", "πατάτα"),
        ("fa", "ساعت ۱۲", "2"),
        ("as", "৫৫ মাহ", "5 মাহ"),
        ("am", "፲፪", "2"),
        ("am", "፲፪", "10"),
        ("zh", "玉米", "米"),
        ("zh", "一般", "1"),
        ("zh", "一个孩子", "1"),
        ("zh", "百度", "100度"),
        ("zh", "十二", "2"),
        ("ko", "김밥을 먹습니다", "밥"),
        ("ko", "축구를 합니다", "구"),
        ("ar", "شاي", "قهوة"),
    ],
)
def test_another_answer(language, reply, answer):
    assert not judge_answer(reply, [answer], language)


SENTENCES = {
    "ar": "الجواب هو {}.",
    "zh": "答案是{}。",
    "el": "Η απάντηση είναι {}.",
    "fa": "پاسخ {} است.",
    "ko": "정답은 {}입니다.",
}


@pytest.mark.parametrize("country", ["Algeria", "China", "Greece", "Iran", "North Korea"])
def test_real_answers_in_a_sentence(country, shared):
    language = LANGUAGES[country]
    questions = load_short_questions(countries=[country], limit=60, data=shared / "data" / "blend")
    for answer in (question.answers[0] for question in questions):
        assert judge_answer(SENTENCES[language].format(answer), [answer], language), answer
