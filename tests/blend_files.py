"""BLEnD's files, small."""

from pathlib import Path

import pandas as pd
from benchmark_rows import QUESTIONS


def write_csv(path: Path, rows: list[dict]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def blend_folder(tmp_path: Path, rows: list[dict]) -> Path:
    (tmp_path / "questions").mkdir(parents=True)
    write_csv(tmp_path / "questions" / "US_questions.csv", QUESTIONS)
    write_csv(tmp_path / "multiple_choice.csv", rows)
    return tmp_path
