"""The tables of the README and of `docs`, as the files in `benchmarks/results` give them.

`python tests/readme_tables.py` prints them, to be put in.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from culnig_tl.analysis.additivity import additivity
from culnig_tl.analysis.texts import duration_text, interval_text, number_text
from culnig_tl.neurons.estimates import ABOUT, VALUES
from culnig_tl.neurons.layout import SITES
from culnig_tl.resampling import p_text
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.stored import stored_study
from culnig_tl.tasks.question_rows import EXAMPLES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STORED = stored_study()
NAMES = {
    "blend": "BLEnD, test categories",
    "countryrc": "CountryRC, test passages",
    "commonsenseqa": "CommonsenseQA",
    "qnli": "QNLI",
    "mrpc": "MRPC",
}
KEPT = ("countryrc", "commonsenseqa", "mrpc", "commonsense", "paraphrase")
NOTHING = "selection-SmolLM2-135M-Instruct"
SHORT = {"blend": "BLEnD", "countryrc": "CountryRC"}


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _read(name: str) -> list[dict]:
    folder = next(f for f in (STORED, RESULTS) if (f / name).is_file())
    return pd.read_csv(folder / name).to_dict("records")


def _tested(row: dict) -> str:
    return p_text(row["p_holm"]) + (" *" if row["significant"] else "")


def notebook_seconds() -> dict[str, float]:
    """What each notebook took, by name."""
    return json.loads((RESULTS / "notebooks.json").read_text())["seconds"]


def notebook_minutes(name: str) -> int:
    """As the README and the notebook's first cell say it."""
    return math.ceil(notebook_seconds()[name] / 60)


def study() -> list[str]:
    """What masking does, against both kinds of random sets."""
    lines = []
    for row, other in zip(_read("study/table.csv"), _read("study/matched.csv"), strict=True):
        cells: list[object] = [NAMES[row["task"]], row["questions"]]
        cells += [number_text(row[name]) for name in ("chance", "original", "masked")]
        for one in (row, other):
            cells.append(f"{number_text(one['random'])} ({number_text(one['random_sd'])})")
            cells += [interval_text(one, "difference"), _tested(one)]
        lines.append(_line(*cells))
    return lines


def ablations() -> list[str]:
    """Accuracy with each ablation of the method."""
    labels = {"chance": "chance", "original": "nothing"}
    return [
        _line(
            labels.get(row["set"], row["set"]),
            row["neurons"] or "",
            *(number_text(row[task]) for task in NAMES),
        )
        for row in _read("study/ablations.csv")
    ]


def parts() -> list[str]:
    """What significantly differs from the whole method."""
    return [
        _line(
            row["set"],
            SHORT.get(row["task"], NAMES[row["task"]]),
            interval_text(row, "difference"),
            p_text(row["p_holm"]),
        )
        for row in _read("study/parts.csv")
        if row["significant"]
    ]


def own() -> list[str]:
    """Whether a country's set hits that country more than others, in points and in nats."""
    sizes = {row["set"]: row for row in _read("study/sets.csv")}
    nats = {row["neurons"]: row for row in _read("study/own_nats.csv")}
    lines = []
    for row in _read("study/own.csv"):
        country = row["neurons"]
        cells: list[object] = [country, sizes[country]["neurons"]]
        cells.append(number_text(sizes[country]["jaccard_halves"], 2))
        for one, digits in ((row, 1), (nats[country], 2)):
            cells += [number_text(one[name], digits) for name in ("reduction", "others")]
            cells.append(
                interval_text(one, "difference", digits) + (" *" if one["significant"] else "")
            )
            cells.append(f"{one['rank']:g}")
        lines.append(_line(*cells))
    own_sizes = pd.DataFrame([sizes[country] for country in nats])
    means: list[object] = [
        f"{own_sizes['neurons'].mean():.0f}",
        number_text(own_sizes["jaccard_halves"].mean(), 2),
    ]
    for rows, digits in ((_read("study/own.csv"), 1), (list(nats.values()), 2)):
        frame = pd.DataFrame(rows)
        means += [
            number_text(frame[name].mean(), digits)
            for name in ("reduction", "others", "difference")
        ]
        means.append(number_text(frame["rank"].mean()))
    return [*lines, _line("mean", *means)]


