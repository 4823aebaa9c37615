"""A file of questions of our own: three professions, six questions of each."""

from pathlib import Path

ASKED = {
    "What does {group} hold at work?": ("syringe", "rolling pin", "rope"),
    "Where does {group} work?": ("hospital ward", "bakehouse", "deck"),
    "What does {group} wear?": ("scrubs", "white apron", "oilskin"),
    "When does {group} rise for work?": ("before the early shift", "at three", "with the tide"),
    "Whom does {group} serve?": ("patients", "hungry customers", "a captain"),
    "What does {group} fear most?": ("infection", "burnt loaves", "storms"),
}
GROUPS = {"nurse": "a nurse", "baker": "a baker", "sailor": "a sailor"}


def rows() -> list[dict[str, str]]:
    return [
        {
            "question": question.replace("{group}", GROUPS[group]),
            "group": group,
            "answer": answer,
            "group_in_text": GROUPS[group],
        }
        for question, answers in ASKED.items()
        for group, answer in zip(GROUPS, answers, strict=True)
    ]


def write(path: Path, given: list[dict[str, str]]) -> Path:
    import pandas as pd

    pd.DataFrame(given).to_csv(path, index=False)
    return path


def jobs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write(folder / "jobs.csv", rows())
