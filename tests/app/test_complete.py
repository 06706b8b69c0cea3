"""POST /complete: the answers."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from masks import Combine, PackedMask, RelationMask, combine_masks
from plm import (
    BaseModel,
    Engine,
    Query,
    Template,
    TopTokens,
    complete,
    encode_prompt,
    object_token_id,
)

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def direct(base: BaseModel) -> Callable[..., list[tuple[str, float]]]:
    """(object, log-probability) as plm gives them when it is called without a server."""
    engine = Engine(base)

    def ask(
        template: str,
        subject: str | None,
        mask: PackedMask | None,
        **fields: Any,
    ) -> list[tuple[str, float]]:
        prompt = encode_prompt(base, Template.parse(template), subject)
        query = Query(prompt, mask, TopTokens(**({"words": True} | fields)))
        return [(item.object, item.log_prob) for item in complete(engine, [query])[0]]

    return ask


def _pairs(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(item["object"], item["log_prob"]) for item in answer["completions"]]


def _same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [value for _, value in found] == pytest.approx(
        [value for _, value in expected], abs=1e-4
    )


def test_a_relation_answers_as_plm_does(
    ask: Ask, direct: Callable[..., Any], base: BaseModel, relation_masks: dict[str, RelationMask]
) -> None:
    answer = ask(subject="linen", relation="IsA")
    mask = relation_masks["IsA"]
    _same(_pairs(answer), direct("A [X] is a [Y].", "linen", mask))
    assert answer["prompt"] == "A linen is a [MASK]."
    assert answer["template"] == "A [X] is a [Y]."
    assert answer["subject"] == "linen"
    assert answer["relation"] == "IsA"
    assert answer["base"] == {"name": base.name, "digest": base.digest}
    assert answer["mask"] == {
        "relations": ["IsA"],
        "combine": "union",
        "digest": mask.digest,
        "sparsity": pytest.approx(mask.sparsity),
    }
    best = answer["completions"][0]
    assert len(answer["completions"]) == 10
    assert best["sequence"] == f"A linen is a {best['object']}."
    assert best["token_id"] == object_token_id(base, best["object"])
    assert 0 < best["score"] <= 1


@pytest.mark.parametrize("combine", ["union", "intersection", "difference", "vote:2"])
def test_relations_are_combined_as_masks_combines_them(
    ask: Ask, direct: Callable[..., Any], relation_masks: dict[str, RelationMask], combine: str
) -> None:
    names = ["IsA", "MadeOf", "UsedFor"]
    answer = ask(subject="linen", relation=names, combine=combine)
    mask = combine_masks([relation_masks[name] for name in names], Combine.parse(combine))
    _same(_pairs(answer), direct("A [X] is a [Y].", "linen", mask))
    assert answer["mask"]["digest"] == mask.digest
    assert answer["mask"]["relations"] == names
    assert answer["mask"]["combine"] == combine


def test_a_list_is_united_unless_said_otherwise(
    ask: Ask, relation_masks: dict[str, RelationMask]
) -> None:
    answer = ask(subject="linen", relation=["MadeOf", "IsA"])
    united = combine_masks([relation_masks["IsA"], relation_masks["MadeOf"]])
    assert answer["mask"]["digest"] == united.digest
    assert answer["template"] == "A [X] is made of [Y]."


def test_unmasked_and_masked_differ_and_unmasked_is_the_base(
    ask: Ask, direct: Callable[..., Any]
) -> None:
    masked = ask(subject="linen", relation="IsA")
    unmasked = ask(subject="linen", relation="IsA", masked=False)
    assert unmasked["mask"] is None
    assert unmasked["template"] == masked["template"]
    assert _pairs(unmasked) != _pairs(masked)
    _same(_pairs(unmasked), direct("A [X] is a [Y].", "linen", None))


def test_without_a_relation_the_template_is_asked_unmasked(
    ask: Ask, direct: Callable[..., Any]
) -> None:
    answer = ask(relation=None, template="The sky is [Y].", top_k=3)
    assert answer["mask"] is None
    assert answer["relation"] is None
    assert answer["subject"] is None
    _same(_pairs(answer), direct("The sky is [Y].", None, None, count=3))


def test_a_template_of_ones_own_is_asked_under_the_mask(
    ask: Ask, direct: Callable[..., Any], relation_masks: dict[str, RelationMask]
) -> None:
    answer = ask(subject="bird", relation="CapableOf", template="The [X] can [Y].")
    _same(_pairs(answer), direct("The [X] can [Y].", "bird", relation_masks["CapableOf"]))


def test_targets_are_the_only_ones_ranked(ask: Ask) -> None:
    wide = {
        item["object"]: item
        for item in ask(subject="linen", relation="IsA", top_k=90)["completions"]
    }
    answer = ask(subject="linen", relation="IsA", targets=["cotton", "stone", "water"])
    objects = [item["object"] for item in answer["completions"]]
    assert sorted(objects) == ["cotton", "stone", "water"]
    for item in answer["completions"]:
        # Not renormalised over the targets.
        assert item["log_prob"] == pytest.approx(wide[item["object"]]["log_prob"], abs=1e-4)


def test_filter_leaves_objects_out_and_moves_the_others_up(ask: Ask) -> None:
    plain = _pairs(ask(subject="linen", relation="IsA", top_k=6))
    first, third = plain[0][0], plain[2][0]
    filtered = _pairs(ask(subject="linen", relation="IsA", top_k=4, filter=[first, third]))
    _same(filtered, [plain[1], *plain[3:6]])


def test_filter_holds_for_targets_too(ask: Ask) -> None:
    answer = ask(subject="a", relation="IsA", targets=["dog", "cat"], filter=["dog"])
    assert [item["object"] for item in answer["completions"]] == ["cat"]


def test_the_whole_vocabulary_holds_pieces_that_words_leave_out(ask: Ask, base: BaseModel) -> None:
    every = ask(subject="linen", relation="IsA", top_k=base.vocab_size, vocabulary="all")
    words = ask(subject="linen", relation="IsA", top_k=base.vocab_size)
    assert len(every["completions"]) == base.vocab_size
    assert sum(item["score"] for item in every["completions"]) == pytest.approx(1, abs=1e-4)
    left_out = {item["object"] for item in every["completions"]} - {
        item["object"] for item in words["completions"]
    }
    assert {"##ing", "[MASK]", "."} <= left_out
    assert not left_out & {"linen", "dog"}


def test_the_whole_vocabulary_can_be_filtered(ask: Ask, base: BaseModel) -> None:
    answer = ask(
        subject="linen", relation="IsA", top_k=base.vocab_size, vocabulary="all", filter=["dog"]
    )
    assert len(answer["completions"]) == base.vocab_size - 1


def test_the_time_spent_is_told(client: httpx.Client) -> None:
    # Asked by no other test: an answer from the cache takes the model no time.
    body = {"subject": "wood glass paper", "relation": "IsA"}
    response = client.post("/complete", json=body)
    timing = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert set(timing) == {"queue", "tokenize", "infer"}
    assert all(float(value) >= 0 for value in timing.values())
    assert float(timing["infer"]) > 0


def test_many_are_answered_in_order_and_a_bad_one_alone_is_refused(
    client: httpx.Client, ask: Ask
) -> None:
    queries: list[Any] = [
        {"subject": "linen", "relation": "IsA", "top_k": 2},
        {"subject": "knife", "relation": "NoSuch"},
        {"subject": "dog", "relation": "CapableOf", "top_k": 3},
        {"subject": "", "relation": "IsA"},
        17,
        {"subject": "dog", "relation": "IsA", "colour": "red"},
        {"subject": "shirt", "relation": "MadeOf", "targets": ["playing"]},
        {"subject": "cat", "relation": "IsA", "masked": False, "top_k": 1},
    ]
    response = client.post("/complete", json={"queries": queries})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result.get("status", 200) for result in results] == [
        200, 404, 200, 422, 422, 422, 422, 200,
    ]  # fmt: skip
    assert results[1]["type"] == "urn:relata:problem:unknown-relation"
    assert results[3]["errors"][0]["pointer"] == "#/queries/3/subject"
    assert results[4]["errors"][0]["pointer"] == "#/queries/4"
    assert results[5]["errors"][0]["pointer"] == "#/queries/5/colour"
    assert results[6]["errors"][0]["pointer"] == "#/queries/6/targets/0"
    for index in (0, 2, 7):
        alone = ask(**queries[index])
        _same(_pairs(results[index]), _pairs(alone))
        assert results[index]["mask"] == alone["mask"]


def test_concurrent_requests_get_the_answers_of_sequential_ones(
    client: httpx.Client, relation_masks: dict[str, RelationMask]
) -> None:
    queries = [
        {"subject": subject, "relation": relation, "masked": masked}
        for relation in relation_masks
        for subject in ("linen", "dog", "a very cold house")
        for masked in (True, False)
    ]

    def post(query: dict[str, Any]) -> dict[str, Any]:
        response = client.post("/complete", json=query)
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    sequential = [post(query) for query in queries]
    with ThreadPoolExecutor(12) as pool:
        concurrent = list(pool.map(post, queries))
    for one, other in zip(sequential, concurrent, strict=True):
        _same(_pairs(other), _pairs(one))
        assert other["mask"] == one["mask"]
        assert other["prompt"] == one["prompt"]
