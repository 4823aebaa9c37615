"""What the columns of a report's tables are called there, and what they are: its glossary."""

from collections.abc import Sequence

COLUMNS: dict[str, tuple[str, str]] = {
    "set": ("set", "the neurons that were masked; a random set has as many"),
    "kind": ("kind", "how the set was chosen: by its scores, at random, or for one group"),
    "neurons": ("neurons", "how many the set has, or whose set it is"),
    "gate": ("gate", "neurons of the MLPs' gates"),
    "q": ("q", "neurons of the attention heads' queries"),
    "k": ("k", "neurons of the attention heads' keys"),
    "v": ("v", "neurons of the attention heads' values"),
    "jaccard_halves": (
        "same on both halves",
        "how much is common to the sets that the two halves of the questions select: 1 is all",
    ),
    "jaccard_resamples": (
        "same on resamples",
        "how much is common to the sets that bootstrap resamples of the questions select",
    ),
    "jaccard_chance": ("same by chance", "how much two random sets of that size have in common"),
    "task": ("test", "what was asked"),
    "items": ("items", "prompts, with all templates and groups of a question"),
    "questions": (
        "questions",
        "different questions: one that is asked in several ways, or of several groups, counts once",
    ),
    "chance": ("chance", "what guesses score"),
    "original": ("original", "nothing masked"),
    "masked": ("masked", "with the set's neurons set to 0, or multiplied by the run's factor"),
    "random": ("random", "with as many random neurons masked, mean over the sets"),
    "accuracy": ("accuracy", "percent of the answers that are right"),
    "reduction": ("lost", "what masking takes, in points of accuracy, or in nats of ln P(answer)"),
    "others": ("others lose", "the same, mean over the other groups' questions"),
    "difference": (
        "difference",
        "in points; in brackets its 95% interval over drawn questions",
    ),
    "p": ("p", "how often resamples of the questions show no such difference"),
    "p_holm": ("p, corrected", "after Holm's correction for all tests of the table"),
    "significant": ("significant", "p, corrected, is below 0.05, on 30 questions or more"),
    "rank": ("rank", "of the own group among all: 1 is hit hardest"),
    "related_rank": ("rank of related", "mean rank of countries with a common language or border"),
    "corrected": (
        "beyond strength",
        "what the own group loses beyond what a set as strong takes from questions as easy",
    ),
    "p_corrected": ("p beyond strength", "of that, after Holm's correction"),
    "corrected_rank": ("rank beyond strength", "of the own group by that value"),
    "published_rank": (
        "rank, published",
        "mean over the paper's six models (arXiv 2510.08284, Table 15)",
    ),
    "published_neurons": ("neurons, published", "of this model (arXiv 2510.08284, Table 14)"),
    "t": ("t", "share of gate neurons that was selected"),
    "r": ("r", "share that the filter of names takes out"),
    "dtype": ("dtype", "number format of the model"),
    "shared": ("shared", "neurons that are also in the run's own set"),
    "overlap": ("overlap %", "the same as a share of the run's own set"),
    "spearman_mlp": ("Spearman, MLP", "rank correlation of all gate neurons' values"),
    "spearman_attention": ("Spearman, attention", "the same of the attention neurons"),
}


class Labels:
    """Names columns for readers, and remembers which it named, for the glossary."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def label(self, name: object) -> str:
        """What a column is called; one that is not known, without its underscores."""
        key = str(name)
        self._used.add(key)
        return COLUMNS[key][0] if key in COLUMNS else key.replace("_", " ")

    def glossary(self) -> Sequence[tuple[str, str]]:
        """The columns that were named and are explained, in the order of `COLUMNS`."""
        return [about for name, about in COLUMNS.items() if name in self._used]
