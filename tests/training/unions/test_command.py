"""`relata unions` from a file of questions to the relations of a request."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import plm
import relata
from masks import RelationMask, combine_masks
from training.data import DataError

from .conftest import PACK, QUESTIONS

NAMES = "AtLocation,IsA,UsedFor"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(relata.app, ["unions", *map(str, arguments)])


def arguments(questions: Path, out: Path) -> tuple[object, ...]:
    return (
        *("--pack", PACK, "--questions", questions, "--out", out, "--limit-relations", NAMES),
        *("--sizes", "1,2", "--folds", 3, "--scoring", "answer"),
    )


def test_from_questions_to_a_request(
    minilm: plm.BaseModel,
    shipped: dict[str, RelationMask],
    questions_file: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    done = run(*arguments(questions_file, out))
    assert done.exit_code == 0, done.output
    assert "Best union: " in done.output
    record = json.loads((out / "unions.json").read_text())
    assert record["format"] == "relata-unions/1"
    assert (record["questions"], record["folds"], record["sizes"]) == (6, 3, [1, 2])
    assert record["settings"]["scoring"] == "answer"
    found = {tuple(one["relations"]): one["accuracy"] for one in record["unions"]}
    assert len(found) == 3 + 3
    engine = plm.Engine(minilm)
    for union, accuracy in found.items():
        mask = combine_masks([shipped[name] for name in union])
        right = 0
        for question in QUESTIONS:
            scores = plm.score_choices(
                engine,
                question.get("context"),  # type: ignore[arg-type]
                question["choices"],  # type: ignore[arg-type]
                mask,
                scoring="answer",
                normalize=question.get("normalize", "none"),  # type: ignore[arg-type]
            )
            values = [one.score for one in scores]
            right += values.index(max(values)) == question["answer"]
        assert accuracy == pytest.approx(right / len(QUESTIONS))
    best = record["exhaustive"]
    assert found[tuple(best["relations"])] == best["accuracy"] == max(found.values())
    assert len(best["cross_validated"]["chosen"]) == 3
    assert record["request"] == {"relations": best["relations"], "scoring": "answer"}

    page = (out / "unions.md").read_text()
    assert json.dumps(record["request"]) in page
    for heading in ("Single relations", "Forward selection", "What each fold chose"):
        assert f"## {heading}" in page
    assert "none (unmasked)" in page

    before = (out / "results.jsonl").read_text()
    again = run(*arguments(questions_file, out))
    assert again.exit_code == 0, again.output
    assert "7 unions are in" in again.output
    assert (out / "results.jsonl").read_text() == before
    other = json.loads((out / "unions.json").read_text())
    assert [other[key] for key in ("unions", "exhaustive", "greedy")] == [
        record[key] for key in ("unions", "exhaustive", "greedy")
    ]

    refused = run(*arguments(questions_file, out), "--scoring", "pll")
    assert isinstance(refused.exception, DataError)
    assert "scoring was 'answer' and is 'pll'" in str(refused.exception)
    assert (out / "results.jsonl").read_text() == before


def test_forward_selection_alone_names_no_search_over_all(
    questions_file: Path, tmp_path: Path
) -> None:
    done = run(*arguments(questions_file, tmp_path / "out"), "--search", "greedy")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "unions.json").read_text())
    assert record["exhaustive"] is None
    # One question is normalised in its own way: none can be named for all.
    assert record["request"] == {"relations": record["greedy"]["relations"], "scoring": "answer"}
    assert [len(union) for union in record["greedy"]["path"]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sizes", "1,x"), "sizes are numbers joined by commas"),
        (("--sizes", ""), "sizes are numbers joined by commas"),
        (("--sizes", "2,4"), "a union has 1 to 3 of the 3 relations, not 4"),
        (("--sizes", "0"), "a union has 1 to 3 of the 3 relations, not 0"),
        (("--search", "random"), "no search 'random'; there are exhaustive, greedy"),
        (("--scoring", "best"), "no scoring 'best'; there are pll"),
        (("--normalize", "x"), "no normalisation 'x'; there are none"),
        (("--limit-relations", "Isa"), "has no Isa; its relations are AtLocation"),
        (("--folds", "7"), "7 folds need 7 questions at least, not 6"),
    ],
)
def test_options_that_cannot_be(
    questions_file: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    refused = run(*arguments(questions_file, tmp_path / "out"), *options)
    assert isinstance(refused.exception, DataError)
    assert message in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_a_bad_line_leaves_nothing_behind(questions_file: Path, tmp_path: Path) -> None:
    with questions_file.open("a") as file:
        file.write('{"choices": ["a", "b"], "answer": 2}\n')
    refused = run(*arguments(questions_file, tmp_path / "out"))
    assert "line 8: 'answer' must be the index" in str(refused.exception)
    assert not (tmp_path / "out").exists()
