"""Files as they are found: read as they were meant, or refused in one line with the row."""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from benchmark_rows import (
    QUESTIONS,
    ROWS,
    blend_row,
    everyday_row,
    qnli_row,
    some_survey,
    survey,
)

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks import load_task
from culnig_tl.tasks.short_questions import load_short_questions

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123456\n"


@dataclass(frozen=True)
class Loader:
    """One reader of tables: rows that it takes, its id, a column of text, where its file lies."""

    rows: Callable[[], list[dict]]
    key: str | None
    text: str
    load: Callable[[Path], object]
    suffixes: tuple[str, ...] = (".csv", ".tsv", ".json", ".jsonl", ".parquet")

    def file(self, folder: Path, suffix: str) -> Path:
        return folder / f"mine{suffix}"


@dataclass(frozen=True)
class InFolder(Loader):
    """A file among others, which `prepare` writes."""

    name: str = ""
    prepare: Callable[[Path], object] = print

    def file(self, folder: Path, suffix: str) -> Path:
        self.prepare(folder)
        path = folder / f"{self.name}{suffix}"
        path.unlink(missing_ok=True)
        return path


def task(name: str, split: str = "test", countries=None) -> Callable[[Path], object]:
    return lambda path: load_task(name, split, groups=countries, data=path, templates=1)


def four(columns: str, count: int = 4) -> list[dict]:
    names = columns.split()
    return [{name: f"{name} number {row}" for name in names} for row in range(count)]


def blend_questions(folder: Path) -> None:
    (folder / "questions").mkdir(exist_ok=True)
    pd.DataFrame(QUESTIONS).to_csv(folder / "questions" / "US_questions.csv", index=False)


def annotations(folder: Path) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "prompts").mkdir(exist_ok=True)
    text = json.dumps({"A-1": ANNOTATION, "A-2": ANNOTATION})
    (folder / "annotations" / "Spain_data.json").write_text(text)


ANNOTATION = {
    "question": "¿Qué se bebe?",
    "en_question": "What is drunk?",
    "annotations": [{"answers": ["vino"], "en_answers": ["wine"], "count": 2}],
}
LOADERS = {
    **{
        name: Loader(
            lambda row=row: [row(i) for i in range(4)],
            {"culturalbench": "data_idx", "normad": "ID", "commonsenseqa": "id"}.get(name, "idx"),
            {"culturalbench": "prompt_question", "normad": "Story", "mrpc": "sentence1"}.get(
                name, "question"
            ),
            task(name),
        )
        for name, row in ROWS.items()
    },
    "everyday": Loader(
        lambda: [everyday_row(i, Mexico="cake") for i in range(1, 5)],
        "id",
        "question",
        task("everyday", "neuron", ["Spain", "UK"]),
    ),
    "commonsense": Loader(
        lambda: four("id question answer wrong_1 wrong_2 wrong_3"),
        "id",
        "question",
        task("commonsense"),
    ),
    "paraphrase": Loader(
        lambda: four("id sentence paraphrase"), "id", "sentence", task("paraphrase")
    ),
    "blend": InFolder(
        lambda: [blend_row(i) for i in range(4)],
        "MCQID",
        "prompt",
        lambda path: task("blend", "neuron")(path.parent),
        name="multiple_choice",
        prepare=blend_questions,
    ),
    "blend's topics": InFolder(
        lambda: [{"ID": f"Al-{i}", "Topic": "Food"} for i in range(1, 5)],
        "ID",
        "Topic",
        lambda path: task("blend", "neuron")(path.parents[1]),
        (".csv",),
        name="questions/US_questions",
        prepare=lambda folder: (
            blend_questions(folder),
            pd.DataFrame([blend_row(i) for i in range(4)]).to_csv(
                folder / "multiple_choice.csv", index=False
            ),
        ),
    ),
    "wordings": InFolder(
        lambda: four("id English Translation"),
        None,
        "Translation",
        lambda path: load_short_questions(countries=["Spain"], data=path.parents[1]),
        (".csv",),
        name="prompts/Spain_prompts",
        prepare=annotations,
    ),
    "participants": InFolder(
        lambda: [{"D_INTERVIEW": 1000 + i, "B_COUNTRY": "Spain"} for i in range(21)],
        "D_INTERVIEW",
        "B_COUNTRY",
        lambda path: task("worldvaluesbench")(path.parent),
        (".tsv",),
        name="full_demographic_qa",
        prepare=some_survey,
    ),
    "answers": InFolder(
        lambda: [{"D_INTERVIEW": 1000 + i, "Q1": 1, "Q2": 2, "Q48": 3} for i in range(21)],
        "D_INTERVIEW",
        "Q1",
        lambda path: task("worldvaluesbench")(path.parent),
        (".tsv",),
        name="full_value_qa",
        prepare=some_survey,
    ),
}


