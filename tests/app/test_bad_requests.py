"""Whatever is wrong with a request gets a problem that says what would be right."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from plm import BaseModel

Refused = Callable[..., dict[str, Any]]
JSON = {"content-type": "application/json"}


def test_an_unknown_relation_names_the_known_and_the_nearest(
    client: httpx.Client, refused: Refused
) -> None:
    response = client.post("/complete", json={"subject": "linen", "relation": "isa"})
    problem = refused(response, 404, "unknown-relation")
    assert problem["nearest"] == "IsA"
    assert "UsedFor" in problem["known"]
    assert "did you mean 'IsA'?" in problem["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"subject": "linen", "relation": ["IsA", "Nothing"]},
        {"subject": "linen", "relation": "Nothing", "masked": False},
        {"subject": "linen", "relation": "Nothing", "template": "A [X] is [Y]."},
        {"subject": "linen", "relation": "\ud800"},
        {"subject": "linen", "relation": ""},
    ],
)
def test_an_unknown_relation_is_never_answered_unmasked(
    client: httpx.Client, refused: Refused, query: dict[str, Any]
) -> None:
    refused(
        client.post("/complete", content=json.dumps(query), headers=JSON), 404, "unknown-relation"
    )


@pytest.mark.parametrize(
    ("change", "kind", "pointer", "words"),
    [
        ({"subject": ""}, "invalid-prompt", "#/subject", "blank"),
        ({"subject": "  \t"}, "invalid-prompt", "#/subject", "blank"),
        ({"subject": None}, "invalid-prompt", "#/subject", "needs a subject"),
        ({"subject": "a [MASK] b"}, "invalid-prompt", "#/subject", "[MASK]"),
        ({"subject": "\u0000"}, "invalid-prompt", "#/subject", "U+0000"),
        ({"subject": "\udc80"}, "invalid-request", "#/subject", "surrogate"),
        ({"subject": "dog " * 60}, "invalid-prompt", "#/subject", "at most 48"),
        ({"subject": "x" * 10_001}, "invalid-request", "#/subject", "10000"),
        ({"subject": 7}, "invalid-request", "#/subject", "string"),
        ({"relation": 7}, "invalid-request", "#/relation", "list of names, or null"),
        ({"relation": []}, "invalid-request", "#/relation", "1 to 64"),
        ({"relation": ["IsA"] * 65}, "invalid-request", "#/relation", "1 to 64"),
        ({"relation": ["IsA", None]}, "invalid-request", "#/relation", "list of names"),
        ({"relation": None}, "invalid-prompt", "#/template", "needed"),
        ({"relation": None, "template": "[Y]", "combine": "union"}, "invalid-combine",
         "#/combine", "no relation"),
        ({"combine": "xor"}, "invalid-combine", "#/combine", "vote:k"),
        ({"combine": "vote:2"}, "invalid-combine", "#/combine", "1 to 1"),
        ({"combine": 3}, "invalid-request", "#/combine", "string"),
        ({"top_k": 0}, "invalid-request", "#/top_k", "greater than or equal to 1"),
        ({"top_k": 100_000}, "invalid-request", "#/top_k", "size of the vocabulary"),
        ({"top_k": "5"}, "invalid-request", "#/top_k", "integer"),
        ({"top_k": 5.0}, "invalid-request", "#/top_k", "integer"),
        ({"top_k": True}, "invalid-request", "#/top_k", "integer"),
        ({"template": "no place"}, "invalid-prompt", "#/template", "exactly once"),
        ({"template": "[X] [Z] [Y]"}, "invalid-prompt", "#/template", "[Z]"),
        ({"template": "[X] [MASK] [Y]"}, "invalid-prompt", "#/template", "[MASK]"),
        ({"template": "The sky is [Y]."}, "invalid-prompt", "#/subject", "no [X]"),
        ({"targets": []}, "invalid-request", "#/targets", "at least 1"),
        ({"targets": "dog"}, "invalid-request", "#/targets", "list"),
        ({"targets": ["dog", "playing"]}, "invalid-word", "#/targets/1", "play, ##ing"),
        ({"targets": ["dog", "§"]}, "invalid-word", "#/targets/1", "not in the vocabulary"),
        ({"targets": ["dog", " "]}, "invalid-word", "#/targets/1", "no word"),
        ({"targets": ["dog", "[MASK]"]}, "invalid-word", "#/targets/1", "special token"),
        ({"targets": ["dog", "cat", "Dog"]}, "invalid-word", "#/targets/2", "once"),
        ({"filter": ["playing"]}, "invalid-word", "#/filter/0", "play, ##ing"),
        ({"targets": ["dog"], "filter": ["dog"]}, "invalid-request", "#/filter", "every target"),
        ({"vocabulary": "some"}, "invalid-request", "#/vocabulary", "'words' or 'all'"),
        ({"masked": "no"}, "invalid-request", "#/masked", "boolean"),
        ({"colour": "red"}, "invalid-request", "#/colour", "top_k"),
        ({"a/b~c é": 1}, "invalid-request", "#/a~1b~0c%20%C3%A9", "no such field"),
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
    query = {"subject": "linen", "relation": "IsA"} | change
    response = client.post("/complete", content=json.dumps(query), headers=JSON)
    problem = refused(response, 422, kind)
    (fault,) = problem["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]
    assert words in problem["detail"]


def test_every_bad_word_is_named(client: httpx.Client, refused: Refused) -> None:
    query = {"subject": "dog", "relation": "IsA", "targets": ["dogs"] * 5 + ["cat", "cats"]}
    problem = refused(client.post("/complete", json=query), 422, "invalid-word")
    assert [fault["pointer"] for fault in problem["errors"]] == [
        *(f"#/targets/{index}" for index in range(5)),
        "#/targets/6",
    ]
    assert "and 3 more" in problem["detail"]


def test_the_relation_must_be_given(client: httpx.Client, refused: Refused) -> None:
    # Left out it is most likely forgotten, and must not be answered by the unmasked model.
    response = client.post("/complete", json={"template": "The sky is [Y]."})
    problem = refused(response, 422, "invalid-request")
    assert problem["errors"] == [{"pointer": "#/relation", "detail": "It is required."}] or (
        problem["errors"][0]["pointer"] == "#/relation"
    )


@pytest.mark.parametrize("body", ["[]", "7", '"IsA"', "null"])
def test_a_body_that_is_no_object_is_refused(
    client: httpx.Client, refused: Refused, body: str
) -> None:
    problem = refused(client.post("/complete", content=body, headers=JSON), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "#"
    assert "JSON object" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"subject": "linen",\n "relation": }', "(line 2, column 14)"),
        (b"", "line 1, column 1"),
        (b'{"subject": "linen", "relation": "IsA", "top_k": NaN}', "NaN"),
        (b'{"subject": "linen", "relation": "IsA", "top_k": -Infinity}', "-Infinity"),
        (b'{"subject": "linen", "relation": "IsA", "top_k": 1e999}', "too large"),
        (b'{"subject": "linen", "relation": "IsA", "top_k": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"subject": "linen", "subject": "dog", "relation": "IsA"}', "repeated"),
        (b'{"subject": "\xff", "relation": "IsA"}', "UTF-8 at byte 13"),
        (b"[" * 30_000, "nested"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(
    client: httpx.Client, refused: Refused, body: bytes, words: str
) -> None:
    problem = refused(client.post("/complete", content=body, headers=JSON), 400, "invalid-json")
    assert words in problem["detail"]


def test_the_place_of_the_fault_can_be_read_by_a_program(
    client: httpx.Client, refused: Refused
) -> None:
    response = client.post("/complete", content=b"{\n!", headers=JSON)
    problem = refused(response, 400, "invalid-json")
    assert (problem["line"], problem["column"]) == (2, 1)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_does_not_say_it_is_json_is_refused(
    client: httpx.Client, refused: Refused, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    body = b'{"subject": "linen", "relation": "IsA"}'
    problem = refused(
        client.post("/complete", content=body, headers=headers), 415, "unsupported-media-type"
    )
    assert "application/json" in problem["detail"]


def test_a_charset_is_no_other_media_type(client: httpx.Client) -> None:
    response = client.post(
        "/complete",
        content=b'{"subject": "linen", "relation": "IsA"}',
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )
    assert response.status_code == 200


def test_a_body_over_the_limit_is_refused(client: httpx.Client, refused: Refused) -> None:
    body = b'{"subject": "' + b"x" * 70_000 + b'"}'
    problem = refused(client.post("/complete", content=body, headers=JSON), 413, "body-too-large")
    assert problem["limit"] == 64 * 1024


def test_a_body_over_the_limit_is_refused_without_content_length(
    client: httpx.Client, refused: Refused
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    response = client.post("/complete", content=chunks(), headers=JSON)
    refused(response, 413, "body-too-large")


def test_a_body_is_refused_before_all_of_it_is_sent(client: httpx.Client) -> None:
    import socket

    url = httpx.URL(client.base_url)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(
            b"POST /complete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(
            b"POST /complete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + b"11000\r\n" + b" " * 0x11000 + b"\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_too_many_queries_are_refused(client: httpx.Client, refused: Refused) -> None:
    queries = [{"subject": "dog", "relation": "IsA"}] * 65
    response = client.post("/complete", json={"queries": queries})
    problem = refused(response, 422, "too-many-queries")
    assert problem["limit"] == 64
    assert "65" in problem["detail"]


def test_too_many_completions_are_refused(
    client: httpx.Client, refused: Refused, base: BaseModel
) -> None:
    query = {"subject": "dog", "relation": "IsA", "top_k": base.vocab_size}
    response = client.post("/complete", json={"queries": [query] * 30})
    assert refused(response, 422, "too-many-completions")["limit"] == 2000


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"queries": []}, "#/queries"),
        ({"queries": {}}, "#/queries"),
        ({"queries": None}, "#/queries"),
        ({"queries": [{"subject": "a", "relation": "IsA"}], "top_k": 3}, "#/top_k"),
    ],
)
def test_many_queries_are_a_list_and_nothing_else(
    client: httpx.Client, refused: Refused, body: dict[str, Any], pointer: str
) -> None:
    problem = refused(client.post("/complete", json=body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == pointer


def test_the_frameworks_errors_are_problems_too(client: httpx.Client, refused: Refused) -> None:
    refused(client.get("/nowhere"), 404, "not-found")
    response = client.get("/complete")
    assert response.headers["allow"] == "POST"
    assert "POST" in refused(response, 405, "method-not-allowed")["detail"]
    refused(client.get("/relations/isa"), 404, "unknown-relation")


def test_a_request_id_is_kept_or_given(client: httpx.Client) -> None:
    given = client.get("/health", headers={"x-request-id": "abc-1.2_3"})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    one, other = (client.get("/nowhere").headers["x-request-id"] for _ in range(2))
    assert one != other
    forged = client.get("/health", headers={"x-request-id": "a b" * 90})
    assert forged.headers["x-request-id"] != "a b" * 90
