"""What `culnig verify` found on a run, as the tables and figures that `docs/gradient.md` shows.

culnig verify --run runs/study --steps 0
python benchmarks/verified.py --run runs/study
"""

import argparse
import shutil
from pathlib import Path

from common import RESULTS

from culnig_tl.analysis.additivity import additivity
from culnig_tl.analysis.agreement import rank_agreement
from culnig_tl.analysis.faithfulness import faithfulness_areas
from culnig_tl.frames import write_frame
from culnig_tl.study.verify_section import SECTION

KEPT = ("interactions", "joint", "doses", "curves", "scale", "patching")
FIGURES = ("curves", "additivity", "agreement-by-layer", "gate-exact-against-truth")
OUT = RESULTS / "verify"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    folder = options.parse_args().run
    found = SECTION.read(folder)
    assert found is not None, f"{folder} has not been verified: culnig verify --run {folder}"
    OUT.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        write_frame(found[name], OUT / f"{name}.csv")
    write_frame(rank_agreement(found["effects"]), OUT / "ranks.csv", index=True)
    write_frame(additivity(found["interactions"]), OUT / "additivity.csv", index=True)
    curves = found["curves"].groupby("values", sort=False)
    for values, part in curves:
        areas = faithfulness_areas(part.drop(columns="values"))
        write_frame(areas, OUT / f"areas-{values}.csv", index=True)
    for name in FIGURES:
        shutil.copy(folder / "figures" / f"{name}.png", OUT)
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
