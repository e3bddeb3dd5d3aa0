import threading
import time

import pytest

from dskd_core import interruption
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.errors import ConfigError
from dskd_core.prompts import rendering
from dskd_core.prompts.chat import ChatFormat, messages, wording
from dskd_core.prompts.exemplars import Pool
from dskd_core.prompts.questions import Question
from tests.core.prompts.conftest import TEMPLATE, make_tokenizer


def choice(number, subject="", *, answer="A", text=None):
    name = f"mmlu/{number}"
    return Question(name, "mmlu", subject, text or f"Q{number}?", ("x", "y"), (answer,))


def chat_format(*, bos, template):
    return ChatFormat(Tokenizer(make_tokenizer(bos=bos, template=template)))


def test_a_choice_is_asked_by_letter_and_its_exemplars_are_answered():
    chat = messages(choice(1), [choice(2, answer="B")])
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user"]
    assert chat[0]["content"] == "Q2?\nA. x\nB. y\nAnswer with the letter of the right choice."
    assert chat[1]["content"] == "B"
    assert chat[2]["content"].startswith("Q1?\nA. x")


def test_a_passage_is_told_once():
    first, second = (
        Question(f"squad/{i}", "squad", "T", f"Q{i}?", (), ("no answer",), "Text.", "p")
        for i in range(2)
    )
    chat = messages(first, [second])
    assert chat[0]["content"].startswith("Text.\n\nQ1?\n")
    assert chat[1]["content"] == "no answer"
    assert chat[2]["content"].startswith("Q0?\n")
    assert wording(first).startswith("Text.")


@pytest.mark.parametrize(
    ("bos", "template", "prefix"),
    [
        (True, "{{ bos_token }}" + TEMPLATE, (1,)),
        (True, TEMPLATE, ()),  # the template decides
        (False, TEMPLATE, ()),
        (True, None, (1,)),
        (False, None, ()),
    ],
)
def test_the_beginning_is_never_there_twice(bos, template, prefix):
    chat = chat_format(bos=bos, template=template)
    (ids,) = chat.encode([messages(choice(1), [])])
    assert chat.prefix == prefix
    assert 1 not in ids
    text = chat.tokenizer.decode(ids)
    user = wording(choice(1))
    assert text == (f"[user]{user}<end>[assistant]" if template else f"{user}\nAnswer:")


def test_the_plain_format_has_a_block_for_each_exemplar():
    chat = chat_format(bos=False, template=None)
    text = chat.text(messages(choice(1), [choice(2, answer="B")]))
    assert text == f"{wording(choice(2))}\nAnswer: B\n\n{wording(choice(1))}\nAnswer:"


def test_a_marker_inside_a_question_is_found():
    chat = chat_format(bos=True, template=TEMPLATE)
    assert chat.holds_marker(messages(choice(1, text="Is <end> a tag?"), []))
    assert not chat.holds_marker(messages(choice(1, text="Is (end) a tag?"), []))
    assert not chat_format(bos=True, template=None).holds_marker(
        messages(choice(1, text="Is <end> a tag?"), [])
    )


def test_the_fingerprint_names_the_template():
    plain, other = (chat_format(bos=True, template=t) for t in (None, TEMPLATE))
    assert plain.fingerprint != other.fingerprint


def test_exemplars_do_not_depend_on_the_order_of_the_questions():
    questions = [choice(i) for i in range(200)]
    drawn = Pool(questions, seed=3).draw(questions[7], 5)
    assert drawn == Pool(reversed(questions), seed=3).draw(questions[7], 5)
    assert drawn != Pool(questions, seed=4).draw(questions[7], 5)
    assert len({q.id for q in drawn}) == 5


def test_an_exemplar_is_never_the_item_itself_whatever_it_is_called():
    twin = Question("mmlu/twin", "mmlu", "", "q3 ?", ("Y", "x"), ("B",))
    questions = [*(choice(i) for i in range(4)), twin]
    for question in questions:
        drawn = Pool(questions).draw(question, 5)
        assert question.fingerprint not in {q.fingerprint for q in drawn}
        assert len(drawn) == 3


