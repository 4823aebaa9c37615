"""The two files of questions that come with the package, each as a whole study on gemma-3-270m.

What is kept are the study's tables, and how long the study took on this machine.

    python benchmarks/own_questions.py --out runs/own
"""

import argparse
import logging
import time
from pathlib import Path

from common import RESULTS, machine

from culnig_tl.files import write_json
from culnig_tl.frames import write_frame
from culnig_tl.study.arguments import Study
from culnig_tl.study.running import run_study
from culnig_tl.tasks.question_rows import EXAMPLES

TABLES = ("table", "probability", "matched", "sets", "own", "own_nats")
SETS = 5  # random ones, of either kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in EXAMPLES:
        study = Study.of_questions(
            name,
            answer_format="cloze",
            limit=0,
            test_limit=0,
            specific=True,
            seeds=SETS,
            matched_seeds=SETS,
        )
        start = time.perf_counter()
        run = run_study(study, out / name)
        seconds = time.perf_counter() - start
        folder = RESULTS / "own-questions" / name
        for table in TABLES:
            write_frame(run.tables[table], folder / f"{table}.csv", index=True)
        write_json(
            folder / "study.json",
            {
                "seconds": round(seconds),
                "questions": {key: len(part) for key, part in run.data.parts.items()},
                "neurons": len(run.neurons),
                "arguments": run.about["arguments"] | {"data": {}},
                "machine": machine(),
            },
        )


if __name__ == "__main__":
    main()
