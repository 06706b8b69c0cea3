from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import pipeline

import plm
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def query_of(tiny: Tiny, **options: Any) -> plm.Query:
    """The first prompt, with options of the ranking."""
    return plm.Query(tiny.prompts[0], wanted=plm.TopTokens(**options))


@pytest.fixture
def engine(tiny: Tiny) -> plm.Engine:
    return plm.Engine(tiny.base)


def test_completions_are_those_of_the_fill_mask_pipeline(tiny: Tiny, engine: plm.Engine) -> None:
    for mask in (None, tiny.combined()):
        peer = pipeline(
            "fill-mask", model=tiny.reference(mask), tokenizer=tokenizer_of(tiny.base), device="cpu"
        )
        queries = [plm.Query(prompt, mask, plm.TopTokens(6)) for prompt in tiny.prompts]
        for query, ranking in zip(queries, plm.complete(engine, queries), strict=True):
            expected = peer(query.prompt.text, top_k=6)
            assert [c.token_id for c in ranking] == [c["token"] for c in expected]
            for ours, theirs in zip(ranking, expected, strict=True):
                assert ours.score == pytest.approx(theirs["score"], abs=1e-5)
                assert ours.log_prob == pytest.approx(math.log(theirs["score"]), abs=1e-4)
                assert ours.object == theirs["token_str"].strip()


def test_targets_are_those_of_the_fill_mask_pipeline(tiny: Tiny, engine: plm.Engine) -> None:
    targets = tuple(plm.object_token_id(tiny.base, word) for word in ("cloth", "wood", "dog"))
    names = tokenizer_of(tiny.base).convert_ids_to_tokens(list(targets))
    peer = pipeline("fill-mask", model=tiny.reference(), tokenizer=tokenizer_of(tiny.base))
    (ranking,) = plm.complete(engine, [query_of(tiny, targets=targets)])
    expected = peer(tiny.prompts[0].text, targets=names)
    assert [c.token_id for c in ranking] == [c["token"] for c in expected]
    for ours, theirs in zip(ranking, expected, strict=True):
        assert ours.score == pytest.approx(theirs["score"], abs=1e-5)
    (best,) = plm.complete(engine, [query_of(tiny, targets=targets, count=1)])
    assert [c.token_id for c in best] == [ranking[0].token_id]


def test_the_sequence_is_the_prompt_with_the_object(bert: Tiny) -> None:
    engine = plm.Engine(bert.base)
    target = plm.object_token_id(bert.base, "cloth")
    (ranking,) = plm.complete(
        engine, [plm.Query(bert.prompts[4], wanted=plm.TopTokens(targets=(target,)))]
    )
    assert ranking[0].sequence == (
        "the Water is used for the cloth, for a bed and to run in a room!"
    )


def test_a_filter_leaves_scores_as_they_are(tiny: Tiny, engine: plm.Engine) -> None:
    allowed = plm.answer_token_ids(tiny.base)
    every = tiny.base.vocab_size
    prompt, mask = tiny.prompts[1], tiny.combined()
    whole, some = plm.complete(
        engine,
        [
            plm.Query(prompt, mask, plm.TopTokens(every)),
            plm.Query(prompt, mask, plm.TopTokens(every, words=True)),
        ],
    )
    assert len(whole) == every
    assert len(some) == int(allowed.sum())
    assert sum(c.score for c in whole) == pytest.approx(1, abs=1e-5)
    kept = [c for c in whole if allowed[c.token_id]]
    assert [c.token_id for c in some] == [c.token_id for c in kept]
    assert [c.score for c in some] == pytest.approx([c.score for c in kept], abs=1e-7)


def test_targets_are_ranked_even_if_a_filter_refuses_them(bert: Tiny) -> None:
    piece = tokenizer_of(bert.base).convert_tokens_to_ids("##ing")
    query = query_of(bert, targets=(piece,), words=True)
    (ranking,) = plm.complete(plm.Engine(bert.base), [query])
    assert [c.token_id for c in ranking] == [piece]


def test_queries_of_one_batch_are_answered_each_on_its_own(bert: Tiny) -> None:
    engine = plm.Engine(bert.base)
    targets = (20, 9, 11)
    queries = [
        plm.Query(bert.prompts[0], bert.combined(1), plm.TopTokens(2)),
        plm.Query(bert.prompts[1], None, plm.TopTokens(7, targets=targets)),
        plm.Query(bert.prompts[2], bert.combined(2), plm.TopTokens(1)),
    ]
    together = plm.complete(engine, queries)
    assert [len(ranking) for ranking in together] == [2, 3, 1]
    for query, ranking in zip(queries, together, strict=True):
        (alone,) = plm.complete(engine, [query])
        assert [c.token_id for c in ranking] == [c.token_id for c in alone]
        assert [c.log_prob for c in ranking] == pytest.approx([c.log_prob for c in alone], abs=1e-4)


