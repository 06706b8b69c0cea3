"""POST /triples/score: the answers, held against the Hugging Face model under torch's pruning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app.schemas.link_examples import TRIPLE_EXAMPLES
from plm import BaseModel
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from tests.app.links.conftest import Twin

Post = Callable[..., dict[str, Any]]

USED_FOR = "A [X] is used for [Y]."


@pytest.mark.parametrize("text", ["wood", "cats", "playing hot food"])
@pytest.mark.parametrize(
    ("fields", "relations", "template"),
    [
        ({"relation": "UsedFor"}, ["UsedFor"], USED_FOR),
        ({"relation": ["UsedFor", "IsA"]}, ["UsedFor", "IsA"], USED_FOR),
        ({"relation": "UsedFor", "masked": False}, [], USED_FOR),
        ({"relation": "IsA", "template": "[Y] is what a [X] is"}, ["IsA"], "[Y] is what a [X] is"),
        ({"relation": None, "template": "[X] and [Y]"}, [], "[X] and [Y]"),
    ],
)
def test_a_triple_scores_the_mean_over_its_masks(
    post: Post,
    twin: Twin,
    *,
    fields: dict[str, Any],
    relations: list[str],
    template: str,
    text: str,
) -> None:
    answer = post("/triples/score", subject="hot knife", object=text, **fields)
    expected = twin.token_scores(template, "hot knife", text, relations)
    assert [one["log_prob"] for one in answer["tokens"]] == pytest.approx(expected, abs=1e-4)
    assert answer["log_prob"] == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    assert answer["score"] == pytest.approx(math.exp(answer["log_prob"]))
    assert (answer["mask"] is None) == (not relations)


def test_an_answer_says_what_was_asked(post: Post, base: BaseModel) -> None:
    answer = post("/triples/score", subject="knife", relation="UsedFor", object=" Playing  food")
    tokens = ["play", "##ing", "food"]
    assert [one["token"] for one in answer["tokens"]] == tokens
    ids = tokenizer_of(base).convert_tokens_to_ids(tokens)
    assert [one["token_id"] for one in answer["tokens"]] == ids
    assert answer["prompt"] == "A knife is used for [MASK] [MASK] [MASK]."
    assert answer["template"] == USED_FOR
    assert answer["subject"] == "knife"
    assert answer["relation"] == "UsedFor"
    assert answer["object"] == " Playing  food"
    assert answer["base"] == {"name": base.name, "digest": base.digest}


def test_a_triple_scores_what_it_scores_as_a_link(post: Post) -> None:
    candidates = ["wood", "hot food", "cats"]
    links = post("/predict_links", subject="dog", relation="IsA", candidates=candidates)["links"]
    for link in links:
        triple = post("/triples/score", subject="dog", relation="IsA", object=link["object"])
        for name in ("log_prob", "score", "probability"):
            assert triple[name] == pytest.approx(link[name], abs=1e-5)
        assert triple["likely"] == link["likely"]


def test_many_are_answered_in_order_and_a_bad_one_alone_is_refused(post: Post) -> None:
    triples: list[dict[str, Any]] = [
        {"subject": "dog", "relation": "IsA", "object": "hot dog"},
        {"subject": "dog", "relation": "IsA", "object": "§"},
        {"subject": "dog", "relation": "No", "object": "cat"},
        {"subject": "house", "relation": "MadeOf", "object": "wood"},
    ]
    results = post("/triples/score", triples=triples)["results"]
    assert [result.get("status", 200) for result in results] == [200, 422, 404, 200]
    assert results[1]["errors"][0]["pointer"] == "#/triples/1/object"
    for place in (0, 3):
        alone = post("/triples/score", **triples[place])
        assert results[place]["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-4)
        assert results[place]["mask"] == alone["mask"]


@pytest.mark.parametrize("name", TRIPLE_EXAMPLES)
def test_the_examples_of_the_documentation_run(post: Post, name: str) -> None:
    answer = post("/triples/score", **TRIPLE_EXAMPLES[name]["value"])
    assert all(one.get("status", 200) == 200 for one in answer.get("results", [answer]))
