"""Ranks the objects that complete cloze prompts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from masks import PackedMask
from plm.base import BaseModel
from plm.cloze import EncodedPrompt
from plm.engine import Engine
from plm.errors import PromptError
from plm.objects import object_text
from plm.probe import Probe, Reading, TopTokens


@dataclass(frozen=True, eq=False)
class Query:
    """One question to the model.

    Attributes:
        prompt: the cloze prompt.
        mask: the mask set it is asked under; None asks the unmasked model.
        wanted: which tokens are ranked, and how many come back.
    """

    prompt: EncodedPrompt
    mask: PackedMask | None = None
    wanted: TopTokens = field(default_factory=TopTokens)

    @property
    def probe(self) -> Probe:
        """What the engine is asked."""
        return Probe(self.prompt.row, self.mask, self.wanted)


class Completion(NamedTuple):
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
    """Answer queries in one pass: for each its completions, the most likely first.

    Equally likely objects come in order of token id.

    Raises:
        PromptError: as `check_wanted` does.
        MaskMismatchError: a mask does not fit the base.
    """
    for query in queries:
        check_wanted(engine.base, query.wanted)
    readings = engine.read([query.probe for query in queries])
    return [
        ranking(engine.base, query.prompt, reading)
        for query, reading in zip(queries, readings, strict=True)
    ]


def ranking(base: BaseModel, prompt: EncodedPrompt, reading: Reading) -> Ranking:
    """The reading of a `TopTokens` probe as completions of its prompt."""
    if reading.token_ids is None:
        raise ValueError("scores of given tokens are no ranking")
    # The mask token stands in a prompt exactly once, which `encode_prompt` sees to.
    before, _, after = prompt.text.partition(base.mask_token)
    return tuple(
        Completion(
            object=(text := object_text(base, token_id)),
            score=math.exp(log_prob),
            log_prob=log_prob,
            token_id=token_id,
            sequence=f"{before}{text}{after}",
        )
        for log_prob, token_id in zip(
            reading.log_probs.tolist(), reading.token_ids.tolist(), strict=True
        )
    )


def check_wanted(base: BaseModel, wanted: TopTokens) -> None:
    """Check a ranking's options against the base.

    Raises:
        PromptError: `top_k` is out of range, `targets` is empty, repeats a token or names one
            outside the vocabulary, or `filter` does the latter.
    """
    if not 1 <= wanted.count <= base.vocab_size:
        raise PromptError("top_k", f"it must be 1 to {base.vocab_size}, not {wanted.count}")
    _check_tokens(base, "filter", wanted.excluded)
    if wanted.targets is not None:
        if not wanted.targets:
            raise PromptError("targets", "there is none; name at least one or leave it out")
        if len(set(wanted.targets)) < len(wanted.targets):
            raise PromptError("targets", "a target is named twice; name each once")
        _check_tokens(base, "targets", wanted.targets)


def _check_tokens(base: BaseModel, field_name: str, tokens: Sequence[int]) -> None:
    if not all(0 <= token < base.vocab_size for token in tokens):
        raise PromptError(field_name, f"token ids are 0 to {base.vocab_size - 1}")