def test_no_queries(bert: Tiny) -> None:
    assert plm.complete(plm.Engine(bert.base), []) == []


@pytest.fixture(params=["native", "torch"])
def ranking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ranks: the kernel, where it is built, and its twin."""
    if request.param == "torch":
        monkeypatch.setattr("plm.readout.readout_kernel", lambda: None)


def test_ties_come_in_order_of_token_id(ranking: None) -> None:
    scores = torch.tensor([[0.0, 2.0, 1.0, 2.0, 1.0, 1.0, -1.0]])
    for count, expected in ((1, [1]), (3, [1, 3, 2]), (4, [1, 3, 2, 4]), (6, [1, 3, 2, 4, 5, 0])):
        values, ids = plm.top_tokens(scores, count)
        assert ids.tolist() == [expected]
        assert values.tolist() == [scores[0, expected].tolist()]


def test_many_ties_agree_with_a_stable_sort(ranking: None) -> None:
    scores = torch.randint(0, 5, (20, 50), generator=torch.Generator().manual_seed(0)).float()
    scores[:, 40:] = float("-inf")
    order = scores.sort(dim=1, descending=True, stable=True).indices
    for count in (1, 7, 33, 40):
        assert torch.equal(plm.top_tokens(scores, count)[1], order[:, :count])


def test_only_what_is_admitted_is_ranked(ranking: None) -> None:
    scores = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    admitted = torch.arange(50) % 3 > 0
    expected = scores.masked_fill(~admitted, float("-inf")).topk(20)
    values, ids = plm.top_tokens(scores, 20, admitted)
    assert torch.equal(values, expected.values)
    assert torch.equal(ids, expected.indices)


def test_a_vocabulary_larger_than_the_tokenizers(bert: Tiny, tmp_path: Path) -> None:
    # Some checkpoints pad the embedding to a round number of rows.
    model = bert.reference()
    model.resize_token_embeddings(len(tokenizer_of(bert.base)) + 9)
    with torch.no_grad():
        model.cls.predictions.bias[-9:] = 50
    model.save_pretrained(tmp_path)
    tokenizer_of(bert.base).save_pretrained(tmp_path)
    base = plm.load_base(tmp_path, device="cpu")
    assert base.vocab_size == len(tokenizer_of(base)) + 9
    assert plm.answer_token_ids(base).shape == (base.vocab_size,)
    (ranking,) = plm.complete(plm.Engine(base), [query_of(bert, count=3)])
    assert len(ranking) == 3
    assert all(c.token_id < len(tokenizer_of(base)) for c in ranking)


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"count": 0}, "top_k", "must be 1 to"),
        ({"count": 10**6}, "top_k", "must be 1 to"),
        ({"targets": ()}, "targets", "there is none"),
        ({"targets": (5, 6, 5)}, "targets", "named twice"),
        ({"targets": (-1,)}, "targets", "token ids are 0 to"),
        ({"targets": (10**6,)}, "targets", "token ids are 0 to"),
        ({"excluded": (10**6,)}, "filter", "token ids are 0 to"),
    ],
)
def test_bad_queries_name_the_field(bert: Tiny, options: dict, field: str, message: str) -> None:
    with pytest.raises(plm.PromptError, match=message) as caught:
        plm.complete(plm.Engine(bert.base), [query_of(bert, **options)])
    assert caught.value.field == field


def test_normalised_among_the_targets(tiny: Tiny, engine: plm.Engine) -> None:
    targets = (20, 9, 11)
    whole, among = plm.complete(
        engine,
        [query_of(tiny, targets=targets), query_of(tiny, targets=targets, among_targets=True)],
    )
    assert [c.token_id for c in among] == [c.token_id for c in whole]
    assert sum(c.score for c in among) == pytest.approx(1, abs=1e-6)
    total = sum(c.score for c in whole)
    assert [c.score for c in among] == pytest.approx([c.score / total for c in whole], abs=1e-6)


def test_excluded_tokens_are_left_out(tiny: Tiny, engine: plm.Engine) -> None:
    (whole,) = plm.complete(engine, [query_of(tiny, count=5)])
    left_out = tuple(c.token_id for c in whole[:2])
    (some,) = plm.complete(engine, [query_of(tiny, count=3, excluded=left_out)])
    assert [c.token_id for c in some] == [c.token_id for c in whole[2:]]
    assert [c.score for c in some] == pytest.approx([c.score for c in whole[2:]], abs=1e-7)
