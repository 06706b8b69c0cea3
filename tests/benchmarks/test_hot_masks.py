"""What is counted as mixed and as stale."""

import json

import pytest

from benchmarks.hot_masks import Replacement, judge
from benchmarks.load import BROKEN, Reply

EXPECTED = {
    ("a", "dog"): ([-1.0, -2.0], {7: -1.0, 8: -2.0}),
    ("b", "dog"): ([-1.5, -2.5], {7: -1.5, 8: -2.5}),
}
# `a` is in service until 10.5 at the latest, `b` from 10.0 on, `a` again from 20.0 on.
MADE = [Replacement(0.0, 0.5, "a"), Replacement(10.0, 10.5, "b"), Replacement(20.0, 20.5, "a")]


def _reply(digest: str, scores: tuple[float, float], sent_at: float, status: int = 200) -> Reply:
    completions = [
        {"token_id": token, "log_prob": score} for token, score in zip((7, 8), scores, strict=True)
    ]
    body = {"subject": "dog", "mask": {"digest": digest}, "completions": completions}
    return Reply(status, 0.25, json.dumps(body).encode(), {}, sent_at)


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (_reply("a", (-1.0, -2.0), 5.0), {}),
        (_reply("a", (-1.0, -2.00005), 5.0), {}),
        (_reply("a", (-1.5, -2.5), 5.0), {"mixed": 1}),
        (_reply("c", (-1.0, -2.0), 5.0), {"mixed": 1, "stale": 1}),
        (_reply("b", (-1.5, -2.5), 5.0), {"stale": 1}),
        (_reply("b", (-1.5, -2.5), 9.9), {}),
        (_reply("a", (-1.0, -2.0), 10.4), {}),
        (_reply("a", (-1.0, -2.0), 10.6), {"stale": 1}),
        (_reply("a", (-1.0, -2.0), 30.0), {}),
        (_reply("b", (-1.5, -2.5), 30.0), {"stale": 1}),
        (_reply("a", (-1.0, -2.0), 5.0, status=503), {"failed": 1}),
        (Reply(BROKEN, 0.1, b"", {}, 5.0), {"failed": 1}),
    ],
)
def test_an_answer_is_held_against_the_masks_that_were_there(
    reply: Reply, counted: dict[str, int]
) -> None:
    verdict = judge([reply], MADE, EXPECTED)
    counts = {name: getattr(verdict, name) for name in ("failed", "mixed", "stale")}
    assert verdict.answers == 1
    assert counts == {"failed": 0, "mixed": 0, "stale": 0} | counted
    assert (verdict.largest > 1e-4) == ("mixed" in counted)
