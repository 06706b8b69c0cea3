"""Verdicts: which word a difference gets, and where none is called."""

import numpy as np
import pytest

from training.data import Triple
from training.evaluation import (
    Evaluation,
    Provenance,
    Ranks,
    RelationResult,
    collect_provenance,
    compare,
    markdown,
    relation_sentences,
    verdicts,
)


@pytest.fixture
def provenance() -> Provenance:
    digest = "sha256:" + "0" * 64
    return collect_provenance(seed=0, data_digest=digest, split_digest=digest, base_digest=digest)


def result(system: str, ranks: list[int], relation: str = "IsA") -> RelationResult:
    facts = tuple(Triple(f"thing {number}", relation, "tool") for number in range(len(ranks)))
    values = np.array(ranks)
    return RelationResult(relation, system, facts, Ranks(values, values))


@pytest.mark.parametrize(
    ("masked", "other", "word"),
    [
        ([1, 2] * 20, [10, 30] * 20, "better"),
        ([10, 30] * 20, [1, 2] * 20, "worse"),
        ([1, 9] * 20, [9, 1] * 20, "not shown to differ"),
        ([1] * 19, [50] * 19, "too few facts to tell"),
    ],
)
def test_a_difference_gets_its_word(
    provenance: Provenance, masked: list[int], other: list[int], word: str
) -> None:
    evaluation = Evaluation((result("masked", masked), result("unmasked", other)), provenance)
    overall, relation = verdicts(evaluation)
    assert (overall.relation, relation.relation) == (None, "IsA")
    assert overall.word == relation.word == word
    assert relation.difference == compare(evaluation, "masked", "unmasked", relation="IsA")
    for part in ("IsA", "unmasked", f"{len(masked)} test facts"):
        assert part in relation.sentence
    assert f"| IsA | unmasked | {len(masked)} |" in markdown(evaluation)
    assert word in markdown(evaluation)


def test_all_relations_are_judged_where_both_systems_have_them(provenance: Provenance) -> None:
    results = [
        result(system, ranks, relation)
        for relation in ("IsA", "UsedFor")
        for system, ranks in (("masked", [1, 2] * 10), ("unmasked", [5, 9] * 10))
    ]
    prior = result("frequency prior", [3, 4] * 10)
    found = verdicts(Evaluation((*results, prior), provenance))
    assert [(one.relation, one.against) for one in found] == [
        (None, "unmasked"),
        ("IsA", "unmasked"),
        ("UsedFor", "unmasked"),
        ("IsA", "frequency prior"),
    ]
    assert found[0].facts == 40


def test_without_masks_there_is_nothing_to_judge(provenance: Provenance) -> None:
    evaluation = Evaluation((result("unmasked", [1, 2]),), provenance)
    assert verdicts(evaluation) == []
    assert "Verdicts" not in markdown(evaluation)


def test_a_relation_gets_one_sentence_on_all_it_was_held_against(provenance: Provenance) -> None:
    results = [
        result("masked", [1, 2] * 20),
        result("unmasked", [10, 30] * 20),
        result("frequency prior", [2, 1] * 20),
        result("masked", [1] * 5, "UsedFor"),
        result("unmasked", [9] * 5, "UsedFor"),
        result("frequency prior", [9] * 5, "UsedFor"),
    ]
    isa, used_for = relation_sentences(verdicts(Evaluation(tuple(results), provenance)))
    assert isa.startswith("IsA: better than the unmasked model (MRR +0.")
    assert "; not shown to be better than the frequency prior (MRR +0.000, " in isa
    assert isa.endswith("; 40 test facts.")
    assert used_for.startswith("UsedFor: too few test facts (5) to tell")
