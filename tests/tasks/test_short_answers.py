"""Short answers: judging in every language, the questions, and answers of tiny models."""

import json
import sys

import pytest
import tiny
from short_question_files import ROWS, folder

from culnig_tl import CulnigError
from culnig_tl.measure.answering import answer_questions
from culnig_tl.models.description import layout_of
from culnig_tl.neurons.selection import select_random
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks import judging
from culnig_tl.tasks.blend import LANGUAGES
from culnig_tl.tasks.judging import basic_words, judge_answer
from culnig_tl.tasks.short_questions import ShortQuestion, load_short_questions

# A reply, an answer that is in it (inflected, where the language has a package), one that is not.
REPLIES = {
    "en": ("They often eat **sandwiches**.", "sandwich", "pizza"),
    "es": ("Los niños comen manzanas rojas.", "manzana roja", "pera"),
    "el": ("Τρώνε συχνά ντομάτες.", "ντομάτα", "ψωμί"),
    "id": ("Mereka suka memakan nasi goreng!", "makan nasi goreng", "sate"),
    "fa": ("مردم معمولاً کتاب‌ها می‌خرند.", "كتاب", "چای"),
    "zh": ("中国人喜欢吃炸鸡，喝啤酒。", "炸鸡", "花生"),
    "ko": ("보통 김치찌개를 먹습니다.", "김치찌개", "불고기"),
    "ar": ("يأكلون الخُبز والتمر.", "خبز", "أرز"),
    "ha": ("Suna karanta littattafai.", "littafi", "shayi"),
    "am": ("ሰዎች እንጀራ ይበላሉ።", "እንጀራ", "ሻይ"),
    "as": ("মানুহে ভাত\u200b খায়।", "ভাত", "চাহ"),
    "az": ("İnsanlar Çay içir.", "çay", "qəhvə"),
    "su": ("Jalma dahar sangu.", "Sangu", "roti"),
}


def test_every_language_of_blend_is_judged():
    assert set(REPLIES) == set(LANGUAGES.values())


@pytest.mark.parametrize("language", REPLIES)
def test_judge(language):
    reply, right, wrong = REPLIES[language]
    assert judge_answer(reply, [right], language)
    assert judge_answer(reply, [wrong, right], language)
    assert not judge_answer(reply, [wrong], language)
    assert not judge_answer("", [right], language)
    assert not judge_answer(reply, ["", "?"], language)


@pytest.mark.parametrize(
    ("reply", "answers", "right"),
    [
        pytest.param("A plate of fried chicken, please", ["fried chicken"], True, id="in sequence"),
        pytest.param("chicken fried rice", ["fried chicken"], False, id="in another sequence"),
        pytest.param("fried rice with chicken", ["fried chicken"], False, id="with one between"),
        # A mark at school is no article, and a letter in bold no mark.
        pytest.param("They got an A* in history.", ["A*"], True, id="a mark"),
        pytest.param("A plate of chicken", ["A*", "a+"], False, id="an article"),
        pytest.param("It is **A** or *b*", ["a or b"], True, id="letters in bold"),
    ],
)
def test_words_in_sequence(reply, answers, right):
    assert judge_answer(reply, answers, "en") == right


def test_vowel_signs_belong_to_their_word():
    """Without them these two would be one."""
    assert basic_words("ভাত ভাতি", "as") == ["ভাত", "ভাতি"]


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    judging._package.cache_clear()
    with pytest.raises(CulnigError, match="needs the package 'jieba': pip install 'culnig-tl.saq"):
        judge_answer("炸鸡", ["炸鸡"], "zh")
    judging._package.cache_clear()


EXPECTED = ShortQuestion(
    id="A-1/Spain",
    country="Spain",
    language="es",
    question="¿Qué se bebe?",
    prompt="Pregunta: ¿Qué se bebe?\nRespuesta:",
    answers=("vino", "Vino", "agua"),
)


def test_short_questions(tmp_path):
    """Nobody answered the second, and the third is not written down."""
    assert load_short_questions(countries=["spain"], data=folder(tmp_path)) == [EXPECTED]


def test_short_questions_in_english(tmp_path):
    rows = {key: row for key, row in ROWS.items() if key != "A-3"}
    data = folder(tmp_path, rows)
    (english,) = load_short_questions(countries=["Spain"], data=data, english=True)
    assert (english.language, english.answers) == ("en", ("wine", "water"))
    assert english.prompt == "Question: What is drunk?\nAnswer:"


