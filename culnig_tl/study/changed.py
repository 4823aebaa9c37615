"""The questions whose answer changed when the set was masked."""

import logging
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.study.maskings import GENERAL
from culnig_tl.study.run import Run

MOST = 400  # of those that are listed
_log = logging.getLogger(__name__)


def changed_answers(run: Run) -> dict[str, Any] | None:
    """The test questions of the study's own task that the model answers otherwise with the
    culture-general neurons masked.

    Returns:
        asked, lost, gained, otherwise (how many questions' items became wrong, became right, or
        are wrong in another way), and rows: question, group, right, before, after, was (whether
        the answer was right), now. Those that became wrong come first. None where the data cannot
        be read any more.
    """
    try:
        instances = run.own_data.tests[run.study.task]
    except CulnigError as error:
        _log.warning("the report is without the answers that changed: %s", error)
        return None
    frames = (run.evaluation("original"), run.evaluation(GENERAL))
    before, after = (
        frame[frame["task"] == run.study.task].set_index("id").to_dict("index") for frame in frames
    )
    rows = []
    for one in instances:
        was, now = before[one.id], after[one.id]
        if was["predicted"] != now["predicted"]:
            rows.append(
                {
                    "question": one.question or one.cloze,
                    "group": one.group or "",
                    "right": one.answer_text,
                    "before": was["predicted"],
                    "after": now["predicted"],
                    "was": bool(was["correct"] == 1),
                    "now": bool(now["correct"] == 1),
                }
            )
    rows.sort(key=lambda row: (not row["was"], not row["now"]))
    return {
        "asked": len(instances),
        "lost": sum(row["was"] and not row["now"] for row in rows),
        "gained": sum(row["now"] and not row["was"] for row in rows),
        "otherwise": sum(not row["was"] and not row["now"] for row in rows),
        "rows": rows[:MOST],
    }
