"""A whole study of the byte model gives the tables, sets and report that it gave before."""

import re
from html.parser import HTMLParser

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
    assert unclosed(page) == []


class _Tags(HTMLParser):
    """Which elements are open, and what closed another one than the last that was opened."""

    EMPTY = ("meta", "img", "br", "input", "link", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(f"{tag} at line {self.getpos()[0]}")


def unclosed(page):
    tags = _Tags()
    tags.feed(page)
    return [*tags.open, *tags.wrong]


def test_what_is_not_closed_is_found():
    assert unclosed("<div><table><tr><td>a</td></tr></table></div><br>") == []
    assert unclosed("<html><div><p>a</p></html>") == ["html", "div", "html at line 1"]


def test_a_difference_is_found():
    assert golden.difference("a,1.00001\n", "a,1.00002\n") is None
    assert golden.difference("a,1.1\n", "a,1.2\n") == "line 1: 'a,1.1', expected 'a,1.2'"
    assert golden.difference("b,1\n", "a,1\n") == "line 1: 'b,1', expected 'a,1'"
    assert golden.difference("a\n", "a\nb\n") == "1 lines, expected 2"