def as_text(rows: list[dict], suffix: str) -> str:
    if suffix == ".json":
        return json.dumps(rows)
    if suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    cells = [[x if isinstance(x, str) else json.dumps(x) for x in row.values()] for row in rows]
    records = [list(rows[0]), *cells]
    if suffix == ".tsv":
        lines = ["\t".join(c.replace("\n", " ") for c in record) for record in records]
        return "".join(line + "\n" for line in lines)
    quoted = [[f'"{x.replace(chr(34), chr(34) * 2)}"' for x in record] for record in records]
    return "".join(",".join(record) + "\n" for record in quoted)


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text(as_text(rows, path.suffix), encoding="utf-8", newline="")
    return path


def where(*suffixes: str, but: tuple[str, ...] = ()):
    """Each loader with two of these kinds of file that it takes, in turn: each kind comes often."""
    pairs = []
    for number, (name, loader) in enumerate(LOADERS.items()):
        taken = [suffix for suffix in suffixes if suffix in loader.suffixes and name not in but]
        start = number % max(1, len(taken))
        pairs += [(name, suffix) for suffix in (taken[start:] + taken[:start])[:2]]
    return pytest.mark.parametrize(("name", "suffix"), pairs)


def refused(name: str, path: Path, message: str) -> None:
    with pytest.raises(CulnigError, match=message) as caught:
        LOADERS[name].load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


# What is read as it was meant

SAME: dict[str, Callable[[str], bytes]] = {
    "a byte-order mark": lambda text: text.encode("utf-8-sig"),
    "two of them": lambda text: b"\xef\xbb\xbf" + text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "Windows's line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "an old Mac's line ends": lambda text: text.replace("\n", "\r").encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "empty last lines": lambda text: (text + "\n  \n\n").encode(),
}


