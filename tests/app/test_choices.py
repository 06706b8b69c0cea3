"""`POST /score_choices` over HTTP."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from masks import RelationMask, combine_masks
from plm import BaseModel, Engine, score_choices

CONTEXT = "the cat can"
CHOICES = ["run", "eat food", "fly in the sky"]


def test_choices_score_as_plm_scores_them(
    client: httpx.Client, base: BaseModel, relation_masks: dict[str, RelationMask]
) -> None:
    engine = Engine(base)
    both = combine_masks([relation_masks["CapableOf"], relation_masks["Desires"]])
    for relations, mask in (
        (None, None),
        (["CapableOf"], relation_masks["CapableOf"]),
        (["CapableOf", "Desires"], both),
    ):
        for options in ({}, {"scoring": "answer", "normalize": "pmi"}, {"scoring": "pll"}):
            body = {"context": CONTEXT, "choices": CHOICES, "relations": relations, **options}
            answer = client.post("/score_choices", json=body).raise_for_status().json()
            expected = score_choices(engine, CONTEXT, CHOICES, mask, **options)
            scores = [one["score"] for one in answer["choices"]]
            assert scores == pytest.approx([one.score for one in expected], abs=1e-4)
            assert [one["choice"] for one in answer["choices"]] == CHOICES
            assert answer["best"] == scores.index(max(scores))
            assert sum(one["probability"] for one in answer["choices"]) == pytest.approx(1)
            assert all(one["tokens"] is None for one in answer["choices"])
            assert (answer["mask"] or {}).get("relations") == relations
            assert answer["scoring"] == options.get("scoring", "context")


def test_tokens_add_up_to_the_score(client: httpx.Client) -> None:
    body = {"context": CONTEXT, "choices": CHOICES, "scoring": "pll", "tokens": True}
    answer = client.post("/score_choices", json=body).raise_for_status().json()
    for one in answer["choices"]:
        assert sum(part["log_prob"] for part in one["tokens"]) == pytest.approx(
            one["score"], abs=1e-4
        )
        assert {part["part"] for part in one["tokens"]} == {"context", "choice"}


def test_unmasked_in_spite_of_relations(client: httpx.Client) -> None:
    plain = {"context": CONTEXT, "choices": CHOICES}
    bodies = [plain, plain | {"relations": ["CapableOf"], "masked": False}]
    first, second = (client.post("/score_choices", json=body).json() for body in bodies)
    assert second["mask"] is None
    assert first["choices"] == second["choices"]


def test_many_questions_and_one_bad_among_them(client: httpx.Client) -> None:
    good = {"context": CONTEXT, "choices": CHOICES, "relations": ["CapableOf"]}
    bad = {"context": CONTEXT, "choices": ["run", "run"]}
    body = {"questions": [good, bad, good | {"relations": None}]}
    results = client.post("/score_choices", json=body).raise_for_status().json()["results"]
    assert results[0]["best"] == client.post("/score_choices", json=good).json()["best"]
    assert results[1]["status"] == 422
    assert results[1]["errors"][0]["pointer"] == "#/questions/1/choices/1"
    assert results[2]["mask"] is None


@pytest.mark.parametrize(
    ("fields", "status", "kind", "pointer"),
    [
        ({"choices": ["run"]}, 422, "invalid-request", "#/choices"),
        ({"choices": None}, 422, "invalid-request", "#/choices"),
        ({"choices": ["run", ""]}, 422, "invalid-prompt", "#/choices/1"),
        ({"choices": ["run", "a [MASK]"]}, 422, "invalid-prompt", "#/choices/1"),
        ({"context": " "}, 422, "invalid-prompt", "#/context"),
        ({"context": None, "scoring": "context"}, 422, "invalid-request", "#/scoring"),
        ({"context": None, "normalize": "pmi"}, 422, "invalid-request", "#/normalize"),
        ({"scoring": "best"}, 422, "invalid-request", "#/scoring"),
        ({"normalize": "word"}, 422, "invalid-request", "#/normalize"),
        ({"relations": "auto"}, 422, "invalid-request", "#/relations"),
        ({"relations": "IsA"}, 422, "invalid-request", "#/relations"),
        ({"relations": []}, 422, "invalid-request", "#/relations"),
        ({"combine": "union"}, 422, "invalid-combine", "#/combine"),
        ({"relations": ["IsA"], "combine": "vote:2"}, 422, "invalid-combine", "#/combine"),
        ({"relation": "IsA"}, 422, "invalid-request", "#/relation"),
        ({"context": "the " * 600}, 422, "invalid-prompt", "#/choices/0"),
    ],
)
def test_bad_questions_are_refused(
    client: httpx.Client,
    refused: Callable[..., dict[str, Any]],
    *,
    fields: dict[str, Any],
    status: int,
    kind: str,
    pointer: str,
) -> None:
    body = {"context": CONTEXT, "choices": CHOICES} | fields
    problem = refused(client.post("/score_choices", json=body), status, kind)
    assert problem["errors"][0]["pointer"] == pointer


def test_an_unknown_relation(client: httpx.Client, refused: Callable[..., dict[str, Any]]) -> None:
    body = {"context": CONTEXT, "choices": CHOICES, "relations": ["CapabelOf"]}
    problem = refused(client.post("/score_choices", json=body), 404, "unknown-relation")
    assert problem["nearest"] == "CapableOf"
