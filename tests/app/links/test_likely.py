"""Calibrated probabilities: where there are some, and lists that are cut to what is likely."""

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Post = Callable[..., dict[str, Any]]
Refused = Callable[..., dict[str, Any]]


def _probability(log_prob: float) -> float:
    """By the fixture's calibration."""
    return 1 / (1 + math.exp(-(0.75 * log_prob + 1.5)))


ASKED = [
    ("/complete", "completions", {}),
    ("/predict_links", "links", {}),
    ("/predict_links", "links", {"truth": "cat"}),
    ("/predict_links", "links", {"candidates": ["animal", "hot dog", "cats", "eat", "wood"]}),
]


@pytest.mark.parametrize(("path", "items", "fields"), ASKED)
@pytest.mark.parametrize("relation", ["IsA", ["IsA"], "HasProperty"])
def test_what_is_asked_of_a_calibrated_relation_has_a_probability(
    post: Post, *, path: str, items: str, fields: dict[str, Any], relation: Any
) -> None:
    answer = post(path, subject="dog", relation=relation, top_k=40, **fields)
    for one in answer[items]:
        assert one["probability"] == pytest.approx(_probability(one["log_prob"]), abs=1e-9)
        assert one["likely"] == (one["probability"] >= 0.35)


@pytest.mark.parametrize(("path", "items", "fields"), ASKED)
def test_a_list_is_cut_to_what_is_likely(
    post: Post, *, path: str, items: str, fields: dict[str, Any]
) -> None:
    found = 0
    for subject in ("dog", "shirt", "red house", "bird", "knife"):
        question = {"subject": subject, "relation": "IsA", "top_k": 40} | fields
        whole = post(path, **question)[items]
        cut = post(path, **question, likely=True)[items]
        assert cut == [one for one in whole if one["likely"]]
        found += 0 < len(cut) < len(whole)
    if not fields.get("candidates"):
        assert found


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("/complete", {"relation": "MadeOf"}, "the mask of MadeOf has no calibration"),
        ("/complete", {"relation": ["IsA", "HasProperty"]}, "single relations"),
        ("/complete", {"relation": "IsA", "masked": False}, "under the relation's mask"),
        ("/complete", {"relation": "IsA", "template": "[X] [Y]"}, "default template"),
        ("/complete", {"relation": None, "template": "[X] [Y]"}, "single relations"),
        ("/complete", {"relation": "IsA", "targets": ["cat"], "normalize": "targets"},
         "whole vocabulary"),
        ("/predict_links", {"relation": "MadeOf"}, "the mask of MadeOf has no calibration"),
        ("/predict_links", {"relation": ["IsA", "HasProperty"]}, "single relations"),
        ("/predict_links", {"relation": "IsA", "masked": False}, "under the relation's mask"),
        ("/predict_links", {"relation": "IsA", "template": "[X] [Y]"}, "default template"),
        ("/predict_links", {"relation": "IsA", "subject": None, "object": "dog"},
         "calibrated for objects"),
    ],
)  # fmt: skip
def test_without_calibration_there_is_no_probability_and_no_cut(
    client: httpx.Client,
    post: Post,
    refused: Refused,
    *,
    path: str,
    fields: dict[str, Any],
    reason: str,
) -> None:
    question = {"subject": "dog"} | fields
    answer = post(path, **question)
    items = answer.get("links") or answer["completions"]
    assert items
    assert {(one["probability"], one["likely"]) for one in items} == {(None, None)}
    problem = refused(client.post(path, json=question | {"likely": True}), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "#/likely"
    assert reason in problem["detail"]


def test_targets_over_the_whole_vocabulary_have_a_probability(post: Post) -> None:
    answer = post("/complete", subject="dog", relation="IsA", targets=["cat", "wood"])
    for one in answer["completions"]:
        assert one["probability"] == pytest.approx(_probability(one["log_prob"]), abs=1e-9)


def test_the_default_template_written_out_is_the_default(post: Post) -> None:
    answer = post("/complete", subject="dog", relation="IsA", template="A [X] is a [Y].")
    assert answer["completions"][0]["probability"] is not None


def test_triples_are_judged_too(post: Post) -> None:
    answer = post("/triples/score", subject="dog", relation="IsA", object="hot dog")
    assert answer["probability"] == pytest.approx(_probability(answer["log_prob"]), abs=1e-9)
    assert answer["likely"] == (answer["probability"] >= 0.35)
    answer = post("/triples/score", subject="dog", relation="MadeOf", object="hot dog")
    assert (answer["probability"], answer["likely"]) == (None, None)
