"""Ranks the objects that complete cloze prompts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from masks import PackedMask
from plm.base import BaseModel
from plm.cloze import EncodedPrompt, collate
from plm.engine import Engine
from plm.errors import PromptError
from plm.objects import object_text


@dataclass(frozen=True, eq=False)
class Query:
    """One question to the model.

    Attributes:
        prompt: the cloze prompt.
        mask: the mask set it is asked under; None asks the unmasked model.
        top_k: how many completions to return; fewer come back if fewer are eligible.
        targets: rank only these tokens, each once; `allowed` then has no say, because a token
            that is asked for is wanted.
        allowed: bool (V,), e.g. of `answer_token_ids`: other tokens are left out of the ranking.
            Scores are not renormalised: they stay probabilities over the whole vocabulary.
    """

    prompt: EncodedPrompt
    mask: PackedMask | None = None
    top_k: int = 10
    targets: tuple[int, ...] | None = None
    allowed: Tensor | None = None


@dataclass(frozen=True)
class Completion:
    """An object and how likely it is; names as in the Hugging Face fill-mask pipeline.

    Attributes:
        object: the object as a reader sees it.
        score: softmax probability over the whole vocabulary, 0 to 1.
        log_prob: its natural logarithm.
        token_id: the object's token.
        sequence: the prompt with the object in place of the mask token.
    """

    object: str
    score: float
    log_prob: float
    token_id: int
    sequence: str


Ranking = tuple[Completion, ...]


def complete(engine: Engine, queries: Sequence[Query]) -> list[Ranking]:
    """Answer queries in one batch: for each its completions, the most likely first.

    Equally likely objects come in order of token id.

    Raises:
        PromptError: `top_k` is out of range, `targets` is empty, repeats a token or names one
            outside the vocabulary, or `allowed` does not have one entry for each token.
        MaskMismatchError: a mask does not fit the base.
    """
    if not queries:
        return []
    for query in queries:
        _check(engine.base, query)
    batch = collate([query.prompt for query in queries], engine.base)
    logits = engine.forward(batch, [query.mask for query in queries])
    with torch.inference_mode():
        log_probs = logits.log_softmax(dim=1)
        # A vocabulary padded to a round size has rows that no token belongs to.
        log_probs[:, len(engine.base.tokenizer) :] = float("-inf")
        for row, query in enumerate(queries):
            if (excluded := _excluded(query, log_probs)) is not None:
                log_probs[row].masked_fill_(excluded, float("-inf"))
        values, ids = top_tokens(log_probs, max(query.top_k for query in queries))
    return [
        _ranking(engine.base, query, row_values, row_ids)
        for query, row_values, row_ids in zip(queries, values.tolist(), ids.tolist(), strict=True)
    ]


def top_tokens(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of (B, V) and their indices, both (B, count).

    Ties are ordered by index, and a tie across the cut keeps the lower indices, which
    `torch.topk` alone does not promise. (Which of many -inf come last is left open.)
    """
    values, ids = scores.topk(count)
    tied = (scores >= values[:, -1:]) & (scores > float("-inf"))
    widest = int(tied.sum(dim=1).max())
    if widest > count:
        values, ids = scores.topk(widest)
    ids, order = ids.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :count], ids.gather(1, order)[:, :count]


def _check(base: BaseModel, query: Query) -> None:
    if not 1 <= query.top_k <= base.vocab_size:
        raise PromptError("top_k", f"it must be 1 to {base.vocab_size}, not {query.top_k}")
    if query.targets is not None:
        if not query.targets:
            raise PromptError("targets", "there is none; name at least one or leave it out")
        if len(set(query.targets)) < len(query.targets):
            raise PromptError("targets", "a target is named twice; name each once")
        if not all(0 <= target < base.vocab_size for target in query.targets):
            raise PromptError("targets", f"token ids are 0 to {base.vocab_size - 1}")
    if query.allowed is not None and (
        query.allowed.shape != (base.vocab_size,) or query.allowed.dtype != torch.bool
    ):
        raise PromptError("allowed", f"it must be a bool tensor of shape ({base.vocab_size},)")


def _excluded(query: Query, log_probs: Tensor) -> Tensor | None:
    """Bool (V,) of the tokens that are not ranked, None if all are."""
    if query.targets is not None:
        excluded = torch.ones(log_probs.shape[1], dtype=torch.bool, device=log_probs.device)
        excluded[list(query.targets)] = False
        return excluded
    if query.allowed is not None:
        return ~query.allowed.to(log_probs.device)
    return None


def _ranking(
    base: BaseModel, query: Query, log_probs: list[float], token_ids: list[int]
) -> Ranking:
    return tuple(
        _completion(base, query.prompt, log_prob, token_id)
        for log_prob, token_id in zip(log_probs[: query.top_k], token_ids, strict=False)
        if log_prob > float("-inf")
    )


def _completion(
    base: BaseModel, prompt: EncodedPrompt, log_prob: float, token_id: int
) -> Completion:
    text = object_text(base, token_id)
    return Completion(
        object=text,
        score=math.exp(log_prob),
        log_prob=log_prob,
        token_id=token_id,
        # The mask token stands in a prompt exactly once, which `encode_prompt` sees to.
        sequence=prompt.text.replace(base.mask_token, text),
    )