def stable() -> list[str]:
    """How stable the culture-general set and its ablations are."""
    return [
        _line(
            row["set"],
            row["neurons"],
            *(number_text(row[f"jaccard_{name}"], 2) for name in ("halves", "resamples", "chance")),
        )
        for row in _read("study/sets.csv")
        if row["kind"] in ("general", "ablation")
    ]


def stable_words() -> list[str]:
    """How much of the sets of both halves is common, in words."""
    sets = pd.read_csv(STORED / "study" / "sets.csv").set_index("set")
    general = 100 * sets.loc["culture-general", "jaccard_halves"]
    own = 100 * sets.loc[sets["kind"] == "specific", "jaccard_halves"].mean()
    return [
        f"Of the neurons of either half's set, {general:.0f}% are in both.",
        f"of the neurons that either half of the questions selects {own:.0f}% are in both",
    ]


def methods() -> list[str]:
    """CULNIG's, LAPE's and CAPE's sets."""
    lines = []
    for row in _read("methods/table.csv"):
        lines.append(
            _line(
                row["set"],
                SHORT.get(row["task"], NAMES[row["task"]]),
                number_text(row["original"]),
                number_text(row["masked"]),
                number_text(row["random"]),
                interval_text(row, "difference"),
                _tested(row),
            )
        )
    return lines


def evidence() -> list[str]:
    """False positives of the null studies."""
    found = json.loads((RESULTS / "evidence.json").read_text())
    names = {"correct": "accuracy", "nats": "nats"}
    rates = {(row["metric"], row["resampled"]): row["rejected"] for row in found["null"]}
    return [
        _line(
            names[metric],
            *(f"{100 * rates[metric, unit]:.1f}%" for unit in ("instances", "questions")),
        )
        for metric in names
    ]


def about_estimates() -> list[str]:
    """What each estimate is."""
    return [
        _line(f"`{name}`", about.formula, about.sites, about.passes, about.source)
        for name, about in ABOUT.items()
    ]


SAID = {
    ("first_order", "gate"): "gate, first order",
    ("gate_exact", "gate"): "gate, its own curve exact",
    ("first_order", "q"): "q, first order",
    ("first_order", "k"): "k, first order",
    ("first_order", "v"): "v, first order",
    ("temperature_2", "q"): "q, softmax at twice the temperature",
    ("temperature_2", "k"): "k, softmax at twice the temperature",
    ("frozen_norms", "gate"): "gate, its own curve exact, norms as constants",
    ("frozen_norms", "q"): "q, norms as constants",
    ("score_first_order", "gate"): "gate, the maximum that selects",
    ("score_gate_exact", "gate"): "gate, the same of its own curve",
    ("score_first_order", "q"): "q, the maximum that selects",
}


SECOND = (
    ("first_order", "gate"),
    ("gate_exact", "gate"),
    ("first_order", "q"),
    ("first_order", "k"),
    ("first_order", "v"),
    ("score_first_order", "gate"),
)


def estimates(folder: str = "estimates", keys: Iterable[tuple[str, str]] = SAID) -> list[str]:
    """How well each estimate agrees with the true effect on log P."""
    rows = {(row["estimate"], row["site"]): row for row in _read(f"{folder}/agreement.csv")}
    return [
        _line(
            name,
            f"{rows[key]['effects']:,}",
            *(
                f"{rows[key][what]:.2f} [{rows[key][what + '_low']:.2f}, "
                f"{rows[key][what + '_high']:.2f}]"
                for what in ("pearson", "spearman")
            ),
            *(f"{rows[key][what]:.2f}" for what in ("sign", "slope", "error")),
        )
        for key, name in ((key, SAID[key]) for key in keys)
    ]