def test_a_short_question_without_prompts_stands_alone(tmp_path):
    data = folder(tmp_path, prompts=False)
    (alone,) = load_short_questions(countries=["Spain"], data=data)
    assert alone.prompt == alone.question


def test_short_questions_from_the_hub_are_rows_with_an_id(tmp_path, monkeypatch):
    plain = folder(tmp_path / "plain", prompts=False)
    hub = tmp_path / "hub.json"
    hub.write_text("\n".join(json.dumps({"ID": key, **row}) for key, row in ROWS.items()))
    asked = []

    def hf_hub_download(name, file, repo_type):
        asked.append((name, file, repo_type))
        return str(hub)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    found = load_short_questions(countries=["Spain"])
    assert found == load_short_questions(countries=["Spain"], data=plain)
    assert len(found) == 1
    assert asked == [("nayeon212/BLEnD", "data/annotations_hf/Spain_data.json", "dataset")]


def test_limit_draws_the_same_again(tmp_path):
    rows = {f"A-{n}": ROWS["A-1"] for n in range(30)}
    data = folder(tmp_path, rows)
    found = load_short_questions(countries=["Spain"], limit=7, data=data)
    assert len(found) == 7
    assert found == load_short_questions(countries=["Spain"], limit=7, data=data)
    assert [q.id for q in found] != [f"A-{n}/Spain" for n in range(7)]


def test_no_file_of_short_questions(tmp_path):
    with pytest.raises(CulnigError, match="no file .*Spain_data.json: check the path given as da"):
        load_short_questions(countries=["Spain"], data=tmp_path)


def test_a_short_question_without_annotations(tmp_path):
    data = folder(tmp_path, {"A-1": {"question": "?"}})
    with pytest.raises(CulnigError, match="A-1: KeyError.'annotations'. is not there; use BLEnD's"):
        load_short_questions(countries=["Spain"], data=data)


def test_a_broken_file_of_short_questions(tmp_path):
    data = folder(tmp_path)
    (data / "annotations" / "Spain_data.json").write_text("{")
    with pytest.raises(CulnigError, match="cannot parse .*Spain_data.json.*is it BLEnD's file"):
        load_short_questions(countries=["Spain"], data=data)


def test_short_questions_of_the_hub_without_a_network():
    with pytest.raises(CulnigError, match="cannot load data/annotations_hf/Iran_data.json of nay"):
        load_short_questions(countries=["Iran"])


def test_real_answers(shared):
    """Each country's questions: every answer is right for itself, and few are for the next one."""
    data = shared / "data" / "blend"
    for country in LANGUAGES:
        questions = load_short_questions(countries=[country], limit=25, data=data)
        assert len(questions) == 25
        wrong = 0
        for question, other in zip(questions, questions[1:] + questions[:1], strict=True):
            words = basic_words(question.answers[0], question.language)
            assert judge_answer(question.answers[0], question.answers, question.language) == bool(
                words
            )
            wrong += judge_answer(question.answers[0], other.answers, other.language)
        assert wrong <= 4, country


QUESTIONS = [
    ShortQuestion(
        id=f"q{n}",
        country="UK",
        language="en",
        question=text,
        prompt=text,
        answers=("tea", "coffee"),
    )
    for n, text in enumerate(("what do people drink in iran ?", "what is on the a :"))
]


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_answers_of_a_tiny_model(kind, model_class):
    model = tiny.model(kind, model_class)
    frame = answer_questions(model, QUESTIONS, max_new_tokens=5)
    assert list(frame["id"]) == ["q0", "q1"]
    assert frame["reply"].str.split().str.len().le(5).all()
    for _, row in frame.iterrows():
        assert row["correct"] == bool({"tea", "coffee"} & set(row["reply"].split()))
    everything = select_random(NeuronSet(layout_of(model), range_of(model)), 0)
    masked = answer_questions(model, QUESTIONS, everything, max_new_tokens=5)
    assert not masked["reply"].equals(frame["reply"])


@pytest.mark.model
def test_no_questions_to_answer():
    with pytest.raises(CulnigError, match="no questions: load some first"):
        answer_questions(tiny.model(*tiny.FEWER_MODELS[0]), [])


def range_of(model):
    return layout_of(model).ids_of(["gate", "q", "k", "v"])
