"""`POST /score_choices` over HTTP."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
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
        ({"context": "the " * 600}, 422, "invalid-prompt", "#/context"),
        ({"choices": ["run", "the " * 60]}, 422, "invalid-prompt", "#/choices/1"),
        ({"choices": ["run", "Run"]}, 422, "invalid-prompt", "#/choices/1"),
        ({"choices": ["run", "a\x01b"]}, 422, "invalid-prompt", "#/choices/1"),
        ({"choices": ["run", 5]}, 422, "invalid-request", "#/choices/1"),
        ({"choices": ["run", "a" * 10_001]}, 422, "invalid-request", "#/choices/1"),
        ({"choices": [f"run {i}" for i in range(65)]}, 422, "invalid-request", "#/choices"),
        ({"tokens": "yes"}, 422, "invalid-request", "#/tokens"),
        ({"relations": ["IsA", None]}, 422, "invalid-request", "#/relations"),
        ({"relations": ["IsA"], "combine": "most"}, 422, "invalid-combine", "#/combine"),
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


def test_relations_are_not_found_by_themselves_yet(
    client: httpx.Client, refused: Callable[..., dict[str, Any]]
) -> None:
    body = {"context": CONTEXT, "choices": CHOICES, "relations": "auto"}
    problem = refused(client.post("/score_choices", json=body), 422, "invalid-request")
    assert "'auto' is not there yet; name the relations" in problem["detail"]


def test_many_questions_share_passes_and_are_answered_each_on_its_own(
    client: httpx.Client, relation_masks: dict[str, RelationMask]
) -> None:
    questions = [
        {
            "context": context,
            "choices": CHOICES[: 2 + number % 2],
            "relations": [relation] if number % 3 else None,
            "scoring": ("pll", "pll_l2r", "context", "answer")[number % 4],
            "tokens": True,
        }
        for number, (relation, context) in enumerate(
            product(relation_masks, ("the cat can", "a very cold house is made of stone and wood"))
        )
    ]
    body = {"questions": questions}
    results = client.post("/score_choices", json=body).raise_for_status().json()["results"]
    for question, result in zip(questions, results, strict=True):
        alone = client.post("/score_choices", json=question).raise_for_status().json()
        assert result["best"] == alone["best"]
        assert result["mask"] == alone["mask"]
        for one, other in zip(result["choices"], alone["choices"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            assert [part["token"] for part in one["tokens"]] == [
                part["token"] for part in other["tokens"]
            ]


@pytest.fixture(scope="module")
def narrow(start_server: Callable[..., Any], base_folder: Path) -> httpx.Client:
    """A server whose requests may need 20 rows, in passes of 30 tokens."""
    server = start_server(
        "--base", str(base_folder), "--packs", "", "--threads", "1",
        "--max-rows", "20", "--token-budget", "30",
    )  # fmt: skip
    client: httpx.Client = server.client
    return client


def test_a_request_of_too_many_rows(
    narrow: httpx.Client, refused: Callable[..., dict[str, Any]]
) -> None:
    # "the cat can" is three tokens, so that three choices are nine rows.
    small = {"context": CONTEXT, "choices": CHOICES}
    large = {"context": "the cat can run and eat food", "choices": CHOICES}
    assert narrow.post("/score_choices", json=small).status_code == 200
    problem = refused(narrow.post("/score_choices", json=large), 422, "too-many-rows")
    assert problem["limit"] == 20
    assert "needs 21 or more sentences" in problem["detail"]
    # One question that is too large fails no other; together they fail as one request.
    two = narrow.post("/score_choices", json={"questions": [small, large, small]})
    assert [one.get("status", 200) for one in two.json()["results"]] == [200, 422, 200]
    three = narrow.post("/score_choices", json={"questions": [small] * 3})
    assert refused(three, 422, "too-many-rows")["limit"] == 20


def test_a_text_longer_than_a_pass(
    narrow: httpx.Client, base: BaseModel, client: httpx.Client
) -> None:
    body = {"choices": ["the cat can run and eat food", "the dog can fly"], "tokens": True}
    answer = narrow.post("/score_choices", json=body).raise_for_status().json()
    expected = score_choices(Engine(base), None, body["choices"])
    assert [one["score"] for one in answer["choices"]] == pytest.approx(
        [one.score for one in expected], abs=1e-4
    )
    assert answer == client.post("/score_choices", json=body).json() | {
        "choices": answer["choices"]
    }
