import dataclasses
import hashlib

import pytest

from culnig_tl.errors import CulnigError
from culnig_tl.tasks import load_task
from culnig_tl.tasks.countries import (
    COUNTRIES,
    FOCUS_COUNTRIES,
    benchmark_country,
    country_in_text,
    country_name,
)
from culnig_tl.tasks.instances import Instance, content_hash, stable_random


def instance(**changes) -> Instance:
    return Instance(
        **{
            "id": "food-1/Spain",
            "task": "everyday",
            "split": "neuron",
            "group": "Spain",
            "template": 0,
            "options": ("paella", "kimchi", "pozole", "haggis"),
            "answer": 2,
            "cloze": "Question: what?\nAnswer:",
            "user": "what?",
        }
        | changes
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("South_Korea", "South Korea"),
        ("south korea", "South Korea"),
        ("  SOUTH   korea ", "South Korea"),
        ("Northern_Nigeria", "Northern Nigeria"),
        ("West_Java", "West Java"),
        ("US", "USA"),
        ("usa", "USA"),
        ("United States", "USA"),
        ("united_kingdom", "UK"),
        ("Great Britain", "UK"),
        ("united_states_of_america", "USA"),
        ("U.S.A.", "USA"),
        ("Iran, Islamic Republic of", "Iran"),
        ("Iran (Islamic Republic of)", "Iran"),
        ("Korea South", "South Korea"),
        ("Korea, South", "South Korea"),
        ("Korea, Republic of", "South Korea"),
        ("south-korea", "South Korea"),
        ("Democratic People's Republic of Korea", "North Korea"),
        ("Nigeria", "Northern Nigeria"),
    ],
)
def test_country_spellings(given, expected):
    assert country_name(given) == expected
    assert benchmark_country(given)[0] == expected


def test_every_country_is_its_own_spelling():
    assert len(COUNTRIES) == len(set(COUNTRIES)) == 16
    assert [country_name(country) for country in COUNTRIES] == list(COUNTRIES)
    assert set(FOCUS_COUNTRIES) < set(COUNTRIES)
    assert len(FOCUS_COUNTRIES) == 8


@pytest.mark.parametrize("given", ["Atlantis", "", "North", "South Koreas"])
def test_unknown_country_lists_the_known_ones(given):
    with pytest.raises(CulnigError, match=f"unknown country '{given}': choose from Algeria, Assam"):
        country_name(given)


@pytest.mark.parametrize(
    ("given", "country", "in_text"),
    [
        ("Germany", "Germany", "Germany"),
        ("hong_kong", "Hong Kong", "Hong Kong"),
        (" bosnia_and_herzegovina", "Bosnia and Herzegovina", "Bosnia and Herzegovina"),
        ("timor-leste", "Timor-Leste", "Timor-Leste"),
        ("Taiwan ROC", "Taiwan ROC", "Taiwan ROC"),
        ("netherlands", "Netherlands", "the Netherlands"),
        ("united_states_of_america", "USA", "the US"),
        ("nigeria", "Northern Nigeria", "Nigeria"),
        ("Northern_Nigeria", "Northern Nigeria", "Northern Nigeria"),
    ],
)
def test_countries_of_benchmarks(given, country, in_text):
    assert benchmark_country(given) == (country, in_text)


def test_country_inside_a_sentence():
    assert [country_in_text(c) for c in ("USA", "UK", "Iran")] == ["the US", "the UK", "Iran"]


def test_answer_text():
    assert instance().answer_text == "pozole"


@pytest.mark.parametrize("twin", ["kimchi", " Kimchi", "KIMCHI "])
def test_duplicate_options(twin):
    with pytest.raises(CulnigError, match="instance food-1/Spain: duplicate options"):
        instance(options=("paella", "kimchi", "pozole", twin))


