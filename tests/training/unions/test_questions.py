"""Files of questions: what is read, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import plm
from training.data import DataError
from training.unions import encode_questions, read_questions

GOOD: dict[str, Any] = {"context": "A knife is used for", "choices": ["cutting.", "it."]}


def written(folder: Path, *records: object) -> Path:
    path = folder / "asked.jsonl"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(lines))
    return path


def test_bodies_of_requests_with_their_answers(questions_file: Path) -> None:
    questions = read_questions(questions_file)
    assert [one.line for one in questions] == [1, 2, 3, 4, 5, 6]
    assert [one.answer for one in questions] == [0, 0, 1, 1, 3, 0]
    assert (questions[3].context, questions[3].scoring) == (None, None)
    assert (questions[4].scoring, questions[4].normalize) == ("answer", "token")


def test_what_a_body_may_say_without_effect(tmp_path: Path) -> None:
    harmless = {"relations": None, "combine": "union", "masked": True, "tokens": False}
    text = "a text\u2028of two lines"
    (question,) = read_questions(
        written(tmp_path, GOOD | harmless | {"context": text, "answer": 1})
    )
    assert (question.context, question.answer) == (text, 1)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "invalid JSON"),
        ([1], "a JSON object belongs on each line"),
        (GOOD, "'answer' must be the index of the right choice, 0 to 1, not left out"),
        (GOOD | {"answer": 2}, "0 to 1, not 2"),
        (GOOD | {"answer": -1}, "0 to 1, not -1"),
        (GOOD | {"answer": True}, "0 to 1, not True"),
        (GOOD | {"answer": "cutting."}, "0 to 1, not 'cutting.'"),
        (GOOD | {"answer": 0, "choices": ["one"]}, "must be 2 to 64 texts, not 1"),
        (GOOD | {"answer": 0, "choices": "one"}, "'choices' must be a list of 2 to 64 texts"),
        (GOOD | {"answer": 0, "choices": ["one", 2]}, "choice 1 of 'choices' must be a text"),
        (GOOD | {"answer": 0, "context": 7}, "'context' must be a text, or null, not int"),
        (GOOD | {"answer": 0, "context": "a" * 10_001}, "at most 10,000 are read"),
        (GOOD | {"answer": 0, "question": "?"}, "unknown field 'question'; there are context"),
        (GOOD | {"answer": 0, "scoring": "best"}, "'scoring' must be one of pll, pll_l2r"),
        (GOOD | {"answer": 0, "scoring": ["pll"]}, "'scoring' must be one of pll, pll_l2r"),
        (GOOD | {"answer": 0, "normalize": "x"}, "'normalize' must be one of none, token"),
        (GOOD | {"answer": 0, "relations": ["IsA"]}, "leave 'relations' out"),
        (GOOD | {"answer": 0, "combine": "vote:2"}, "leave 'combine' out"),
        (GOOD | {"answer": 0, "masked": False}, "leave 'masked' out"),
        (GOOD | {"answer": 0, "tokens": 1}, "'tokens' must be true or false"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, record: object, message: str) -> None:
    path = written(tmp_path, GOOD | {"answer": 0}, "", record)
    with pytest.raises(DataError) as caught:
        read_questions(path)
    assert f"1 line of {path}" in str(caught.value)
    assert f"line 3: {message}" in str(caught.value) or message in str(caught.value)
    assert "line 3: " in str(caught.value)


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="12 lines") as caught:
        read_questions(written(tmp_path, *[GOOD] * 12))
    assert "line 10: " in str(caught.value)
    assert "and 2 more" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"\n\n", "holds no question")],
)
def test_files_without_questions(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "none.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_questions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": " "}, "line 2: context: it is blank"),
        ({"choices": ["it.", "it."]}, "line 2: choices/1: it is the same as choice 0"),
        ({"context": None, "scoring": "context"}, "line 2: scoring: 'context' scores the context"),
        ({"context": "very " * 600}, "line 2: context: it is 600 tokens long"),
    ],
)
def test_what_the_model_cannot_be_asked(
    minilm: plm.BaseModel, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = written(tmp_path, GOOD | {"answer": 0}, GOOD | {"answer": 0} | change)
    with pytest.raises(DataError, match=message):
        encode_questions(minilm, read_questions(path), path)


def test_options_are_of_questions_that_name_none(
    minilm: plm.BaseModel, questions_file: Path
) -> None:
    asked = encode_questions(
        minilm, read_questions(questions_file), questions_file, scoring="pll", normalize="char"
    )
    assert [plan.scoring for plan in asked.plans] == ["pll"] * 4 + ["answer", "pll"]
    assert [plan.normalize for plan in asked.plans] == ["char"] * 4 + ["token", "char"]
    assert asked.chance == pytest.approx((1 / 3 + 1 / 2 * 4 + 1 / 4) / 6)