@where(".csv", ".tsv", ".json", ".jsonl")
def test_the_same_text_in_other_bytes(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = loader.file(tmp_path, suffix)
    expected = loader.load(write(path, loader.rows()))
    text = path.read_bytes().decode()
    for kind, change in SAME.items():
        path.write_bytes(change(text))
        assert loader.load(path) == expected, kind


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet")
def test_names_of_columns_and_suffixes_in_other_letters(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = loader.file(tmp_path, suffix)
    expected = loader.load(write(path, loader.rows()))
    rows = [{f" {key.upper()} ": cell for key, cell in row.items()} for row in loader.rows()]
    assert loader.load(write(path, rows)) == expected
    if not isinstance(loader, InFolder):
        shouting = path.rename(path.with_suffix(suffix.upper()))
        assert loader.load(shouting) == expected


STRANGE = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\u00a0j"


FIXED = ("blend's topics", "answers", "participants")  # whose cells are of a fixed set


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet", but=FIXED)
def test_other_separators_are_no_line_ends(tmp_path, name, suffix):
    loader = LOADERS[name]
    rows = loader.rows()
    rows[1][loader.text] = rows[1][loader.text].replace(" ", f" {STRANGE} ", 1)
    found = loader.load(write(loader.file(tmp_path, suffix), rows))
    # As the rows that are one change away from the plain ones say.
    rows[1][loader.text] = rows[1][loader.text].replace(STRANGE, "PLAIN")
    plain = loader.load(write(loader.file(tmp_path, suffix), rows))
    assert repr(found).replace(repr(STRANGE)[1:-1], "PLAIN") == repr(plain)
    assert "PLAIN" in repr(plain) or name == "wordings"


@where(".csv", ".json", ".jsonl", ".parquet", but=(*FIXED, "blend"))
def test_a_lone_carriage_return_is_a_line_feed(tmp_path, name, suffix):
    loader = LOADERS[name]
    rows = loader.rows()
    for row in rows:
        row[loader.text] = row[loader.text].replace(" ", "\r", 1)
    found = loader.load(write(loader.file(tmp_path, suffix), rows))
    for row in rows:
        row[loader.text] = row[loader.text].replace("\r", "\n")
    assert found == loader.load(write(loader.file(tmp_path, suffix), rows))
    assert "\\r" not in repr(found)


def options_of(tmp_path: Path, suffix: str, *options: object) -> set[str]:
    """The options of a question with these, read from a file of this kind."""
    names = ("answer", "wrong_1", "wrong_2", "wrong_3")
    row = {"id": 1, "question": "Which?"} | dict(zip(names, options, strict=True))
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([row, row.values()])
    else:
        write(path, [row])
    (found,) = load_task("commonsense", "test", data=path)
    return set(found.options)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "words",
    [
        ("None", "NA", "nan", "null"),
        ("N/A", "NaN", "-inf", "#N/A"),
        ("1990.0", "007", "1e5", "1,000"),
        ("2020-01-01", "True", "yes", "12:30"),
        ("123456789012345678901234567890", "0x10", "٣", "1_000"),
    ],
)
def test_words_stay_as_they_are(tmp_path, suffix, words):
    assert options_of(tmp_path, suffix, *words) == set(words)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_numbers_as_text(tmp_path, suffix):
    given = (1990, 1990.5, 1991.0, 9007199254740993)
    assert options_of(tmp_path, suffix, *given) == {"1990", "1990.5", "1991", "9007199254740993"}


def test_numbers_beside_an_empty_cell_stay_whole(tmp_path):
    # pandas writes such a column with decimals.
    rows = [everyday_row(i, Mexico=1500 + i, Iran=None if i == 2 else 1400 + i) for i in (1, 2, 3)]
    for suffix in (".parquet", ".json"):
        path = tmp_path / f"mine{suffix}"
        frame = pd.DataFrame(rows)
        assert frame["Iran"].dtype == float
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_json(path, orient="records")
        found = load_task("everyday", "neuron", groups=["Iran", "Mexico"], data=path)
        assert {i.id: i.answer_text for i in found} == {
            "q1/Iran": "1401",
            "q3/Iran": "1403",
            **{f"q{i}/Mexico": str(1500 + i) for i in (1, 2, 3)},
        }


def test_columns_with_dates_in_their_names_are_text(tmp_path):
    # pandas.read_json makes moments of such columns.
    rows = [qnli_row(i, date="1990", asked_at=631152000, question="1990-01-01") for i in range(2)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = load_task("qnli", "test", data=tmp_path / "a.json", templates=1)
    assert all("Question: 1990-01-01\n" in i.cloze for i in found)


@pytest.mark.parametrize("name", ["qnli", "mrpc"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "labels",
    [(0, 1), (0.0, 1.0), (False, True), ("0.0", "1.0"), ("False", "TRUE"), "names"],
)
def test_labels_in_every_spelling(tmp_path, name, suffix, labels):
    if labels == "names":
        names = {"qnli": ("entailment", "not_entailment"), "mrpc": ("not_equivalent", "equivalent")}
        labels = names[name]
    rows = [ROWS[name](i, label=label) for i, label in enumerate(labels)]
    found = load_task(name, "test", data=write(tmp_path / f"a{suffix}", rows), templates=1)
    assert [i.answer for i in found] == [0, 1]
    assert [i.id for i in found] == ["0", "1"]


def test_numbers_with_decimals_as_ids_and_labels(tmp_path):
    rows = [qnli_row(i, idx=float(i), label=float(i % 2)) for i in range(3)]
    pd.DataFrame([*rows, qnli_row(3)]).to_parquet(tmp_path / "a.parquet")
    found = load_task("qnli", "test", data=tmp_path / "a.parquet", templates=1)
    assert [(i.id, i.answer) for i in found] == [("0", 0), ("1", 1), ("2", 0), ("3", 0)]


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "yes", "equivalent"])
def test_other_labels_are_refused(tmp_path, label):
    rows = [qnli_row(0), qnli_row(1, label=label)]
    with pytest.raises(CulnigError, match=rf"row 2: label '{label}' is neither 0 nor 1"):
        load_task("qnli", "test", data=write(tmp_path / "a.csv", rows))


def test_every_type_that_parquet_has(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = pa.array(["a b", "c d", "e f", "a b"])
    table = pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int8()),
            "sentence": words.dictionary_encode(),
            "paraphrase": pa.array(["p", "q", "r", "s"], pa.large_string()),
            "unused": pa.array([[1], [], None, [2]]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = load_task("paraphrase", "test", data=tmp_path / "a.parquet")
    assert [i.id for i in found] == ["1", "2", "3", "4"]
    assert [i.cloze.split("\n")[0] for i in found] == [
        f"Sentence: {word}" for word in words.to_pylist()
    ]
    frame = pd.DataFrame(four("id sentence paraphrase"))
    frame["sentence"] = frame["sentence"].astype("category")
    frame.set_index("id").to_parquet(tmp_path / "b.parquet")  # the index is a column of its own
    assert len(load_task("paraphrase", "test", data=tmp_path / "b.parquet")) == 4
    frame[::-1].to_parquet(tmp_path / "c.parquet")  # and here one without a name
    assert len(load_task("paraphrase", "test", data=tmp_path / "c.parquet")) == 4
    frame["sentence"] = pd.date_range("2020-01-01 10:30", periods=4)
    frame.to_parquet(tmp_path / "d.parquet")
    with pytest.raises(CulnigError, match=r"d\.parquet, row 1: column 'sentence' is not text"):
        load_task("paraphrase", "test", data=tmp_path / "d.parquet")


def test_json_by_columns_and_lines_named_json(tmp_path):
    frame = pd.DataFrame([qnli_row(i) for i in range(3)])
    expected = load_task(
        "qnli", "test", data=write(tmp_path / "a.jsonl", [*map(qnli_row, range(3))])
    )
    for i, text in enumerate(
        [
            frame.to_json(),
            json.dumps(frame.to_dict("list"), indent=1),
            frame.to_json(orient="records", lines=True),
        ]
    ):
        (tmp_path / f"{i}.json").write_text(text)
        assert load_task("qnli", "test", data=tmp_path / f"{i}.json") == expected
    (tmp_path / "list.jsonl").write_text(frame.to_json(orient="records"))
    assert load_task("qnli", "test", data=tmp_path / "list.jsonl") == expected
    two = "".join("\ufeff" + json.dumps(qnli_row(i)) + "\n" for i in range(3))
    (tmp_path / "two.jsonl").write_text(two, encoding="utf-8")  # files put together
    assert load_task("qnli", "test", data=tmp_path / "two.jsonl") == expected


# GLUE's own files: a quote is a character

GLUE = (
    "index\tquestion\tsentence\tlabel\n"
    '0\t"Who said so?\tIt was he.\tentailment\n'
    '1\tWhat is 5"?\tHe said "no" and "yes.\tnot_entailment\n'
    '2\tWho?"\t"Twelve"\tentailment\n'
    '3\t"\t""\tnot_entailment\n'
)


def test_unclosed_quotes_in_a_tsv(tmp_path):
    (tmp_path / "dev.tsv").write_text(GLUE)
    found = load_task("qnli", "test", data=tmp_path / "dev.tsv", templates=1)
    lines = [line.split("\t") for line in GLUE.splitlines()[1:]]
    assert [i.id for i in found] == ["0", "1", "2", "3"]
    assert [i.answer for i in found] == [0, 1, 0, 1]
    for instance, (_, question, sentence, _) in zip(found, lines, strict=True):
        assert instance.cloze.startswith(f"Sentence: {sentence}\nQuestion: {question}\n")


def test_quotes_that_close_rows_later_take_none(tmp_path):
    # Read with quotes, each pair of lines is one row of as many fields.
    lines = [f'{2 * i}\t"who\tsent\t0\n{2 * i + 1}\twhat"\tsent\t1\n' for i in range(50)]
    (tmp_path / "a.tsv").write_text("idx\tquestion\tsentence\tlabel\n" + "".join(lines))
    found = load_task("qnli", "test", data=tmp_path / "a.tsv", templates=1)
    assert [i.id for i in found] == [str(i) for i in range(100)]
    assert [i.answer for i in found] == [0, 1] * 50


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_a_tsv_written_with_quotes(tmp_path, quoting):
    rows = [qnli_row(0, question='Who said "no"?'), qnli_row(1, sentence='"All of it"')]
    expected = load_task("qnli", "test", data=write(tmp_path / "a.jsonl", rows))
    pd.DataFrame(rows).to_csv(tmp_path / "a.tsv", sep="\t", index=False, quoting=quoting)
    assert load_task("qnli", "test", data=tmp_path / "a.tsv") == expected


def test_a_cell_that_is_a_citation_keeps_its_quotes(tmp_path):
    rows = [qnli_row(0, sentence='"All of it"'), qnli_row(1)]
    found = load_task("qnli", "test", data=write(tmp_path / "a.tsv", rows), templates=1)
    assert 'Sentence: "All of it"\n' in found[0].cloze


# What is refused, with its row

REFUSED: dict[str, tuple[Callable[[str], bytes], str]] = {
    "Latin-1": (
        lambda text: text.encode() + b"caf\xe9",
        r"is not text in utf-8: byte 0xe9 in line \d+; save it as UTF-8",
    ),
    "UTF-16 without a mark": (
        lambda text: text.encode("utf-16-le"),
        "is not text in utf-8: a NUL character in line 1; save it as UTF-8",
    ),
    "a Git LFS pointer": (lambda text: LFS, "is a Git LFS pointer, .*: run 'git lfs pull'"),
    "gzip": (lambda text: gzip.compress(text.encode()), "is compressed or a spreadsheet: unpack"),
    "a spreadsheet": (lambda text: b"PK\x03\x04" + text.encode(), "is compressed or a spreadsheet"),
    "empty": (lambda text: b"", r"cannot parse .*: it is empty; is it a \w+ file\?"),
    "only a byte-order mark": (lambda text: b"\xef\xbb\xbf", "cannot parse .*: it is empty"),
    "only blank lines": (lambda text: b"\n  \n\r\n", "cannot parse .*: it is empty"),
}


@where(".csv", ".tsv", ".json", ".jsonl")
def test_text_that_is_none(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = write(loader.file(tmp_path, suffix), loader.rows())
    text = path.read_bytes().decode()
    for change, message in REFUSED.values():
        path.write_bytes(change(text))
        refused(name, path, message)


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet")
def test_a_folder_in_place_of_a_file(tmp_path, name, suffix):
    path = LOADERS[name].file(tmp_path, suffix)
    path.mkdir()
    refused(name, path, "is a folder: give a file")


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet", but=("wordings",))
def test_an_id_twice(tmp_path, name, suffix):
    loader = LOADERS[name]
    rows = loader.rows()
    rows[3][loader.key] = rows[1][loader.key]
    path = write(loader.file(tmp_path, suffix), rows)
    refused(name, path, r", row 4: .* is that of row 2 too; keep one, or give it another")


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet", but=("answers",))
def test_an_empty_cell(tmp_path, name, suffix):
    loader = LOADERS[name]
    for cell in ("", " ") if suffix in (".csv", ".tsv") else ("", " ", None):
        rows = loader.rows()
        rows[2][loader.text] = cell
        path = write(loader.file(tmp_path, suffix), rows)
        refused(name, path, rf", row 3: column '{loader.text}' is empty; fill it or drop it")


@where(".csv", ".tsv")
def test_lines_that_do_not_go_with_the_header(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = loader.file(tmp_path, suffix)
    text = as_text(loader.rows(), suffix)
    separator, width = "\t" if suffix == ".tsv" else ",", len(loader.rows()[0])
    header, _, rest = text.partition("\n")
    if name != "blend" or suffix == ".tsv":  # whose rows have several lines
        first, _, rest = rest.partition("\n")
        path.write_text(f"{header}\n\n{first}{separator}more\n{rest}")
        message = rf"row 1 \(line 3\) has {width + 1} fields, and the header {width}; is it a"
        refused(name, path, message)
    path.write_text(f"{text}1\n")
    refused(name, path, rf"row {len(loader.rows()) + 1} \(line \d+\) has 1 fields, and the header")
    path.write_text(f"{header}\n")
    refused(name, path, "has no rows: give one or more")
    path.write_text(text.replace(header, f"{header}{separator}{header.split(separator)[0]}", 1))
    refused(name, path, r"cannot parse .*(row 1 \(line 2\) has|is there twice)")


@where(".csv", ".tsv", ".json", ".jsonl", ".parquet")
def test_a_column_twice(tmp_path, name, suffix):
    loader = LOADERS[name]
    rows = [row | {f" {loader.text} ": row[loader.text]} for row in loader.rows()]
    path = write(loader.file(tmp_path, suffix), rows)
    refused(name, path, f"column '{loader.text}' is there twice: keep one")


@where(".csv")
def test_quotes_that_do_not_close_in_a_csv(tmp_path, name, suffix):
    loader = LOADERS[name]
    path, row = loader.file(tmp_path, suffix), len(loader.rows()) + 1
    for end in ('"never closed', '"closed" and more,"x"', "a\rb"):
        path.write_text(as_text(loader.rows(), suffix) + end + "\n")
        refused(name, path, rf"cannot parse .*row {row} \(line \d+\): .*; is it a csv file\?")


@where(".parquet")
def test_a_broken_parquet(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = write(loader.file(tmp_path, suffix), loader.rows())
    for content in (path.read_bytes()[:-100], b"", b"id,question\n"):
        path.write_bytes(content)
        refused(name, path, "cannot parse .*is it a parquet file")
    path.write_bytes(LFS)
    refused(name, path, "Git LFS pointer")


JSON_FAULTS = {
    "deep": ("[" * 100_000, "it is nested too deep"),
    "deep objects": ('{"a":' * 100_000, "it is nested too deep"),
    "a number": ("7", "it must be a list of objects, one a row|row 1 is not an object"),
    "a text": ('"id"', "it must be a list of objects|row 1 is not an object"),
    "a list of lists": ('[["id"], [1]]', "row 1 is not an object"),
    "an object": ('{"id": 1, "question": "x"}', "one object, and a list|has no column"),
    "no rows": ("[]", "has no column|has no rows"),
    "cut off": ('[{"id": 1}, {"id"', "cannot parse"),
    "a trailing comma": ('[{"id": 1},]', "cannot parse"),
    "a key twice": ('[{"id": 1, "id": 2}]', "it holds the key 'id' twice in one object"),
    "thousands of digits": (f'[{{"id": {"9" * 5000}}}]', "a number of thousands of digits"),
    "half a character": ('[{"id": "\\ud83d"}]', "it holds half of a character"),
}


@where(".json", ".jsonl")
def test_json_of_another_form(tmp_path, name, suffix):
    path = LOADERS[name].file(tmp_path, suffix)
    for content, message in JSON_FAULTS.values():
        path.write_text(content)
        refused(name, path, message)


@where(".jsonl")
def test_a_broken_line_of_json(tmp_path, name, suffix):
    loader = LOADERS[name]
    path = loader.file(tmp_path, suffix)
    lines = as_text(loader.rows(), suffix).splitlines()
    for change in ("{} ,", "{}x", "[]", "{}{}"):
        broken = [*lines[:2], change.replace("{}", lines[2], 1), lines[3]]
        path.write_text("\n".join(broken))
        refused(name, path, "line 3: |row 3 is not an object")


NO_TEXT = [
    (1e19, "is a number too large to be exact; write it as text"),
    (float("inf"), "is a number too large"),
    ("a\0b", "holds a NUL or half of a character; take it out"),
    (["a"], "is not text; mend it"),
    ({"a": 1}, "is not text; mend it"),
]


@where(".json", ".jsonl")
def test_cells_that_are_no_text(tmp_path, name, suffix):
    loader = LOADERS[name]
    for cell, fault in NO_TEXT:
        rows = loader.rows()
        rows[2][loader.key] = cell
        path = write(loader.file(tmp_path, suffix), rows)
        refused(name, path, rf", row 3: column '{loader.key}' {fault}")


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".csv.gz", r"its name must end in \.csv, .*; unpack it first"),
        (".xlsx", r"its name must end in \.csv, "),
    ],
)
def test_other_suffixes(tmp_path, suffix, message):
    (tmp_path / f"mine{suffix}").write_bytes(b"x")
    refused("qnli", tmp_path / f"mine{suffix}", message)


@pytest.mark.parametrize("path", ["x" * 300 + ".csv", "no\0thing.csv", "loop.csv"])
def test_paths_that_are_none(tmp_path, path):
    if path == "loop.csv":
        (tmp_path / path).symlink_to(tmp_path / path)
    with pytest.raises(CulnigError, match="no file .*: check the path given as data"):
        load_task("qnli", "test", data=tmp_path / path)


# Options in nested cells


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (None, "is empty; fill it"),
        (" ", "is empty"),
        (["x"], "is not text"),
        (float("inf"), "is a"),
    ],
)
@pytest.mark.parametrize("name", ["blend", "commonsenseqa"])
def test_options_that_are_none(tmp_path, name, cell, fault):
    loader = LOADERS[name]
    rows = loader.rows()
    if name == "blend":
        choices = json.dumps(dict(zip("ABCD", [cell, "b", "c", "d"], strict=True)))
    else:
        choices = {"label": list("ABCDE"), "text": [cell, "b", "c", "d", "e"]}
    rows[2]["choices"] = choices
    path = write(loader.file(tmp_path, ".jsonl"), rows)
    refused(name, path, rf", row 3: an? \w+ in 'choices' {fault}")


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("blend", '{"A": "a", "A": "b", "C": "c"}', "'choices' is not JSON like"),
        ("blend", "[" * 100_000, "'choices' is not JSON like"),
        ("commonsenseqa", '{"label": "ABCDE", "text": "vwxyz"}', "'choices' is not like"),
        ("commonsenseqa", "[" * 100_000, "'choices' is not like"),
        (
            "commonsenseqa",
            json.dumps({"label": list("AACDE"), "text": list("vwxyz")}),
            "'choices' has the labels .*; make them different",
        ),
    ],
)
def test_choices_of_another_form(tmp_path, name, choices, message):
    loader = LOADERS[name]
    rows = loader.rows()
    rows[2]["choices"] = choices
    refused(name, write(loader.file(tmp_path, ".csv"), rows), rf", row 3: {message}")


