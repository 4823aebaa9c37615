"""A whole study of the byte model, and what of it is compared with the files in `tests/golden`.

`python tests/golden.py` from the project's folder writes these files anew: only for a change that
is meant to change numbers.
"""

import contextlib
import html
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import pandas as pd
import tiny

from culnig_tl.cli import main as cli
from culnig_tl.study import report
from culnig_tl.tasks.blend import LANGUAGES

GOLDEN = Path(__file__).parent / "golden"
# Asked in two languages, and in English; the other countries are left out to save time.
COUNTRIES = {"Iran": "fa", "Spain": "es", "UK": "en"}
TOPICS = {"Al-1": "Food", "Al-2": "Sport", "Al-3": "Family", "Al-4": "Education"}
FOODS = ("rice", "soup", "fish", "nuts", "bread", "dates", "olives")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# Where numbers of different machines differ in their last digits.
RELATIVE, ABSOLUTE = 1e-3, 1e-5


def blend_folder(folder: Path) -> Path:
    """BLEnD's files: multiple choice of four topics, and short questions with their answers."""
    for part in ("questions", "annotations", "prompts"):
        (folder / part).mkdir(parents=True)
    rows = []
    for number, question in enumerate(TOPICS):
        for shift, country in enumerate(COUNTRIES):
            for turn in range(2):
                foods = [FOODS[(number + 2 * shift + turn + i) % len(FOODS)] for i in range(4)]
                # The right answer is the country's own in both turns.
                foods[turn], own = FOODS[(number + 2 * shift) % len(FOODS)], foods[turn]
                foods = [
                    own if food == foods[turn] and i != turn else food
                    for i, food in enumerate(foods)
                ]
                choices = dict(zip("ABCD", foods, strict=True))
                listing = "\n".join(f"{letter}. {food}" for letter, food in choices.items())
                asked = f"What of {question} in {'the UK' if country == 'UK' else country}?"
                rows.append(
                    {
                        "MCQID": f"{question}_{turn}",
                        "ID": question,
                        "country": country,
                        "prompt": f"{asked} Without any explanation, reply.\n\n{listing}\n\nAnswer:",
                        "choices": json.dumps(choices),
                        "answer_idx": "ABCD"[turn],
                    }
                )
    pd.DataFrame(rows).to_csv(folder / "multiple_choice.csv", index=False)
    for name in ("US", *COUNTRIES):
        questions = [
            {
                "ID": f"Al-{n}",
                "Topic": TOPICS.get(f"Al-{n}", "Food"),
                "Question": f"{n}: {'¿Qué' if name == 'Spain' else 'چه' if name == 'Iran' else 'What'} {name}?",
                "Translation": f"What in {name}, number {n}?",
            }
            for n in range(1, 13)
        ]
        pd.DataFrame(questions).to_csv(folder / "questions" / f"{name}_questions.csv", index=False)
    answers = {"answers": ["vino"], "en_answers": ["wine"], "count": 2}
    asked = {"question": "¿Qué se bebe?", "en_question": "What is drunk?", "annotations": [answers]}
    (folder / "annotations" / "Spain_data.json").write_text(json.dumps({"A-1": asked}))
    wording = 'id,English,Translation\ni,"Question: {q}?\nAnswer:","Pregunta: {q}?\nRespuesta:"\n'
    (folder / "prompts" / "Spain_prompts.csv").write_text(wording)
    return folder


