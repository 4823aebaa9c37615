"""A whole study of the byte model gives the tables, sets and report that it gave before."""

import re

import golden
from command import culnig


def test_the_study_gives_what_it_gave(monkeypatch, capsys, tmp_path):
    with golden.few_languages():
        for command in golden.commands(tmp_path):
            code, _, error = culnig(monkeypatch, capsys, *command)
            assert code == 0, error
    found, expected = golden.collect(tmp_path / "run"), golden.golden()
    assert set(found) == set(expected)
    differences = {
        name: difference
        for name, text in found.items()
        if (difference := golden.difference(text, expected[name]))
    }
    assert not differences
    # A run with every step on it: the page can be sent by mail, and asks nothing of a network.
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert len(page) < 3_000_000
    assert not re.search(r"(src|href)=[\"']?https?:", page)


def test_a_difference_is_found():
    assert golden.difference("a,1.00001\n", "a,1.00002\n") is None
    assert golden.difference("a,1.1\n", "a,1.2\n") == "line 1: 'a,1.1', expected 'a,1.2'"
    assert golden.difference("b,1\n", "a,1\n") == "line 1: 'b,1', expected 'a,1'"
    assert golden.difference("a\n", "a\nb\n") == "1 lines, expected 2"