@pytest.mark.parametrize("answer", [-1, 4])
def test_answer_not_among_the_options(answer):
    with pytest.raises(
        CulnigError, match=f"instance food-1/Spain: answer {answer} is not among its 4 options"
    ):
        instance(answer=answer)


def test_one_option():
    with pytest.raises(CulnigError, match="food-1/Spain: 1 option; give at least two"):
        instance(options=("paella",), answer=0, labels=("A",))


def test_labels_and_options_must_agree():
    with pytest.raises(CulnigError, match="4 labels for 2 options"):
        instance(options=("paella", "kimchi"), answer=0)


@pytest.mark.parametrize("credits", [(1.0, 0.0), (1.0, 0.5, 0.0, -0.5), (1.5, 0.5, 0.0, 0.0)])
def test_credits_go_with_the_options(credits):
    with pytest.raises(CulnigError, match=r"food-1/Spain: credits .* 4 options; give one from 0"):
        instance(credits=credits)


def test_an_instance_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        instance().answer = 1  # type: ignore[misc]


def test_stable_random_is_pinned():
    # The first 53-bit fraction of Mersenne Twister seeded with the first 8 bytes of the hash.
    assert stable_random("everyday", "food-01", "Spain").random() == 0.8595600489164976
    digest = hashlib.sha256(b"everyday\x1ffood-01\x1fSpain").hexdigest()
    assert digest[:8] == "4b1f3cba"


def test_stable_random_does_not_depend_on_order():
    keys = [("limit", "a"), ("limit", "b"), ("limit", "c")]
    forward = {key: stable_random(*key).random() for key in keys}
    backward = {}
    for key in reversed(keys):
        generator = stable_random(*key)
        backward[key] = generator.random()
        generator.random()
    assert forward == backward
    assert len(set(forward.values())) == 3


def test_stable_random_separates_its_keys():
    assert stable_random("a", "bc").random() != stable_random("ab", "c").random()
    assert stable_random("a", 1).random() == stable_random("a", "1").random()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "food-2/Spain"},
        {"group": None},
        {"options": ("paella", "kimchi", "pozole", "chowder")},
        {"answer": 1},
        {"cloze": "Question: who?\nAnswer:"},
        {"user": "who?"},
        {"labels": ("1", "2", "3", "4")},
        {"system": "Be brief."},
        {"prefill": "{"},
        {"credits": (0.0, 0.0, 1.0, 0.5)},
    ],
)
def test_content_hash_changes_with_content(changes):
    assert content_hash([instance()]) == content_hash([instance()])
    assert content_hash([instance(**changes)]) != content_hash([instance()])


def test_content_hash_without_credits_is_as_before_there_were_any():
    expected = "061e1da06df421dde61d84fa12bd3b15b33e621f6b38de6cdb981c6f580c56b2"
    assert content_hash([instance()]) == expected


def test_content_hash_is_a_sha256_of_the_list_in_its_order():
    first, second = instance(), instance(id="food-2/Spain")
    assert len(content_hash([])) == 64
    assert content_hash([first, second]) != content_hash([second, first])
    assert content_hash([first, second]) != content_hash([first])


# Computed before instances had `question`, `item` and `question_id`.
@pytest.mark.parametrize(
    ("task", "split", "expected"),
    [
        ("everyday", "neuron", "cb92d8686da62376599d55af2b1bf521e7fa02bc255a60ffbed4d4ea1986bb45"),
        ("everyday", "control", "fabff834c69af8b9f4a3e926efe8661eba2e51a95288c6c6d67024f49bd285e1"),
        ("everyday", "test", "1670ada88cd33805f733145ebb17bae30d2d89ea52837177ec614da08448c17f"),
        ("countryrc", "neuron", "61d16b094897a15b0f7553caa0d4e64e93ba7709c0cce8a7323b0b17fd35112e"),
        ("commonsense", "test", "07ddc1654986f93d4c34071043355c23f8f03c80e263af6fe603349d6f4359fd"),
        ("paraphrase", "test", "1c493b222b2e1ad68ac2f1b2eb40cdad5b90c88b7b93043f0d2c11a40d03a3be"),
    ],
)
def test_content_hash_of_the_bundled_tasks_is_that_of_saved_runs(task, split, expected):
    assert content_hash(load_task(task, split)) == expected