@pytest.mark.parametrize("name", ["blend", "commonsenseqa"])
def test_numbers_and_words_in_choices(tmp_path, name):
    loader = LOADERS[name]
    rows = loader.rows()[:1]
    cells = [1990, "None", 1991.0, True, "null"][: 4 if name == "blend" else 5]
    letters = "ABCDE"[: len(cells)]
    choices = (
        dict(zip(letters, cells, strict=True))
        if name == "blend"
        else {"label": list(letters), "text": cells}
    )
    rows[0]["choices"] = json.dumps(choices)
    (found,) = loader.load(write(loader.file(tmp_path, ".csv"), rows))  # type: ignore[misc]
    expected = ["1990", "None", "1991", "True", "null"][: len(cells)]
    assert sorted(found.options) == sorted(expected)


def test_two_files_of_blend(tmp_path):
    loader = LOADERS["blend"]
    for suffix in (".csv", ".parquet"):
        write(loader.file(tmp_path, suffix), loader.rows())
    (tmp_path / "multiple_choice.md").write_text("what these are")
    with pytest.raises(
        CulnigError, match=r"has multiple_choice\.csv and multiple_choice\.parquet: k"
    ):
        load_task("blend", "neuron", data=tmp_path)


# WorldValuesBench


@pytest.mark.parametrize("answer", ["1.5", "often", "inf", "5", "1,0", "1 2"])
def test_answers_that_are_not_on_the_scale(tmp_path, answer):
    folder = survey(tmp_path, [*[("Spain", 1, 1)] * 11, ("Spain", answer, 1)])
    message = rf"full_value_qa\.tsv, row 12: answer {answer} to Q1 is not on its scale, 1 to 4"
    with pytest.raises(CulnigError, match=message):
        load_task("worldvaluesbench", "test", data=folder)


