"""POST /predict_links: the answers, held against the Hugging Face model under torch's pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.schemas.link_examples import LINK_EXAMPLES

if TYPE_CHECKING:
    from tests.app.links.conftest import Twin

from masks import RelationMask
from plm import BaseModel

Post = Callable[..., dict[str, Any]]

IS_A = "A [X] is a [Y]."
MADE_OF = "A [X] is made of [Y]."
USED_FOR = "A [X] is used for [Y]."
CANDIDATES = ["eat", "cut food", "playing", "sleep", "hot water house", "cats", "wood"]


def _pairs(answer: dict[str, Any], end: str = "object") -> list[tuple[str, float]]:
    return [(link[end], link["log_prob"]) for link in answer["links"]]


def _same(found: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]]) -> None:
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [score for _, score in found] == pytest.approx(
        [score for _, score in expected], abs=1e-4
    )


def realistic_rank(scores: Sequence[float], truth: float) -> float:
    """The rank by counting; `scores` are those of all others."""
    tolerance = 1e-5 + 1e-4 * abs(truth)
    above = sum(score > truth + tolerance for score in scores)
    level = sum(abs(score - truth) <= tolerance for score in scores)
    return above + 1 + level / 2


def test_objects_of_the_vocabulary_are_ranked(
    post: Post,
    twin: Twin,
    words: list[str],
    base: BaseModel,
    calibrated_masks: dict[str, RelationMask],
) -> None:
    answer = post("/predict_links", subject="linen", relation="MadeOf", top_k=7)
    _same(_pairs(answer), twin.ranking(words, MADE_OF, "linen", ["MadeOf"])[:7])
    mask = calibrated_masks["MadeOf"]
    assert answer["links"][0].keys() == {
        "subject", "relation", "object", "log_prob", "score", "probability", "likely",
    }  # fmt: skip
    assert {link["subject"] for link in answer["links"]} == {"linen"}
    assert {link["relation"] for link in answer["links"]} == {"MadeOf"}
    assert answer["candidates"] == len(words)
    assert (answer["filtered"], answer["left_out"], answer["ranks"]) == (0, 0, None)
    assert answer["prompt"] == "A linen is made of [MASK]."
    assert answer["template"] == MADE_OF
    assert answer["mask"] == {
        "relations": ["MadeOf"],
        "combine": "union",
        "digest": mask.digest,
        "sparsity": pytest.approx(mask.sparsity),
    }
    assert answer["base"] == {"name": base.name, "digest": base.digest}
    assert (answer["subject"], answer["object"]) == ("linen", None)


def test_subjects_are_ranked_for_an_object_of_any_number_of_tokens(
    post: Post, twin: Twin, words: list[str]
) -> None:
    answer = post("/predict_links", relation="UsedFor", object="cutting hot  food", top_k=5)
    expected = twin.ranking(words, USED_FOR, "cutting hot food", ["UsedFor"], "subject")[:5]
    _same(_pairs(answer, "subject"), expected)
    assert answer["prompt"] == "A [MASK] is used for cutting hot food."
    assert {link["object"] for link in answer["links"]} == {"cutting hot  food"}
    assert answer["object"] == "cutting hot  food"


@pytest.mark.parametrize(
    ("fields", "relations", "template"),
    [
        ({"relation": "UsedFor"}, ["UsedFor"], USED_FOR),
        ({"relation": ["UsedFor", "MadeOf"], "combine": "union"}, ["UsedFor", "MadeOf"], USED_FOR),
        ({"relation": "UsedFor", "masked": False}, [], USED_FOR),
        ({"relation": "UsedFor", "template": "[X]: [Y]?"}, ["UsedFor"], "[X]: [Y]?"),
        ({"relation": None, "template": "[Y], said the [X]."}, [], "[Y], said the [X]."),
    ],
)
@pytest.mark.parametrize("asked", ["subject", "object"])
def test_candidates_of_any_length_score_the_mean_over_their_masks(
    post: Post,
    twin: Twin,
    *,
    fields: dict[str, Any],
    relations: list[str],
    template: str,
    asked: str,
) -> None:
    given = {"object": "subject", "subject": "object"}[asked]
    answer = post("/predict_links", **fields, **{given: "knife"}, candidates=CANDIDATES)
    _same(_pairs(answer, asked), twin.ranking(CANDIDATES, template, "knife", relations, asked))
    for link in answer["links"]:
        assert link["score"] == pytest.approx(2.718281828 ** link["log_prob"], rel=1e-6)
    assert answer["candidates"] == len(CANDIDATES)


def test_single_tokens_get_exactly_what_complete_gives(post: Post) -> None:
    completions = post("/complete", subject="dog", relation="UsedFor", top_k=30)["completions"]
    links = post("/predict_links", subject="dog", relation="UsedFor", top_k=30)["links"]
    for one, other in zip(completions, links, strict=True):
        assert one["object"] == other["object"]
        assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-5)
    given = [one["object"] for one in completions]
    scored = post("/predict_links", subject="dog", relation="UsedFor", candidates=given, top_k=30)
    for one, other in zip(completions, scored["links"], strict=True):
        assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-5)


def test_the_vocabulary_with_a_truth_lists_what_it_lists_without(post: Post) -> None:
    listed = post("/predict_links", subject="dog", relation="UsedFor", filter=["eat", "cat"])
    scored = post(
        "/predict_links", subject="dog", relation="UsedFor", filter=["eat", "cat"], truth="sleep"
    )
    _same(_pairs(listed), _pairs(scored))
    assert listed["filtered"] == scored["filtered"] == 2


def test_candidates_of_a_knowledge_base_are_those_of_the_relation(post: Post, twin: Twin) -> None:
    known = {"knowledge": "animals"}
    answer = post("/predict_links", subject="knife", relation="UsedFor", candidates=known)
    texts = ["cut food", "cuts", "eat"]
    _same(_pairs(answer), twin.ranking(texts, USED_FOR, "knife", ["UsedFor"]))
    assert answer["left_out"] == 0

    answer = post("/predict_links", object="pet", relation="IsA", candidates=known)
    texts = ["dog", "cat", "bird"]
    _same(_pairs(answer, "subject"), twin.ranking(texts, IS_A, "pet", ["IsA"], "subject"))

    # The vocabulary has no zebra.
    answer = post("/predict_links", subject="bird", relation="IsA", candidates=known)
    texts = ["animal", "pet", "dog", "hot dog"]
    _same(_pairs(answer), twin.ranking(texts, IS_A, "bird", ["IsA"]))
    assert (answer["candidates"], answer["left_out"]) == (4, 1)

    answer = post("/predict_links", subject="bird", relation=["IsA", "MadeOf"], candidates=known)
    assert answer["candidates"] == 5


def test_all_entities_of_a_knowledge_base_can_be_ranked(post: Post, twin: Twin) -> None:
    known = {"knowledge": "animals", "all": True}
    fields = {"relation": None, "template": "[X] or [Y]", "candidates": known, "top_k": 50}
    answer = post("/predict_links", subject="bird", **fields)
    texts = [
        "dog", "animal", "pet", "cat", "hot dog", "bird", "knife", "cut food", "cuts", "eat",
        "house", "wood",
    ]  # fmt: skip
    _same(_pairs(answer), twin.ranking(texts, "[X] or [Y]", "bird", []))
    # Neither zebra nor table is in the vocabulary.
    assert answer["left_out"] == 2


def test_known_triples_of_all_knowledge_bases_are_left_out(post: Post, words: list[str]) -> None:
    plain = post("/predict_links", subject="DOG", relation="IsA", top_k=200)
    left = post("/predict_links", subject="DOG", relation="IsA", top_k=200, filter=True)
    known = {"animal", "pet", "dog", "fabric"}
    assert [pair for pair in _pairs(plain) if pair[0] not in known] == _pairs(left)
    assert left["filtered"] == 4
    assert len(_pairs(left)) == len(words) - 4

    more = post(
        "/predict_links", subject="dog", relation="IsA", top_k=200, filter=["Cat", "hot dog"]
    )
    assert {text for text, _ in _pairs(left)} - {text for text, _ in _pairs(more)} == {"cat"}
    assert more["filtered"] == 5

    none = post("/predict_links", subject="dog", relation="IsA", top_k=200, filter=False)
    _same(_pairs(none), _pairs(plain))

    subjects = post("/predict_links", object="wood", relation="MadeOf", top_k=200, filter=True)
    assert "house" not in dict(_pairs(subjects, "subject"))
    assert subjects["filtered"] == 1


def test_filtered_candidates_of_several_tokens_are_left_out(post: Post) -> None:
    answer = post(
        "/predict_links", subject="knife", relation="UsedFor", candidates=CANDIDATES, filter=True
    )
    assert sorted(text for text, _ in _pairs(answer)) == sorted(
        text for text in CANDIDATES if text not in ("cut food", "eat")
    )
    everything = post(
        "/predict_links", subject="knife", relation="UsedFor", candidates=["eat"], filter=True
    )
    assert (everything["links"], everything["filtered"]) == ([], 1)


def test_truths_are_ranked_among_all_but_what_is_known(
    post: Post, twin: Twin, words: list[str]
) -> None:
    scores = dict(twin.ranking(words, IS_A, "dog", ["IsA"]))
    truths = ["cloth", "Animal", "sky"]
    known = {"animal", "pet", "dog", "fabric"}
    for fields, dropped in (
        ({}, known | {"cloth", "sky"}),
        ({"filter": True}, known | {"cloth", "sky"}),
        ({"filter": ["tree"]}, known | {"cloth", "sky", "tree"}),
        ({"filter": False}, set()),
    ):
        answer = post("/predict_links", subject="dog", relation="IsA", truth=truths, **fields)
        assert [one["truth"] for one in answer["ranks"]] == ["cloth", "animal", "sky"]
        for one in answer["ranks"]:
            text = one["truth"]
            others = [
                score for word, score in scores.items() if word not in dropped and word != text
            ]
            rank = realistic_rank(others, scores[text])
            assert one["rank"] == rank
            assert one["reciprocal_rank"] == pytest.approx(1 / rank)
            assert one["log_prob"] == pytest.approx(scores[text], abs=1e-4)
            assert one["competing"] == len(others) + 1
            for k in (1, 3, 10):
                assert one[f"hits_at_{k}"] == float(rank <= k)
        hidden = dropped - {"cloth", "sky"} if fields.get("filter") else set()
        assert not hidden & set(dict(_pairs(answer)))


def test_a_truth_of_several_tokens_is_ranked_among_given_candidates(post: Post, twin: Twin) -> None:
    ranked = [text for text, _ in twin.ranking(CANDIDATES, MADE_OF, "shirt", ["MadeOf"])]
    answer = post(
        "/predict_links",
        subject="shirt",
        relation="MadeOf",
        candidates=CANDIDATES,
        truth="Cut  Food",
        top_k=1,
    )
    (rank,) = answer["ranks"]
    assert rank["truth"] == "cut food"
    assert rank["rank"] == ranked.index("cut food") + 1
    assert len(answer["links"]) == 1


def test_many_are_answered_in_order_with_the_means_over_all_truths(
    client: httpx.Client, post: Post
) -> None:
    queries: list[dict[str, Any]] = [
        {"subject": "dog", "relation": "IsA", "truth": ["cloth", "sky"], "top_k": 1},
        {"subject": "dog", "relation": "NoSuch", "truth": "sky"},
        {"object": "wood", "relation": "MadeOf", "truth": "house", "candidates": ["house", "cats"]},
        {"subject": "dog", "relation": "IsA"},
    ]
    body = post("/predict_links", queries=queries)
    assert list(body) == ["results", "metrics"]
    results = body["results"]
    assert [result.get("status", 200) for result in results] == [200, 404, 200, 200]
    ranks = []
    for place in (0, 2, 3):
        alone = post("/predict_links", **queries[place])
        _same(
            [
                (link["object"] + link["subject"], link["log_prob"])
                for link in results[place]["links"]
            ],
            [(link["object"] + link["subject"], link["log_prob"]) for link in alone["links"]],
        )
        ranks.extend(alone["ranks"] or ())
    assert body["metrics"] == {
        "truths": 3,
        "mean_rank": pytest.approx(sum(one["rank"] for one in ranks) / 3),
        "mrr": pytest.approx(sum(one["reciprocal_rank"] for one in ranks) / 3),
        "hits_at_1": pytest.approx(sum(one["hits_at_1"] for one in ranks) / 3),
        "hits_at_3": pytest.approx(sum(one["hits_at_3"] for one in ranks) / 3),
        "hits_at_10": pytest.approx(sum(one["hits_at_10"] for one in ranks) / 3),
    }
    assert list(post("/predict_links", queries=queries[3:])) == ["results"]
    assert list(post("/predict_links", queries=queries[1:2])) == ["results"]
    assert list(client.post("/complete", json={"queries": queries[3:]}).json()) == ["results"]


def test_thousands_of_candidates_are_ranked_in_a_row_for_each_length(post: Post) -> None:
    words = ["dog", "cat", "wood", "house", "knife", "tree", "car", "bird", "shirt", "food"]
    candidates = [
        f"{one} {other} {third}".strip()
        for one in words
        for other in ("", *words)
        for third in ("", *words)
    ]
    candidates = list(dict.fromkeys(" ".join(text.split()) for text in candidates))
    answer = post(
        "/predict_links", subject="dog", relation="IsA", candidates=candidates, top_k=2000
    )
    assert len(answer["links"]) == len(candidates) == 1110
    scores = [link["log_prob"] for link in answer["links"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", LINK_EXAMPLES)
def test_the_examples_of_the_documentation_run(post: Post, name: str) -> None:
    answer = post("/predict_links", **LINK_EXAMPLES[name]["value"])
    assert all(one.get("status", 200) == 200 for one in answer.get("results", [answer]))