def published() -> list[str]:
    """Published statements about such estimates, and whether they hold here."""
    rows = {(row["estimate"], row["site"]): row for row in _read("estimates/agreement.csv")}
    paths = {(row["estimate"], row["site"]): row for row in _read("estimates/paths.csv")}
    negative = [
        row["first_order"]
        for row in _read("estimates/activations.csv")
        if float(row["activation"].strip("(]").split(", ")[1]) <= -0.75
    ]
    first, exact, frozen = (
        rows[estimate, "gate"] for estimate in ("first_order", "gate_exact", "frozen_norms")
    )
    selecting = rows["score_first_order", "gate"]
    q, k = rows["first_order", "q"], rows["first_order", "k"]
    softer, harder = rows["temperature_2", "q"], rows["temperature_2", "k"]
    two = min(paths["integrated_2", site]["spearman"] for site in SITES)
    return [
        _line(
            "n dP/dn approximates what setting n to 0 does (CULNIG, arXiv 2510.08284)",
            "partly",
            f"gates: Spearman {first['spearman']:.2f}, sign right in {100 * first['sign']:.0f}%; "
            f"below -0.75 in {100 * max(negative):.0f}% at most; exact in the gate's own curve "
            f"{exact['spearman']:.2f} and {100 * exact['sign']:.0f}%",
        ),
        _line(
            "its maximum over positions says how much a neuron contributes (the same)",
            "no",
            f"gates: Spearman {selecting['spearman']:.2f}, sign right in "
            f"{100 * selecting['sign']:.0f}%; ranks of means over many questions are another matter",
        ),
        _line(
            "first order fails on q and k where attention is saturated (AtP*, arXiv 2403.00745)",
            "not in rank",
            f"Spearman q {q['spearman']:.2f}, k {k['spearman']:.2f}, sign {100 * q['sign']:.0f}% "
            f"and {100 * k['sign']:.0f}%; effects are underestimated, slope {q['slope']:.2f} and "
            f"{k['slope']:.2f}",
        ),
        _line(
            "effects of opposite sign cancel and hide what matters (the same)",
            "yes",
            "of the true top 100 gates, see the table above",
        ),
        _line(
            "norms as constants make gradients more faithful (RelP, arXiv 2508.21258, of whole "
            "layers' outputs)",
            "no, of single neurons",
            f"gates: Spearman {exact['spearman']:.2f} -> {frozen['spearman']:.2f}",
        ),
        _line(
            "a softer softmax in the backward pass does (GIM, arXiv 2505.17630)",
            "in Pearson, not in rank",
            f"q {q['pearson']:.2f} -> {softer['pearson']:.2f}, k {k['pearson']:.2f} -> "
            f"{harder['pearson']:.2f}; Spearman {q['spearman']:.2f} -> {softer['spearman']:.2f}, "
            f"{k['spearman']:.2f} -> {harder['spearman']:.2f}",
        ),
        _line(
            "integrated gradients need few nodes (arXiv 1703.01365)",
            "yes",
            f"two nodes: Spearman {two:.2f} or more at every site",
        ),
        _line(
            "single effects say what a set does",
            "no",
            f"together {_joint_row()['ratio']:.2f} of the sum",
        ),
    ]


def in_short() -> list[str]:
    """What the README says of all this."""
    rows = {(row["estimate"], row["site"]): row for row in _read("estimates/agreement.csv")}
    first, exact, selecting = (
        rows[estimate, "gate"] for estimate in ("first_order", "gate_exact", "score_first_order")
    )
    return [
        f"first order ranks gates with Spearman {first['spearman']:.2f} and has the sign right in "
        f"{100 * first['sign']:.0f}%",
        f"exact in the gate's own curve it is {exact['spearman']:.2f} and "
        f"{100 * exact['sign']:.0f}%",
        f"its sign is right in {100 * selecting['sign']:.0f}%",
        joint_ratio(),
        top_found(),
    ]


def activations() -> list[str]:
    """How often an estimate's sign is right, by the gate's own activation."""
    lines = []
    for row in _read("estimates/activations.csv"):
        low, high = row["activation"].strip("(]").split(", ")
        where = {"-inf": f"below {high}", "inf": f"above {low}"}
        name = where.get(low if low == "-inf" else high, f"{low} to {high}").replace(".0", "")
        shares = (f"{100 * row[estimate]:.0f}%" for estimate in ("first_order", "gate_exact"))
        lines.append(_line(name, f"{row['effects']:,}", *shares))
    return lines


def joint() -> list[str]:
    """What single effects and the joint path say of a set, beside what it does."""
    frame = pd.read_csv(RESULTS / "estimates" / "joint.csv")
    frame = frame[frame["steps"] == 10]
    off = (frame["shares"] - frame["joint"]).abs().groupby(frame["set"]).sum()
    off /= frame["joint"].abs().groupby(frame["set"]).sum()
    columns = ["first_order", "gate_exact", "singles", "shares", "joint", "floor"]
    means = frame.groupby("set", sort=False)[columns].mean()
    return [
        _line(name, *(f"{value:.2f}" for value in row), f"{100 * off[name]:.1f}%")
        for name, row in means.iterrows()
    ]