@pytest.mark.parametrize("answer", ["", "-1", "-5.0", "nan", "NA", None])
def test_answers_that_are_none(tmp_path, answer):
    folder = survey(tmp_path, [*[("Spain", 2.0, 1)] * 10, *[("Spain", answer, 1)] * 11])
    found = load_task("worldvaluesbench", "test", data=folder, templates=1)
    assert {i.id: i.answer_text for i in found} == {"Q1/Spain": "2", "Q2/Spain": "1"}


# JSON that is no table: passages, metadata, annotations, templates, neuron sets

PASSAGES = [
    {"id": f"p{i}", "context": "A shop in {country}.", "question": "Where?"} for i in range(4)
]
TEMPLATES = [{"user": "{question}\nA. {option_a} B. {option_b} C. {option_c} D. {option_d}"}]


def load_metadata(path: Path) -> object:
    text = path.read_bytes()
    some_survey(path.parent)
    path.write_bytes(text)
    return load_task("worldvaluesbench", "test", data=path.parent)


def load_annotations(path: Path) -> object:
    return load_short_questions(countries=["Spain"], data=path.parents[1])


JSON_FILES: dict[str, tuple[str, object, Callable[[Path], object]]] = {
    "passages": ("p.json", PASSAGES, task("countryrc")),
    "templates": (
        "t.json",
        TEMPLATES,
        lambda path: load_task("commonsense", "test", limit=4, templates=path),
    ),
    "metadata": (
        "question_metadata.json",
        {
            "Q1": {
                "question": "How?",
                "use_case": "value",
                "answer_data_type": "ordinal",
                "answer_scale_min": 1,
                "answer_scale_max": 4,
            }
        },
        load_metadata,
    ),
    "annotations": (
        "annotations/Spain_data.json",
        {"A-1": ANNOTATION, "A-2": ANNOTATION},
        load_annotations,
    ),
    "a neuron set": ("s.json", None, NeuronSet.load),
}


