"""The step verify in the report: its tables as files, and what the report shows of them."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.additivity import additivity
from culnig_tl.analysis.agreement import agreement, patching_matrix, rank_agreement
from culnig_tl.analysis.effect_plots import (
    plot_agreement,
    plot_agreement_by_layer,
    plot_dose_response,
    plot_faithfulness,
    plot_interaction,
)
from culnig_tl.analysis.faithfulness import faithfulness_areas
from culnig_tl.analysis.plots import plot_matrix
from culnig_tl.errors import CulnigError
from culnig_tl.frames import (
    COUNT,
    FLAG,
    MAYBE_NUMBER,
    NAME,
    NUMBER,
    PLACE,
    SHARE,
    TEXT,
    Frame,
    one_of,
    read_frame,
)
from culnig_tl.neurons.estimates import ESTIMATES, VALUES
from culnig_tl.neurons.layout import SITES
from culnig_tl.schemas import damaged
from culnig_tl.study.section import Section, read_frames, table_rows

CHECKS = {
    "effects": Frame(
        {
            "layer": COUNT,
            "site": one_of(SITES),
            "index": COUNT,
            "position": PLACE,
            "token": TEXT,
            "instance": NAME,
            "group": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "integrated": MAYBE_NUMBER,
            "exact": NUMBER,
        },
        key=("instance", "layer", "site", "index", "position"),
        optional={
            "question": NAME,
            "gate_exact": NUMBER,
            "score_first_order": NUMBER,
            "score_gate_exact": NUMBER,
            "nats": NUMBER,
            "rank": NUMBER,
            "selected": FLAG,
        },
    ),
    "interactions": Frame(
        {
            "instance": NAME,
            "group": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "singles": NUMBER,
            "singles_nats": MAYBE_NUMBER,
            "joint": NUMBER,
            "joint_nats": MAYBE_NUMBER,
            "set": NAME,
            "neurons": COUNT,
        },
        key=("set", "instance"),
        optional={"question": NAME, "floor_nats": NUMBER},
    ),
    "doses": Frame(
        {
            "set": NAME,
            "factor": NUMBER,
            "items": COUNT,
            "accuracy": SHARE,
            "probability": SHARE,
        },
        key=("set", "factor"),
        optional={
            "questions": COUNT,
            "chance": SHARE,
            "change": MAYBE_NUMBER,
            "change_low": MAYBE_NUMBER,
            "change_high": MAYBE_NUMBER,
        },
    ),
}
# What runs of earlier versions do not have, and what may have no rows.
MORE = {
    "joint": Frame(
        {
            "set": NAME,
            "instance": NAME,
            "question": NAME,
            "first_order": NUMBER,
            "gate_exact": NUMBER,
            "shares": NUMBER,
            "joint": NUMBER,
        },
        key=("set", "instance"),
    ),
    "curves": Frame(
        {
            "values": one_of(VALUES),
            "share": SHARE,
            "neurons": COUNT,
            "kind": one_of(("masked", "kept")),
            "set": NAME,
            "log_probability": NUMBER,
            "faithful": NUMBER,
        },
        key=("values", "kind", "set", "share"),
    ),
    "pairs": Frame(
        {
            "source": NAME,
            "target": NAME,
            "source_id": NAME,
            "target_id": NAME,
            "question": COUNT,
            "instance": COUNT,
            "before": NUMBER,
            "in_source": NUMBER,
            "decided": FLAG,
        },
        key=("instance", "source", "target"),
    ),
    "scale": Frame({"source_id": NAME, "target_id": NAME, "itself": NUMBER, "everything": NUMBER}),
    "patching": Frame(
        {
            "source": NAME,
            "target": NAME,
            "before": NUMBER,
            "after": NUMBER,
            "in_source": NUMBER,
            "moved": NUMBER,
            "share": MAYBE_NUMBER,
            "estimated": NUMBER,
            "question": COUNT,
            "set": NAME,
            "instance": COUNT,
            "probability": NUMBER,
        },
        key=("instance", "source", "target"),
    ),
}


def _read(folder: Path) -> dict[str, Any] | None:
    """The frames of `CHECKS`, and `tokens`, HTML."""
    found, page = read_frames(folder / "verify", CHECKS), folder / "verify" / "tokens.html"
    if found is None:
        return None
    for name, frame in MORE.items():
        file = folder / "verify" / f"{name}.csv"
        if file.exists():
            found[name] = read_frame(file, frame)
    try:
        return found | {"tokens": page.read_text(encoding="utf-8")}
    except OSError as error:
        raise CulnigError(f"cannot read {page}: {error.strerror}; give verify again") from error
    except ValueError as error:
        raise damaged(page, f"no text in UTF-8 ({error})") from error


def _show(checks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Axes]]:
    """Tables and figures of the section on the gradient."""
    effects = checks["effects"]
    estimates = [name for name in ESTIMATES if name in effects]
    if effects["integrated"].notna().any():
        estimates.append("integrated")
    tables = pd.concat(
        {name: agreement(effects, estimate=name) for name in estimates}, names=["estimate"]
    )
    scores = [name for name in effects if str(name).startswith("score_")]
    selecting = {name: agreement(effects, estimate=name, truth="nats") for name in scores}
    additive = checks["interactions"].copy()
    for column in ("first_order", "singles", "joint"):
        additive[column] /= additive["probability"]
    figures = {
        "estimate against truth": plot_agreement(effects),
        "agreement by layer": plot_agreement_by_layer(agreement(effects, by=["site", "layer"])),
        "additivity": plot_interaction(checks["interactions"]),
        "dose response": plot_dose_response(checks["doses"]),
    }
    if "gate_exact" in effects:
        figures["gate exact against truth"] = plot_agreement(effects, estimate="gate_exact")
    patching = checks.get("patching")
    if patching is not None:
        figures["patching"] = plot_matrix(
            patching_matrix(patching), "share", "How far the answer moves to the source's"
        )
    curves = checks.get("curves")
    areas = []
    if curves is not None:
        figures["curves"] = plot_faithfulness(curves)
        parts = {values: faithfulness_areas(part) for values, part in curves.groupby("values")}
        areas = table_rows(pd.concat(parts, names=["values"]))
    joint = checks.get("joint")
    interactions = checks["interactions"]
    values = {
        "agreement": table_rows(tables),
        "additivity": table_rows(
            additive.groupby("set", sort=False)[
                ["first_order", "singles", "joint", "singles_nats", "joint_nats"]
            ].mean()
        ),
        "selecting": table_rows(pd.concat(selecting, names=["estimate"])) if scores else [],
        "ranking": table_rows(rank_agreement(effects)) if "rank" in effects else [],
        "readings": table_rows(additivity(interactions)) if "floor_nats" in interactions else [],
        "joint": [] if joint is None else table_rows(_joint_rows(joint)),
        "areas": areas,
        "probability": effects.groupby("instance")["probability"].first().median(),
        "asked": _asked_pairs(checks.get("pairs")),
        "scale": [] if "scale" not in checks else table_rows(checks["scale"]),
        "patching": []
        if patching is None
        else table_rows(agreement(patching, estimate="estimated", by="set", truth="moved")),
        "moved": None if patching is None else patching[["moved", "share"]].mean().to_dict(),
        "pairs": 0 if patching is None else len(patching),
        "questions": 0 if patching is None else patching["question"].nunique(),
        "prompts": effects["instance"].nunique(),
        "tokens": checks["tokens"],
    }
    return values, figures


def _joint_rows(joint: pd.DataFrame) -> pd.DataFrame:
    """By set: means of what each way of adding up gives, and how far the shares are off."""
    off = (joint["shares"] - joint["joint"]).abs()
    table = joint.groupby("set", sort=False)[["first_order", "gate_exact", "shares", "joint"]]
    means = table.mean()
    whole = joint["joint"].abs().groupby(joint["set"]).sum()
    means["off"] = off.groupby(joint["set"]).sum() / whole
    return means


def _asked_pairs(pairs: pd.DataFrame | None) -> dict[str, int] | None:
    """How many pairs of prompts were looked at, and in how many each prefers its own answer."""
    if pairs is None:
        return None
    decided = pairs[pairs["decided"]]
    return {
        "pairs": len(pairs),
        "questions": pairs["question"].nunique(),
        "decided": len(decided),
        "decided_questions": decided["question"].nunique(),
    }


SECTION = Section("verify", _read, _show)