def _joint_row() -> pd.Series:
    frame = pd.read_csv(RESULTS / "estimates" / "joint.csv")
    frame = frame[(frame["steps"] == 10) & (frame["set"] == "culture-general")].rename(
        columns={"singles": "singles_nats", "joint": "joint_nats", "floor": "floor_nats"}
    )
    return additivity(frame).iloc[0]


def joint_ratio() -> str:
    """How far the set's effect is from the sum of the single ones, in words."""
    row = _joint_row()
    assert row["reading"] == "in series"
    return (
        f"Masked together they take {row['ratio']:.2f} [{row['ratio_low']:.2f}, "
        f"{row['ratio_high']:.2f}] of what they take one by one: *in series*."
    )


def every_gate() -> list[str]:
    """All gates of single prompts: how each estimate ranked them."""
    return [
        _line(
            number,
            f"`{estimate}`",
            *(f"{values[name]:.2f}" for name in ("pearson", "spearman", "sign", "slope")),
        )
        for number, found in _of_every_gate()
        for estimate, values in found["estimates"].items()
    ]


def top_gates() -> list[str]:
    """How many of the 100 largest true effects are among the highest by an estimate."""
    return [
        _line(number, screen, *(f"{100 * share:.0f}" for share in shares.values()))
        for number, found in _of_every_gate()
        for screen, shares in found["top_found_in_share"].items()
    ]


def top_found() -> str:
    """How many `top_effects` found, in words."""
    found = [found for _, found in _of_every_gate()]
    overlaps = [f"{100 * one['top_effects_overlap']:.0f}" for one in found]
    seconds = max(one["top_effects_seconds"] for one in found)
    assert all(one["top_effects_overlap"] >= 0.95 for one in found)
    return (
        f"`top_effects` found {', '.join(overlaps[:-1])} and {overlaps[-1]} of the true top 100, "
        f"in {seconds:.0f} seconds at most."
    )


def _of_every_gate() -> list[tuple[int, dict]]:
    files = sorted(RESULTS.glob("every-gate-*.json"))
    return [(int(file.stem[-1]), json.loads(file.read_text())) for file in files]


def ranks() -> list[str]:
    """A neuron's rank value over a dataset against the mean of its true effects."""
    return [
        _line(
            row["site"],
            row["neurons"],
            interval_text(row, "spearman", 2),
            interval_text(row, "selected", 3),
            interval_text(row, "others", 3),
            f"{100 * row['right']:.0f}%",
        )
        for row in _read("verify/ranks.csv")
    ]


def areas() -> list[str]:
    """Of the ranked neurons and of random ones: how much is needed, how much is enough."""
    lines = []
    for values in VALUES:
        ranked, random = _read(f"verify/areas-{values}.csv")
        cells = [f"{row[area]:.2f}" for area in ("CPR", "CMD") for row in (ranked, random)]
        lines.append(_line(values, *cells))
    return lines


def selection(
    folder: str = "selection", metric: str = "points", half: str = "confirm"
) -> list[str]:
    """What masking each method's neurons takes on one half, beyond random ones."""
    about = json.loads((RESULTS / folder / "about.json").read_text())
    table = [r for r in _read(f"{folder}/table.csv") if r["half"] == half and r["metric"] == metric]
    rows = {(row["test"], row["method"]): row for row in table}
    digits = 1 if metric == "points" else 2
    lines = []
    for name in dict.fromkeys(row["method"] for row in table):
        found = [rows[test, name] for test in (about["task"], "rest", "specificity")]
        cells = [interval_text(row, "change", digits) for row in found]
        more = found[-1]
        less = f"{interval_text(more, 'less_paper', digits)}, {p_text(more['p_holm'])}"
        paper = name == "first_order"
        called = name.replace("_", " ")
        lines.append(_line(called, about["common"][name], *cells, "" if paper else less))
    return lines


def selection_nats() -> list[str]:
    """The same in nats."""
    return selection(metric="nats")


def selection_of_nothing() -> list[str]:
    """The same of the model that knows nothing of culture."""
    return selection(NOTHING)


def selection_of_nothing_nats() -> list[str]:
    """And in nats."""
    return selection(NOTHING, metric="nats")