def undrawn(figures: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """In place of `report._saved`: the figures are made, but not drawn, which takes longest."""
    plt.close("all")
    return dict.fromkeys(figures, "")


@contextlib.contextmanager
def few_languages() -> Iterator[None]:
    """BLEnD asks in the languages of `COUNTRIES` only, and the report's figures are not drawn."""
    with (
        mock.patch.dict(LANGUAGES, COUNTRIES, clear=True),
        mock.patch.object(report, "_saved", undrawn),
    ):
        yield


def commands(folder: Path) -> list[list[str]]:
    """The study and every step on it, small."""
    data = blend_folder(folder / "blend")
    model = tiny.byte_model(folder / "tiny")
    out = ["--run", str(folder / "run")]
    study = [
        *("run", "--out", folder / "run", "--model", model, "--task", "blend", "--data", data),
        *(
            "--countries",
            ",".join(COUNTRIES),
            "--format",
            "cloze",
            "--tests",
            "countryrc,paraphrase",
        ),
        *("--limit", 8, "--test-limit", 6, "--rc-limit", 8, "--other-limit", 4),
        *("--top-mlp", 0.2, "--top-attention", 0.1, "--top", 0.2, "--least-z", 0.0),
        *("--seeds", 2, "--matched-seeds", 1, "--specific", "--ablations", "--sweep"),
    ]
    steps = [
        ["verify", *out, "--prompts", 3, "--sample", 12, "--steps", 1, "--pairs", 2],
        ["compare-methods", *out, "--top", 0.1, "--quantile", 0.8],
        ["short-answers", *out, "--countries", "Spain", "--max-new-tokens", 3],
        ["finetune", *out, "--task", "paraphrase", "--steps", 2, "--batch", 2,
         "--evaluate-every", 1, "--train-limit", 4, "--test-limit", 4, "--culture-limit", 4,
         "--which", "top,bottom", "--learning-rates", "1e-2", "--share", 0.1],
        ["precision", *out, "--dtypes", "bfloat16"],
    ]  # fmt: skip
    return [[str(argument) for argument in command] for command in (study, *steps)]


def collect(run: Path) -> dict[str, str]:
    """By file name: every table as it is, each set's neurons, and the words of the report."""
    found = {}
    for file in sorted(run.rglob("*.csv")):
        if "evaluations" not in file.parts:
            found[str(file.relative_to(run))] = file.read_text(encoding="utf-8")
    sets = {}
    for file in sorted(run.rglob("sets/*.json")):
        neurons = json.loads(file.read_text(encoding="utf-8"))["neurons"]
        sets[str(file.relative_to(run))] = [
            f"{site} {layer}.{index}" for layer, site, index in neurons
        ]
    found["sets.json"] = json.dumps(sets, indent=1, ensure_ascii=False) + "\n"
    model = json.loads((run / "run.json").read_text(encoding="utf-8"))["model"]["name"]
    found["report.txt"] = words(run / "report.html").replace(model, "MODEL")
    return found


def words(report: Path) -> str:
    """What a reader of the report sees, but for what was run and the page of tokens."""
    text = re.split(r"<h2[^>]*>What was run", report.read_text(encoding="utf-8"))[0]
    text = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.S)
    text = re.sub(r"<[^>]*>", " ", text)
    lines = (" ".join(html.unescape(line).split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def difference(found: str, expected: str) -> str | None:
    """The first line in which two texts differ by more than rounding, or None."""
    one, other = found.splitlines(), expected.splitlines()
    for number, (mine, wanted) in enumerate(zip(one, other, strict=False), start=1):
        numbers = zip(_NUMBER.findall(mine), _NUMBER.findall(wanted), strict=False)
        same = _NUMBER.sub("#", mine) == _NUMBER.sub("#", wanted)
        if not same or not all(_close(float(a), float(b)) for a, b in numbers):
            return f"line {number}: {mine!r}, expected {wanted!r}"
    return None if len(one) == len(other) else f"{len(one)} lines, expected {len(other)}"


def _close(found: float, expected: float) -> bool:
    return abs(found - expected) <= ABSOLUTE + RELATIVE * abs(expected)


def golden() -> dict[str, str]:
    """The files that hold."""
    files = sorted(path for path in GOLDEN.rglob("*") if path.is_file())
    return {str(f.relative_to(GOLDEN)): f.read_text(encoding="utf-8") for f in files}


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(Path(folder)):
            sys.argv = ["culnig", *command]
            with few_languages():
                cli.main()
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for name, text in collect(Path(folder) / "run").items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write()
