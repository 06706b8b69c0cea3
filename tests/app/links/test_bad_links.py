"""Whatever is wrong with a question about links gets a problem that says what would be right."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Refused = Callable[..., dict[str, Any]]
JSON = {"content-type": "application/json"}


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    # By hand: httpx refuses lone surrogates, which JSON can spell.
    return client.post(path, content=json.dumps(body), headers=JSON)


def _check(problem: dict[str, Any], pointer: str, words: str) -> None:
    (fault,) = problem["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]
    assert words in problem["detail"]


@pytest.mark.parametrize(
    ("change", "kind", "pointer", "words"),
    [
        ({"subject": None}, "invalid-request", "#/subject", "either subject nor object is"),
        ({"object": "wood"}, "invalid-request", "#/object", "both given"),
        ({"subject": ""}, "invalid-prompt", "#/subject", "blank"),
        ({"subject": "a [MASK]"}, "invalid-prompt", "#/subject", "[MASK]"),
        ({"subject": "a\x00"}, "invalid-prompt", "#/subject", "U+0000"),
        ({"subject": "dog " * 60}, "invalid-prompt", "#/subject", "at most 48"),
        ({"subject": None, "object": " "}, "invalid-prompt", "#/object", "blank"),
        ({"subject": None, "object": "[SEP]"}, "invalid-prompt", "#/object", "[SEP]"),
        ({"subject": None, "object": "dog " * 60}, "invalid-prompt", "#/object", "at most 48"),
        ({"subject": None, "object": "x" * 10_001}, "invalid-request", "#/object", "10000"),
        ({"subject": None, "object": 7}, "invalid-request", "#/object", "string"),
        ({"relation": []}, "invalid-request", "#/relation", "1 to 64"),
        ({"relation": None}, "invalid-prompt", "#/template", "needed"),
        ({"combine": "vote:2"}, "invalid-combine", "#/combine", "1 to 1"),
        ({"template": "It is [Y]."}, "invalid-prompt", "#/template", "no [X]"),
        ({"template": "It is [X]."}, "invalid-prompt", "#/template", "exactly once"),
        ({"template": "[X] [SEP] [Y]"}, "invalid-prompt", "#/template", "[SEP]"),
        ({"subject": None, "object": "a", "template": "[Y]."}, "invalid-prompt", "#/template",
         "no [X]"),
        ({"top_k": 0}, "invalid-request", "#/top_k", "greater than or equal to 1"),
        ({"candidates": []}, "invalid-request", "#/candidates", "empty"),
        ({"candidates": None}, "invalid-request", "#/candidates", "must be 'vocabulary', a list"),
        ({"candidates": "words"}, "invalid-request", "#/candidates", "must be 'vocabulary', a"),
        ({"candidates": ["dog", 7]}, "invalid-request", "#/candidates", "item 2 of the list"),
        ({"candidates": ["dog", ""]}, "invalid-request", "#/candidates/1", "blank"),
        ({"candidates": ["dog", "\ud800"]}, "invalid-request", "#/candidates/1", "U+D800"),
        ({"candidates": ["dog", "a\x07"]}, "invalid-request", "#/candidates/1", "U+0007"),
        ({"candidates": ["[MASK] dog"]}, "invalid-request", "#/candidates/0", "special token"),
        ({"candidates": ["dog", "a § b"]}, "invalid-request", "#/candidates/1", "vocabulary"),
        ({"candidates": ["cat " * 33]}, "invalid-request", "#/candidates/0", "at most 32"),
        ({"candidates": ["hot dog", "cat", "Hot  DOG"]}, "invalid-request", "#/candidates/2",
         "the same tokens as 'hot dog'"),
        ({"subject": "a " * 30, "candidates": ["dog " * 20]}, "invalid-prompt", "#/subject",
         "ith an object of 20 tokens"),
        ({"candidates": {}}, "invalid-request", "#/candidates/knowledge", "required"),
        ({"candidates": {"knowledge": 7}}, "invalid-request", "#/candidates/knowledge", "string"),
        ({"candidates": {"knowledge": "animals", "any": True}}, "invalid-request",
         "#/candidates/any", "knowledge, all"),
        ({"candidates": {"knowledge": "things"}, "relation": "UsedFor"}, "invalid-request",
         "#/candidates", "no object of UsedFor"),
        ({"candidates": {"knowledge": "animals"}, "relation": None, "template": "[X] [Y]"},
         "invalid-request", "#/candidates", '"all": true'),
        ({"filter": "cat"}, "invalid-request", "#/filter", "true, false, or a list"),
        ({"filter": ["cat", None]}, "invalid-request", "#/filter", "item 2 of the list"),
        ({"filter": ["cat", " "]}, "invalid-request", "#/filter/1", "blank"),
        ({"filter": True, "relation": None, "template": "[X] [Y]"}, "invalid-request", "#/filter",
         "ithout a relation nothing"),
        ({"truth": 3}, "invalid-request", "#/truth", "a string or a list"),
        ({"truth": []}, "invalid-request", "#/truth", "one at least"),
        ({"truth": "cut food"}, "invalid-request", "#/truth", "'cut food' is not one of the voc"),
        ({"truth": ["cat", "§"]}, "invalid-request", "#/truth/1", "not one of the vocabulary's"),
        ({"truth": ["cat", "dog", " CAT"]}, "invalid-request", "#/truth/2", "named twice"),
        ({"truth": "\ud800"}, "invalid-request", "#/truth", "not one of"),
        ({"truth": "fly", "candidates": ["cat", "dog"]}, "invalid-request", "#/truth",
         "'fly' is not among the 2 candidates"),
        ({"likely": "yes"}, "invalid-request", "#/likely", "boolean"),
        ({"colour": "red"}, "invalid-request", "#/colour", "candidates"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_named(
    client: httpx.Client,
    refused: Refused,
    *,
    change: dict[str, Any],
    kind: str,
    pointer: str,
    words: str,
) -> None:
    query = {"subject": "dog", "relation": "IsA"} | change
    _check(refused(_post(client, "/predict_links", query), 422, kind), pointer, words)
    # Among many it is told in the same way, and costs no other.
    many = {"queries": [{"subject": "dog", "relation": "IsA"}, query]}
    response = _post(client, "/predict_links", many)
    fine, problem = response.json()["results"]
    assert fine["links"]
    assert problem["status"] == 422
    _check(problem, pointer.replace("#/", "#/queries/1/"), words)


def test_every_unusable_candidate_and_truth_is_named(
    client: httpx.Client, refused: Refused
) -> None:
    query = {"subject": "dog", "relation": "IsA", "candidates": ["cat", "", "§", "Cat", "dog"]}
    problem = refused(client.post("/predict_links", json=query), 422, "invalid-request")
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "#/candidates/1",
        "#/candidates/2",
        "#/candidates/3",
    ]
    query = {"subject": "dog", "relation": "IsA", "truth": ["cat", "no word", "§", "cat"]}
    problem = refused(client.post("/predict_links", json=query), 422, "invalid-request")
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "#/truth/1",
        "#/truth/2",
        "#/truth/3",
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict_links", {"subject": "dog", "relation": "isa"}),
        ("/triples/score", {"subject": "dog", "relation": "isa", "object": "cat"}),
        ("/paths", {"subject": "dog", "relations": ["IsA", "isa"]}),
        ("/paths", {"subject": "dog", "relations": ["UsedFor", ["IsA", "isa"]], "masked": False}),
    ],
)
def test_an_unknown_relation_names_the_nearest(
    client: httpx.Client, refused: Refused, path: str, body: dict[str, Any]
) -> None:
    problem = refused(client.post(path, json=body), 404, "unknown-relation")
    assert problem["nearest"] == "IsA"


def test_an_unknown_knowledge_base_names_the_known_and_the_nearest(
    client: httpx.Client, refused: Refused
) -> None:
    query = {"subject": "dog", "relation": "IsA", "candidates": {"knowledge": "Animal"}}
    problem = refused(client.post("/predict_links", json=query), 404, "unknown-knowledge")
    assert problem["known"] == ["animals", "things"]
    assert problem["nearest"] == "animals"
    assert "did you mean 'animals'?" in problem["detail"]
    query["candidates"] = {"knowledge": "zzz"}
    problem = refused(client.post("/predict_links", json=query), 404, "unknown-knowledge")
    assert problem["nearest"] is None


def test_too_many_candidates_are_refused(client: httpx.Client, refused: Refused) -> None:
    query = {"subject": "dog", "relation": "IsA", "truth": "cat", "top_k": 1}
    response = client.post("/predict_links", json={"queries": [query] * 64})
    problem = refused(response, 422, "too-many-candidates")
    assert problem["limit"] == 5000
    # Where only the best are asked for, none is scored one by one.
    del query["truth"]
    response = client.post("/predict_links", json={"queries": [query] * 64})
    assert len(response.json()["results"]) == 64


def test_too_many_links_are_refused(client: httpx.Client, refused: Refused) -> None:
    query = {"subject": "dog", "relation": "IsA", "top_k": 50}
    response = client.post("/predict_links", json={"queries": [query] * 41})
    assert refused(response, 422, "too-many-completions")["limit"] == 2000


@pytest.mark.parametrize(
    ("change", "kind", "pointer", "words"),
    [
        ({"subject": " "}, "invalid-prompt", "#/subject", "blank"),
        ({"subject": None}, "invalid-request", "#/subject", "string"),
        ({"subject": "[SEP]"}, "invalid-prompt", "#/subject", "[SEP]"),
        ({"object": ""}, "invalid-request", "#/object", "blank"),
        ({"object": None}, "invalid-request", "#/object", "string"),
        ({"object": "a [MASK]"}, "invalid-request", "#/object", "special token"),
        ({"object": "§"}, "invalid-request", "#/object", "in the vocabulary"),
        ({"object": "\udc80"}, "invalid-request", "#/object", "surrogate"),
        ({"object": "a\x01"}, "invalid-request", "#/object", "U+0001"),
        ({"object": "dog " * 33}, "invalid-request", "#/object", "at most 32"),
        ({"subject": "a " * 30, "object": "dog " * 20}, "invalid-prompt", "#/subject", "reads at"),
        ({"template": "It is [Y]."}, "invalid-prompt", "#/template", "no [X]"),
        ({"template": "no place"}, "invalid-prompt", "#/template", "exactly once"),
        ({"relation": None}, "invalid-prompt", "#/template", "needed"),
        ({"relation": 3}, "invalid-request", "#/relation", "list of names"),
        ({"combine": "xor"}, "invalid-combine", "#/combine", "vote:k"),
        ({"top_k": 3}, "invalid-request", "#/top_k", "no such field"),
    ],
)
def test_a_triple_that_cannot_be_scored_is_told(
    client: httpx.Client,
    refused: Refused,
    *,
    change: dict[str, Any],
    kind: str,
    pointer: str,
    words: str,
) -> None:
    triple = {"subject": "dog", "relation": "IsA", "object": "cat"} | change
    _check(refused(_post(client, "/triples/score", triple), 422, kind), pointer, words)


@pytest.mark.parametrize(
    ("change", "kind", "pointer", "words"),
    [
        ({"subject": ""}, "invalid-prompt", "#/subject", "blank"),
        ({"subject": "dog " * 60}, "invalid-prompt", "#/subject", "at most 48"),
        ({"relations": ["IsA"]}, "invalid-request", "#/relations", "at least 2"),
        ({"relations": ["IsA"] * 5}, "invalid-request", "#/relations", "at most 4"),
        ({"relations": "IsA"}, "invalid-request", "#/relations", "list"),
        ({"relations": ["IsA", 7]}, "invalid-request", "#/relations/1", "list of names"),
        ({"relations": ["IsA", []]}, "invalid-request", "#/relations/1", "1 to 64"),
        ({"relations": ["IsA", None]}, "invalid-prompt", "#/templates/1", "needed"),
        ({"relations": [None, "IsA"]}, "invalid-prompt", "#/templates/0", "needed"),
        ({"combine": "union"}, "invalid-combine", "#/combine", "o hop names a list"),
        ({"combine": "vote:3", "relations": [["IsA", "HasA"], "IsA"]}, "invalid-combine",
         "#/combine", "1 to 2"),
        ({"beam": 0}, "invalid-request", "#/beam", "greater than or equal to 1"),
        ({"beam": 101}, "invalid-request", "#/beam", "less than or equal to 100"),
        ({"top_k": 0}, "invalid-request", "#/top_k", "greater than or equal to 1"),
        ({"templates": ["[X] [Y]"] * 3}, "invalid-request", "#/templates", "2 hops need as many"),
        ({"templates": "[X] [Y]"}, "invalid-request", "#/templates", "list"),
        ({"templates": ["[X] [Y]", "[Y]"]}, "invalid-prompt", "#/templates/1", "no [X]"),
        ({"templates": ["[Y]", None]}, "invalid-prompt", "#/templates/0", "no [X]"),
        ({"templates": ["[X] [SEP] [Y]", None]}, "invalid-prompt", "#/templates/0", "[SEP]"),
        ({"templates": [None, "[X] [MASK] [Y]"]}, "invalid-prompt", "#/templates/1", "[MASK]"),
        ({"templates": [None, "a " * 60 + "[X] [Y]"]}, "invalid-prompt", "#/templates/1",
         "reads at most"),
        ({"hops": 2}, "invalid-request", "#/hops", "no such field"),
    ],
)  # fmt: skip
def test_a_path_that_cannot_be_followed_is_told(
    client: httpx.Client,
    refused: Refused,
    *,
    change: dict[str, Any],
    kind: str,
    pointer: str,
    words: str,
) -> None:
    query = {"subject": "dog", "relations": ["IsA", "HasProperty"]} | change
    _check(refused(_post(client, "/paths", query), 422, kind), pointer, words)


def test_too_many_paths_are_refused(client: httpx.Client, refused: Refused) -> None:
    query = {"subject": "dog", "relations": ["IsA", "HasProperty"], "beam": 40, "top_k": 1500}
    response = client.post("/paths", json=query)
    assert refused(response, 422, "too-many-completions")["limit"] == 2000


@pytest.mark.parametrize(
    "body", [{"queries": []}, {"queries": {}}, {"queries": [{"subject": "dog"}], "top_k": 3}]
)
@pytest.mark.parametrize("path", ["/predict_links", "/paths"])
def test_many_are_a_list_and_nothing_else(
    client: httpx.Client, refused: Refused, path: str, body: dict[str, Any]
) -> None:
    refused(client.post(path, json=body), 422, "invalid-request")
