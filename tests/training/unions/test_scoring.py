"""Choices under unions of the shipped masks, beside the scoring of the service."""

from pathlib import Path

import pytest

import plm
from masks import MaskMismatchError, RelationMask, combine_masks
from plm.choices import Normalize, Scoring
from training.unions import UnionScorer, encode_questions, read_questions

UNIONS = ((), ("IsA",), ("AtLocation", "UsedFor"), ("CapableOf", "IsA", "UsedFor"))


@pytest.mark.parametrize(
    ("scoring", "normalize"), [(None, None), ("answer", "none"), ("pll", "char"), ("answer", "pmi")]
)
def test_the_services_scores_under_every_union(
    minilm: plm.BaseModel,
    shipped: dict[str, RelationMask],
    questions_file: Path,
    scoring: Scoring | None,
    normalize: Normalize | None,
) -> None:
    questions = read_questions(questions_file)
    if normalize == "pmi":
        questions = tuple(one for one in questions if one.context is not None)
    asked = encode_questions(
        minilm, questions, questions_file, scoring=scoring, normalize=normalize
    )
    scorer = UnionScorer(minilm, shipped, asked.plans)
    engine = plm.Engine(minilm)
    seen = set()
    for union in UNIONS:
        mask = combine_masks([shipped[name] for name in union]) if union else None
        found = scorer.scores(union)
        for question, scores in zip(questions, found, strict=True):
            expected = plm.score_choices(
                engine,
                question.context,
                question.choices,
                mask,
                scoring=question.scoring or scoring,
                normalize=question.normalize or normalize or "none",
            )
            assert scores == pytest.approx([one.score for one in expected], abs=1e-4)
        assert scorer.best(union).tolist() == [int(scores.argmax()) for scores in found]
        seen.add(tuple(round(float(scores[0]), 3) for scores in found))
    assert len(seen) == len(UNIONS)


def test_a_row_of_several_questions_is_asked_once(
    minilm: plm.BaseModel, shipped: dict[str, RelationMask], questions_file: Path
) -> None:
    questions = read_questions(questions_file)
    once = UnionScorer(minilm, shipped, encode_questions(minilm, questions, questions_file).plans)
    twice = UnionScorer(
        minilm,
        shipped,
        encode_questions(minilm, [*questions, *questions], questions_file).plans,
    )
    assert twice.row_count == once.row_count
    assert twice.best(("IsA",)).tolist() == once.best(("IsA",)).tolist() * 2


def test_masks_of_another_base(
    minilm: plm.BaseModel, base: plm.BaseModel, shipped: dict[str, RelationMask]
) -> None:
    plan = plm.plan_choices(base, None, ["a dog", "a cat"])
    scorer = UnionScorer(base, shipped, [plan])
    with pytest.raises(MaskMismatchError, match="was made for base"):
        scorer.best(("IsA",))