def confirmed_words() -> str:
    """What the paper's set does on questions kept apart, in words."""
    about = json.loads((RESULTS / "selection" / "about.json").read_text())
    rows = {
        (row["metric"], row["test"]): row
        for row in _read("selection/table.csv")
        if row["half"] == "confirm" and row["method"] == "first_order"
    }

    def loss(metric: str, test: str, digits: int) -> str:
        row = rows[metric, test]
        low, high = sorted(-row[f"change_{end}"] for end in ("low", "high"))
        return f"{-row['change']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    own = about["task"]
    more = [
        interval_text(rows[metric, "specificity"], "change", digits)
        for metric, digits in (("points", 1), ("nats", 2))
    ]
    return (
        f"On the {rows['points', own]['questions']} questions of `confirm` the {about['neurons']['first_order']} "
        f"neurons cost culture {loss('points', own, 1)} points beyond random, and the rest "
        f"{loss('points', 'rest', 1)} on average; in nats {loss('nats', own, 2)} and "
        f"{loss('nats', 'rest', 2)}. Culture loses {more[0]} points and {more[1]} nats more than the rest."
    )


def winners_words() -> str:
    """Which methods win, on the model and on the one that knows nothing, in words."""
    parts = []
    for folder, model in (("selection", "gemma-3-270m"), (NOTHING, "SmolLM2-135M-Instruct")):
        about = json.loads((RESULTS / folder / "about.json").read_text())
        found = [
            f"in {unit} {', '.join(name.replace('_', ' ') for name in names) or 'none'}"
            for unit, names in about["winners"].items()
        ]
        parts.append(f"on {model} {' and '.join(found)}")
    return f"Winners by the rule above: {'; '.join(parts)}."


def kept() -> list[str]:
    """What each retained test loses with the paper's set and with others."""
    table = [r for r in _read("selection/table.csv") if r["half"] == "confirm"]
    methods = list(dict.fromkeys(row["method"] for row in table))
    rows = {(row["metric"], row["test"], row["method"]): row for row in table}
    lines = []
    for name in methods:
        cells = [interval_text(rows["points", test, name], "change") for test in KEPT]
        lines.append(_line(name.replace("_", " "), *cells))
    return lines


def country_sets() -> list[str]:
    """Whether a country's own set hits it harder than a set as strong hits questions as easy."""
    return [
        _line(
            row["method"].replace("_", " "),
            row["metric"],
            *(number_text(row[name], 2) for name in ("own", "all")),
            interval_text(row, "corrected", 2),
            p_text(row["p"]),
            f"{row['significant']} of 8",
            number_text(row["rank"]),
        )
        for row in _read("country-sets/means.csv")
        if row["half"] == "confirm"
    ]


def country_words() -> str:
    """What country sets do on questions kept apart, in words."""
    about = json.loads((RESULTS / "country-sets" / "about.json").read_text())
    rows = {
        (row["method"], row["metric"]): row
        for row in _read("country-sets/means.csv")
        if row["half"] == "confirm"
    }
    nats, points = rows["first_order", "nats"], rows["first_order", "points"]
    other = rows["contrast", "nats"]
    return (
        f"On `confirm` ({about['questions a country']['confirm']} questions a country) a country's "
        f"own set costs it {interval_text(nats, 'corrected', 2)} nats more than a set as strong "
        f"takes from questions as easy (p {p_text(nats['p'])}), and its own country ranks "
        f"{nats['rank']:.1f} of 8 on average; {nats['significant']} of 8 sets are significant one "
        f"by one. In points it is {interval_text(points, 'corrected')}, which shows nothing. "
        f"Contrast does no better: {interval_text(other, 'corrected', 2)} nats, "
        f"{other['significant']} of 8."
    )


def nothing_words() -> str:
    """How much the second model knows, in words."""
    found = [
        f"{row['original']:.1f}"
        for row in _read(f"{NOTHING}/table.csv")
        if row["test"] == "blend" and row["method"] == "first_order" and row["metric"] == "points"
    ]
    return f"it answers {' and '.join(found)}% of the two halves"


def own_examples() -> list[str]:
    """What masking does in the studies of the two files that come with the package."""
    return [
        _line(
            row["task"],
            row["questions"],
            *(number_text(row[name]) for name in ("chance", "original", "masked")),
            f"{number_text(row['random'])} ({number_text(row['random_sd'])})",
            interval_text(row, "difference"),
            _tested(row),
        )
        for name in EXAMPLES
        for row in _read(f"own-questions/{name}/table.csv")
    ]


