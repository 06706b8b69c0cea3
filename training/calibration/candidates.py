"""What a calibration is fitted on and measured with: the first objects of rankings, true or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masks import RelationMask, check_fits
from plm import BaseModel, Template, answer_token_ids, encode_prompt, object_token_id
from training.data import Triple
from training.learning import LowerStates, layers_under, logits_by_pass, multipliers_of

LISTED = 20


@dataclass(frozen=True)
class Question:
    """A subject, the token ids of its true objects, and of those that are left out."""

    subject: str
    true: frozenset[int]
    left_out: frozenset[int]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The first objects of the rankings of a relation's subjects.

    Attributes:
        log_probs: (N,) natural logarithms of their probabilities over the whole vocabulary.
        true: (N,) whether each is known to be true.
        subjects: how many subjects were asked.
        facts: how many true objects the subjects have, candidates or not.
    """

    log_probs: NDArray[np.float64]
    true: NDArray[np.bool_]
    subjects: int
    facts: int


def questions_of(
    base: BaseModel,
    facts: Iterable[Triple],
    *,
    learned: Iterable[Triple],
    also_true: Iterable[Triple] = (),
) -> tuple[Question, ...]:
    """Return a question for each subject of one relation's `facts`, sorted by subject.

    An object in `learned` is left out for its subject: the mask has seen that it is true, and
    what it says of it says nothing of the unseen. True are the others in `facts` and `also_true`;
    a subject without any is not asked.
    """
    asked = {fact.key[0]: fact.subject for fact in facts}
    true, more, left_out = (
        _objects_by_subject(base, part, asked) for part in (facts, also_true, learned)
    )
    nothing: frozenset[int] = frozenset()
    questions = (
        Question(
            asked[key],
            (true[key] | more.get(key, nothing)) - left_out.get(key, nothing),
            left_out.get(key, nothing),
        )
        for key in sorted(asked)
    )
    return tuple(question for question in questions if question.true)


def candidates_of(
    base: BaseModel, mask: RelationMask, questions: Sequence[Question], *, listed: int = LISTED
) -> Candidates:
    """Ask the mask's first template about each subject, and take the first `listed` whole words.

    True objects further down are counted in `facts` but are no candidates: with them, and without
    the false ones between them, the lowest log-probabilities would seem the truest.

    Raises:
        MaskMismatchError: the mask does not fit the base.
        PromptError: a subject cannot be a prompt.
    """
    first, last = mask.metadata.layers
    check_fits(mask, base.digest, base.shapes(first, last))
    facts = sum(len(question.true) for question in questions)
    if not questions:
        return Candidates(np.empty(0), np.empty(0, dtype=np.bool_), 0, facts)
    template = Template.parse(mask.metadata.templates[0])
    states = LowerStates(
        base, [encode_prompt(base, template, question.subject) for question in questions], first
    )
    layers = layers_under(base, mask.metadata.layers, multipliers_of(mask))
    words = answer_token_ids(base)
    rows: dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
    for indices, logits in logits_by_pass(base, states, layers):
        log_probs = torch.log_softmax(logits, dim=-1)
        for index, row in zip(indices.tolist(), log_probs, strict=True):
            rows[index] = _first(row, words, questions[index], listed)
    ordered = [rows[index] for index in range(len(questions))]
    return Candidates(
        log_probs=np.concatenate([log_probs for log_probs, _ in ordered]),
        true=np.concatenate([true for _, true in ordered]),
        subjects=len(questions),
        facts=facts,
    )


def _first(
    log_probs: Tensor, words: Tensor, question: Question, listed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log-probabilities of the first words of a (V,) row, and whether each is true."""
    allowed = words.clone()
    allowed[torch.tensor(sorted(question.left_out), dtype=torch.long, device=words.device)] = False
    ids = allowed.nonzero().squeeze(1)
    top = log_probs[ids].topk(min(listed, len(ids)))
    tokens = ids[top.indices].cpu().numpy()
    true = np.isin(tokens, sorted(question.true))
    return top.values.double().cpu().numpy(), true


def _objects_by_subject(
    base: BaseModel, facts: Iterable[Triple], asked: Iterable[str]
) -> dict[str, frozenset[int]]:
    """Token ids of the objects of each of the subjects asked, by folded subject."""
    objects: dict[str, set[int]] = {}
    wanted = set(asked)
    for fact in facts:
        key = fact.key[0]
        if key in wanted:
            objects.setdefault(key, set()).add(object_token_id(base, fact.object))
    return {key: frozenset(ids) for key, ids in objects.items()}