def test_content_hash_leaves_out_what_is_said_already():
    more = instance(question="which dish?", item="food-1", question_id="food-1")
    assert content_hash([more]) == content_hash([instance()])


def test_the_question_and_the_item_of_a_task():
    first = load_task("everyday", "neuron", groups=["USA"], limit=1)[0]
    number = first.id.partition("/")[0]
    assert first.question in first.cloze
    assert first.question in first.user
    assert "the US" in first.question
    assert (first.item, first.question_id) == (first.id, number)
    control = load_task("everyday", "control", groups=["USA"], limit=1)[0]
    assert control.item == first.item
    assert (control.question, control.question_id) == ("", "")  # it asks none


def test_the_item_is_the_same_for_all_templates():
    asked = load_task("countryrc", "test", groups=["Iran"], templates=2)
    one, other = (i for i in asked if i.item == asked[0].item)
    assert (one.id, other.id) == (one.item, f"{one.item}#1")
    assert one.item_id == other.item_id
    assert one.same_question != other.same_question  # the wording is another


def test_an_instance_by_hand_needs_neither():
    spain, iran = instance(), instance(id="food-1/Iran", group="Iran")
    assert spain.item_id == "food-1/Spain"
    asked = "Question: what is eaten in {}?\nAnswer:"
    spain = dataclasses.replace(spain, cloze=asked.format("Spain"))
    iran = dataclasses.replace(iran, cloze=asked.format("Iran"))
    assert spain.same_question == iran.same_question
    assert dataclasses.replace(iran, question_id="food-2").same_question != spain.same_question
    nowhere = instance(group=None, cloze="Question: who?\nAnswer:")
    assert nowhere.same_question == ("everyday", "Question: who?\nAnswer:", 0)


def test_all_templates_of_a_question_are_one_question():
    found = load_task("countryrc", "test", groups=["Iran", "Spain"], limit=4, templates=4)
    assert len(found) == 16
    assert len({i.question_key for i in found}) == 4


def test_a_control_has_the_key_of_the_question_it_leaves_out():
    neuron, control = (load_task("everyday", split) for split in ("neuron", "control"))
    assert [i.question_key for i in neuron] == [i.question_key for i in control]
    assert [i.half for i in neuron] == [i.half for i in control]


def test_a_question_about_two_countries_is_two():
    found = load_task("everyday", "neuron")
    assert len({i.question_key for i in found}) == len(found)


def test_halves_are_halves_and_share_no_question():
    halves = dict[str, set[int]]()
    for one in load_task("everyday", "neuron"):
        halves.setdefault(one.topic, set()).add(one.half)
    assert all(len(half) == 1 for half in halves.values())
    many = [tiny_half(f"question {number}") for number in range(2000)]
    assert sum(many) == pytest.approx(1000, abs=70)


def tiny_half(question: str) -> int:
    return instance(question_id=question).half


def test_an_instance_by_hand_asks_its_item():
    assert instance().question_key == "food-1/Spain/Spain"
    assert instance(group=None, item="x").question_key == "x"
    assert instance(asks="what is it ?").question_key == instance(asks="what is it ?").question_key
    assert len(instance(asks="what is it ?").question_key.split("/")[0]) == 12


@pytest.mark.parametrize(
    ("changes", "chance"),
    [
        ({}, 0.25),
        ({"options": ("a", "b"), "labels": ("A", "B"), "answer": 0}, 0.5),
        ({"credits": (1.0, 0.5, 0.0, 0.0)}, 0.375),
    ],
)
def test_chance(changes, chance):
    assert instance(**changes).chance == chance
