"""POST /paths: the search, held against all paths tried one by one on the Hugging Face model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from app.schemas.link_examples import PATH_EXAMPLES
from masks import RelationMask, combine_masks

if TYPE_CHECKING:
    from tests.app.links.conftest import Twin

Post = Callable[..., dict[str, Any]]

IS_A = "A [X] is a [Y]."
HAS_PROPERTY = "A [X] is [Y]."
MADE_OF = "A [X] is made of [Y]."

Found = tuple[tuple[str, ...], float]


def _search(
    twin: Twin,
    words: Sequence[str],
    start: str,
    hops: Sequence[tuple[str, Sequence[str]]],
    *,
    beam: int,
) -> list[Found]:
    """Beam search as anybody would write it: (objects on the way, sum of log-probabilities)."""
    allowed = [word for word in words if word != start.lower()]
    going: list[Found] = [((), 0.0)]
    for template, relations in hops:
        going = sorted(going, key=lambda path: -path[1])[:beam]
        going = [
            ((*objects, text), total + score)
            for objects, total in going
            for text, score in twin.ranking(
                allowed, template, objects[-1] if objects else start, relations
            )[:beam]
        ]
    return sorted(going, key=lambda path: -path[1])


def _check(answer: dict[str, Any], expected: Sequence[Found], top_k: int) -> None:
    found = [
        (tuple(hop["object"] for hop in path["hops"]), path["log_prob"]) for path in answer["paths"]
    ]
    assert [objects for objects, _ in found] == [objects for objects, _ in expected[:top_k]]
    assert [total for _, total in found] == pytest.approx(
        [total for _, total in expected[:top_k]], abs=2e-4
    )
    assert answer["found"] == len(expected)
    sums: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for objects, total in expected:
        sums[objects[-1]] += math.exp(total)
        counts[objects[-1]] += 1
    best = sorted(sums, key=lambda text: -sums[text])[:top_k]
    assert [one["object"] for one in answer["objects"]] == best
    for one in answer["objects"]:
        assert one["score"] == pytest.approx(sums[one["object"]], rel=1e-3)
        assert one["log_prob"] == pytest.approx(math.log(one["score"]))
        assert one["paths"] == counts[one["object"]]


def test_two_hops(
    post: Post, twin: Twin, words: list[str], calibrated_masks: dict[str, RelationMask]
) -> None:
    answer = post("/paths", subject="Dog", relations=["IsA", "MadeOf"], beam=4, top_k=6)
    hops = [(IS_A, ["IsA"]), (MADE_OF, ["MadeOf"])]
    _check(answer, _search(twin, words, "Dog", hops, beam=4), 6)
    assert answer["subject"] == "Dog"
    assert [hop["template"] for hop in answer["hops"]] == [IS_A, MADE_OF]
    assert [hop["mask"]["digest"] for hop in answer["hops"]] == [
        calibrated_masks[name].digest for name in ("IsA", "MadeOf")
    ]


def test_a_path_says_how_it_was_found(post: Post) -> None:
    answer = post("/paths", subject="dog", relations=["IsA", "MadeOf"], beam=3, top_k=9)
    assert len(answer["paths"]) == 9
    for path in answer["paths"]:
        first, second = path["hops"]
        assert first["subject"] == "dog"
        assert second["subject"] == first["object"]
        assert path["object"] == second["object"]
        assert (first["relation"], second["relation"]) == ("IsA", "MadeOf")
        assert first["prompt"] == "A dog is a [MASK]."
        assert second["prompt"] == f"A {first['object']} is made of [MASK]."
        assert path["log_prob"] == pytest.approx(first["log_prob"] + second["log_prob"])
        assert path["score"] == pytest.approx(first["score"] * second["score"])
        for hop in path["hops"]:
            alone = post(
                "/triples/score",
                subject=hop["subject"],
                relation=hop["relation"],
                object=hop["object"],
            )
            assert hop["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-4)
            if alone["probability"] is None:
                assert hop["probability"] is None
            else:
                assert hop["probability"] == pytest.approx(alone["probability"], abs=1e-4)
    assert answer["paths"][0]["hops"][0]["probability"] is not None
    assert answer["paths"][0]["hops"][1]["probability"] is None


def test_four_hops_with_unions_and_templates_of_ones_own(
    post: Post, twin: Twin, words: list[str], calibrated_masks: dict[str, RelationMask]
) -> None:
    answer = post(
        "/paths",
        subject="hot shirt",
        relations=["MadeOf", ["IsA", "HasA"], None, "HasProperty"],
        templates=[None, None, "[X] for [Y]", "[Y]? A [X]!"],
        beam=2,
        top_k=3,
    )
    hops = [
        (MADE_OF, ["MadeOf"]),
        (IS_A, ["IsA", "HasA"]),
        ("[X] for [Y]", []),
        ("[Y]? A [X]!", ["HasProperty"]),
    ]
    _check(answer, _search(twin, words, "hot shirt", hops, beam=2), 3)
    united = combine_masks([calibrated_masks["IsA"], calibrated_masks["HasA"]])
    assert answer["hops"][1]["mask"]["digest"] == united.digest
    assert answer["hops"][2]["mask"] is None
    assert answer["hops"][1]["relation"] == ["IsA", "HasA"]


def test_unmasked_and_with_a_way_to_combine(post: Post, twin: Twin, words: list[str]) -> None:
    fields = {"relations": [["IsA", "HasA"], "MadeOf"], "beam": 3, "top_k": 3}
    answer = post("/paths", subject="dog", masked=False, **fields)
    _check(answer, _search(twin, words, "dog", [(IS_A, []), (MADE_OF, [])], beam=3), 3)
    common = post("/paths", subject="dog", combine="intersection", **fields)
    assert common["hops"][0]["mask"]["combine"] == "intersection"
    assert common["hops"][1]["mask"]["combine"] == "union"
    assert common["paths"] != answer["paths"]


@pytest.mark.parametrize("beam", [1, 100])
def test_nothing_leads_back_to_the_start(post: Post, words: list[str], beam: int) -> None:
    answer = post("/paths", subject="DOG ", relations=["IsA", "IsA"], beam=beam, top_k=999)
    visited = {hop["object"] for path in answer["paths"] for hop in path["hops"]}
    assert visited
    assert "dog" not in visited
    if beam == 100:
        # Every path there is: each of the other words, from each of them.
        assert answer["found"] == min(beam, len(words) - 1) ** 2
        assert len(answer["objects"]) == min(beam, len(words) - 1)


def test_hops_of_many_are_asked_together_and_answered_in_order(post: Post) -> None:
    queries: list[dict[str, Any]] = [
        {"subject": "dog", "relations": ["IsA", "MadeOf"], "beam": 3},
        {"subject": "dog", "relations": ["IsA", "Nothing"]},
        {"subject": "shirt", "relations": ["MadeOf", "IsA", "UsedFor"], "beam": 2},
    ]
    results = post("/paths", queries=queries)["results"]
    assert [result.get("status", 200) for result in results] == [200, 404, 200]
    for place in (0, 2):
        alone = post("/paths", **queries[place])
        for one, other in zip(results[place]["paths"], alone["paths"], strict=True):
            assert [hop["object"] for hop in one["hops"]] == [
                hop["object"] for hop in other["hops"]
            ]
            assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-4)


@pytest.mark.parametrize("name", PATH_EXAMPLES)
def test_the_examples_of_the_documentation_run(post: Post, name: str) -> None:
    assert post("/paths", **PATH_EXAMPLES[name]["value"])["paths"]