def test_mmlu_stays_in_its_subject_where_that_has_enough():
    questions = [choice(i, "law" if i < 4 else "art") for i in range(40)]
    pool = Pool(questions)
    assert {q.subject for q in pool.draw(questions[0], 3)} == {"law"}
    assert len(pool.draw(questions[0], 4)) == 4  # three others in law


def test_a_question_without_an_answer_and_a_heldout_one_are_no_exemplars():
    bare = Question("mmlu/bare", "mmlu", "", "Bare?", ("x", "y"))
    questions = [bare, choice(1), choice(2), choice(3)]
    drawn = Pool(questions, heldout={"mmlu/2"}).draw(choice(3), 5)
    assert [q.id for q in drawn] == ["mmlu/1"]
    assert len(Pool(questions, heldout={"mmlu/2"}).draw(bare, 5)) == 2


def test_a_passages_exemplar_comes_from_the_same_passage():
    questions = [
        Question(f"squad/{i}", "squad", "", f"Q{i}?", (), ("a",), f"P{i % 3}", f"p{i % 3}")
        for i in range(9)
    ]
    pool = Pool(questions, heldout={"p1"})
    for question in questions:
        (drawn,) = pool.draw(question, 1)
        assert drawn.paragraph == question.paragraph
        assert drawn.id != question.id


FOR = "{% for i in range(99999) %}"
HOSTILE = [
    FOR * 4 + "{% endfor %}" * 4,
    FOR + "{{ messages[0].content }} and more{% endfor %}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{{ 'a' * 10**11 }}",
    "{% set n = messages | length %}{{ 'a' * (n * 10**11) }}",
    "{{ 'a' | center(10**11) }}",
    "{{ '%99999999999d' % 1 }}",
    "{{ 'a'.ljust(10**11) }}",
    "{{ 10 ** (10 ** 9) }}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{{ range(99999) | join(range(99999) | join) }}",
    "{{ messages[0].content | replace('', 'x' * 99999) | replace('', 'x' * 99999) }}",
]


@pytest.mark.parametrize(
    "template", [*HOSTILE[:4], *(pytest.param(t, marks=pytest.mark.slow) for t in HOSTILE[4:])]
)
def test_a_template_that_takes_too_much_is_refused_and_the_next_is_written(template, monkeypatch):
    monkeypatch.setattr(rendering, "SECONDS", 1)
    chat = [{"role": "user", "content": "Hello"}]
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"^The chat template of t (needs|cannot).*; use a teach"):
        rendering.render(template, {}, chat, "t")
    assert time.monotonic() - begun < 30
    assert rendering.render("{{ messages[0].content }}", {}, chat, "t") == "Hello"


def test_a_template_at_work_ends_when_the_run_is_asked_to_stop():
    timer = threading.Timer(0.5, interruption.request)
    timer.start()
    try:
        with pytest.raises(interruption.Interrupted):
            rendering.render(HOSTILE[0], {}, [{"role": "user", "content": "a"}], "t")
    finally:
        timer.join()
        interruption.clear()


def test_what_a_template_says_against_a_chat_is_told_with_its_owner():
    chat = ChatFormat(Tokenizer(make_tokenizer(bos=False, template="{{ raise_exception('no') }}")))
    with pytest.raises(ConfigError, match=r"TemplateError: no.*plain format"):
        chat.text([{"role": "user", "content": "a"}])


def test_a_chat_is_written_as_transformers_writes_it():
    chat = chat_format(bos=True, template="{{ bos_token }}|{{ enable_thinking }}" + TEMPLATE)
    turns = messages(choice(1, text="Ä\u2028?"), [choice(2)])
    assert chat.text(turns) == chat.tokenizer.hf.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