def json_file(folder: Path, name: str) -> tuple[Path, str, Callable[[Path], object]]:
    place, content, load = JSON_FILES[name]
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    if name == "a neuron set":
        import numpy as np

        from culnig_tl.neurons.layout import NeuronLayout

        NeuronSet(NeuronLayout(n_layers=2, gate=8, q=4, k=4, v=4), np.array([1, 5]), "mine").save(
            path
        )
        return path, path.read_text(), load
    return path, json.dumps(content), load


@pytest.mark.parametrize("name", JSON_FILES)
def test_json_in_other_bytes(tmp_path, name):
    path, text, load = json_file(tmp_path, name)
    path.write_text(text)
    expected = repr(load(path))
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding))
        assert repr(load(path)) == expected


NO_JSON = [
    (b'{"a": "caf\xe9"}', "is not text in utf-8: byte 0xe9 in line 1; save it as UTF-8"),
    (b"", "it is empty"),
    (LFS, "is a Git LFS pointer"),
    (gzip.compress(b"{}"), "is compressed"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"a":' * 100_000, "nested too deep"),
    (b"[" + b"1" * 5000 + b"]", "a number of thousands of digits"),
    (b'{"a": 1, "a": 2}', "holds the key 'a' twice in one object"),
    (b'["\\udc00"]', "half of a character"),
    (b"[1, 2", "line 1 column"),
    *((other, "json") for other in (b"7", b"[]", b"{}", b"[7]", b'{"a": 7}', b"null")),
]


@pytest.mark.parametrize("name", JSON_FILES)
def test_json_that_is_refused(tmp_path, name):
    path, _, load = json_file(tmp_path, name)
    for content, message in NO_JSON:
        path.write_bytes(content)
        with pytest.raises(CulnigError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_json(tmp_path):
    with pytest.raises(CulnigError, match="cannot read .*directory; check the path"):
        read_json(tmp_path)


def test_passages_with_an_id_twice(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps([*PASSAGES, PASSAGES[1]]))
    with pytest.raises(CulnigError, match=r"p\.json, row 5: id 'p1' is that of row 2 too"):
        load_task("countryrc", "test", data=tmp_path / "p.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"answers": "vino"}]}, "A-2: 'answers' is not a list; use BLEnD's"),
        ({"annotations": [{"answers": [["vino"]]}]}, "A-2: an answer in 'answers' is not text"),
        ({"annotations": None}, "A-2: .* is not there; use BLEnD's annotations"),
        ({"question": ["x"]}, "A-2: 'question' is not text"),
    ],
)
def test_annotations_of_another_form(tmp_path, change, message):
    annotations(tmp_path)
    rows = {"A-1": ANNOTATION, "A-2": ANNOTATION | change}
    (tmp_path / "annotations" / "Spain_data.json").write_text(json.dumps(rows))
    with pytest.raises(CulnigError, match=message):
        load_short_questions(countries=["Spain"], data=tmp_path)


def test_annotations_by_line_with_their_separators(tmp_path):
    annotations(tmp_path)
    given = ["a\u2028b", 1990.0, None, "None", " "]
    rows = [ANNOTATION | {"ID": f"A-{i}", "annotations": [{"answers": given}]} for i in range(2)]
    path = tmp_path / "annotations" / "Spain_data.json"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    found = load_short_questions(countries=["Spain"], data=tmp_path)
    assert [q.answers for q in found] == [("a\u2028b", "1990", "None")] * 2
    path.write_text("".join(json.dumps(rows[0]) + "\n" for _ in range(2)))
    with pytest.raises(CulnigError, match=r"row 2: ID 'A-0' is that of row 1 too; keep one"):
        load_short_questions(countries=["Spain"], data=tmp_path)