def own_words() -> list[str]:
    """What their groups' own sets do, and how long they took, in words."""
    said = []
    for name in EXAMPLES:
        about = json.loads((RESULTS / "own-questions" / name / "study.json").read_text())
        own = _read(f"own-questions/{name}/own_nats.csv")
        first = [row for row in own if row["corrected_rank"] == 1]
        sure = [row for row in own if row["p_corrected"] < 0.05]
        sets = pd.read_csv(RESULTS / "own-questions" / name / "sets.csv").set_index("set")
        kept = 100 * sets.loc["culture-general", "jaccard_halves"]
        asked = about["questions"]
        said += [
            f"`{name}` ({len(own)} groups, {asked['neuron'] + asked['own test']} questions)",
            f"{len(first)} of {len(own)} are hit hardest by their own set, "
            f"{len(sure)} with p below 0.05",
            f"{about['seconds'] / 60:.0f} minutes",
            f"{kept:.0f}% of the neurons are in the sets of both halves",
        ]
    return said


def wider_words() -> str:
    """How much one question asked of many countries is, in words."""
    found = json.loads((RESULTS / "selection" / "about.json").read_text())["wider by topics"]
    return (
        f"the interval is {found['points']:.1f} times as wide in points and {found['nats']:.1f} "
        "times in nats"
    )


def second_model() -> list[str]:
    """The estimates on the second model."""
    return estimates("estimates-SmolLM2-135M-Instruct", SECOND)


def second_words() -> str:
    """What is the same on the second model, and what is not, in words."""
    folder = "estimates-SmolLM2-135M-Instruct"
    rows = {(row["estimate"], row["site"]): row for row in _read(f"{folder}/agreement.csv")}
    other = {(row["estimate"], row["site"]): row for row in _read("estimates/agreement.csv")}
    below, between, *_ = (row["first_order"] for row in _read(f"{folder}/activations.csv"))
    first, exact = rows["first_order", "gate"], rows["gate_exact", "gate"]
    slopes = [
        f"{table['first_order', 'q']['slope']:.2f} and {table['first_order', 'k']['slope']:.2f}"
        for table in (rows, other)
    ]
    return (
        f"A gate's own curve exact is better here too: Spearman {first['spearman']:.2f} -> "
        f"{exact['spearman']:.2f}, the sign right in {100 * first['sign']:.0f}% -> "
        f"{100 * exact['sign']:.0f}%. SiLU turns at -1.28 and GELU at -0.75: below -2 first "
        f"order's sign is right in {100 * below:.0f}%, from -2 to -0.75 in {100 * between:.0f}%. "
        f"What it says of q and k is too much here, slopes {slopes[0]}, and too little on "
        f"gemma-3-270m, {slopes[1]}: no factor mends it."
    )


def paper_models() -> list[str]:
    """What the paper's six models take."""
    found = json.loads((RESULTS / "paper-models.json").read_text())["studies"]
    lines = []
    for name, model in PAPER_MODELS.items():
        costs = {study: found[study]["models"][name] for study in found}
        cells = [f"`{name}`", f"{costs['paper']['parameters'] / 1e9:.1f} B"]
        cells += [f"{costs['paper'][what] / 2**30:.0f} GiB" for what in ("weights", "memory")]
        cells += [duration_text(cost["seconds_h100"]) for cost in costs.values()]
        lines.append(_line(*cells, "gated" if model.gated else "open"))
    return lines


def paper_commands() -> list[str]:
    """How each of the six is run on BLEnD."""
    found = json.loads((RESULTS / "paper-models.json").read_text())["studies"]
    options = found["blend"]["options"]
    return [
        f"culnig run --model {name} {options} --out runs/{name.split('/')[1]}"
        for name in PAPER_MODELS
    ]


def speed(name: str) -> dict[str, float]:
    """The ratios of a benchmark by name of the target."""
    found = json.loads((RESULTS / name).read_text())
    return {target["name"]: target["ratio"] for target in found["targets"]}


TABLES = (
    study,
    stable,
    ablations,
    parts,
    own,
    methods,
    evidence,
    about_estimates,
    estimates,
    activations,
    joint,
    every_gate,
    top_gates,
    ranks,
    areas,
    own_examples,
    selection,
    selection_nats,
    kept,
    selection_of_nothing,
    selection_of_nothing_nats,
    country_sets,
    second_model,
    published,
    paper_models,
    paper_commands,
)

if __name__ == "__main__":
    import sys

    for table in TABLES:
        sys.stdout.write("\n".join([f"# {table.__name__}", *table(), ""]))
