"""Completing sentences: a checked query becomes a `plm.Query`, a ranking becomes an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from pydantic import ValidationError
from torch import Tensor

from app.catalogue import Catalogue
from app.errors import CombineError, FieldFault, PromptRefusedError, RequestError, WordError
from app.schemas.completion import (
    AppliedMask,
    BaseIdentity,
    CompletionAnswer,
    CompletionQuery,
    CompletionResponse,
)
from app.validation import faults_of
from masks import Combine, MaskExpressionError, MaskMismatchError, PackedMask
from plm import (
    BaseModel,
    ObjectError,
    PromptError,
    Query,
    Ranking,
    Template,
    TemplateError,
    answer_token_ids,
    encode_prompt,
    object_token_id,
)

# Words whose tokens are remembered: tokenising one takes longer than looking it up.
_WORDS = 2**16


@dataclass(frozen=True, eq=False)
class Prepared:
    """A query ready for the model, and what its answer will repeat.

    Attributes:
        query: what the model is asked.
        source: the query as the client put it.
        template: the template used.
        relations: whose masks were combined; empty for the unmasked model.
        combine: how they were combined.
    """

    query: Query
    source: CompletionQuery
    template: Template
    relations: tuple[str, ...]
    combine: Combine


class Completer:
    """Prepares and answers queries of one base under the masks of a catalogue.

    Holds no state but what it remembers of the vocabulary; safe to call from several threads.
    """

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._words = answer_token_ids(base)
        self._token_of = lru_cache(maxsize=_WORDS)(self._tokenise)

    def parse(self, body: object, path: tuple[str | int, ...] = ()) -> CompletionQuery:
        """Check a decoded body against the schema; `path` is where it stands in the request.

        Raises:
            RequestError: it does not fit.
        """
        try:
            return CompletionQuery.model_validate(body)
        except ValidationError as error:
            raise RequestError(faults_of(error, CompletionQuery, path)) from error

    def prepare(
        self,
        source: CompletionQuery,
        catalogue: Catalogue,
        path: tuple[str | int, ...] = (),
    ) -> Prepared:
        """Find the mask, fill the template and tokenise; `path` is where the query stands.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            RequestError: a field cannot be used; the error says which, and what is right.
        """
        relations = _relations(source)
        combine = _combine(source, relations, path)
        mask = _mask(source, relations, combine, catalogue, path)
        template = _template(source, relations, catalogue, path)
        try:
            prompt = encode_prompt(self._base, template, source.subject)
        except PromptError as error:
            field = error.field if error.field in ("subject", "template") else "subject"
            raise PromptRefusedError(_fault(path, field, error.reason)) from error
        if source.top_k > self._base.vocab_size:
            raise RequestError(
                _fault(
                    path,
                    "top_k",
                    f"it must be 1 to {self._base.vocab_size}, the size of the vocabulary, not "
                    f"{source.top_k}",
                )
            )
        targets, allowed = self._candidates(source, path)
        return Prepared(
            query=Query(prompt, mask, source.top_k, targets, allowed),
            source=source,
            template=template,
            relations=relations if mask is not None else (),
            combine=combine,
        )

    def answer(self, prepared: Prepared, ranking: Ranking) -> CompletionAnswer:
        """The answer that a client gets."""
        mask = prepared.query.mask
        return CompletionAnswer(
            completions=[
                CompletionResponse(
                    object=completion.object,
                    score=completion.score,
                    log_prob=completion.log_prob,
                    token_id=completion.token_id,
                    sequence=completion.sequence,
                )
                for completion in ranking
            ],
            prompt=prepared.query.prompt.text,
            template=prepared.template.text,
            mask=None
            if mask is None
            else AppliedMask(
                relations=list(prepared.relations),
                combine=str(prepared.combine),
                digest=mask.digest,
                sparsity=mask.sparsity,
            ),
            base=BaseIdentity(name=self._base.name, digest=self._base.digest),
            subject=prepared.source.subject,
            relation=prepared.source.relation,
        )

    def _candidates(
        self, source: CompletionQuery, path: tuple[str | int, ...]
    ) -> tuple[tuple[int, ...] | None, Tensor | None]:
        """`targets` and `allowed` of the query."""
        left_out = set(self._tokens("filter", source.filter or (), path))
        if source.targets is not None:
            tokens = self._tokens("targets", source.targets, path)
            _refuse_repeats(source.targets, tokens, path)
            targets = tuple(token for token in tokens if token not in left_out)
            if not targets:
                raise RequestError(
                    _fault(path, "filter", "it leaves out every target, so that none is ranked")
                )
            return targets, None
        if source.vocabulary == "words":
            allowed = self._words
        elif left_out:
            allowed = torch.ones_like(self._words)
        else:
            return None, None
        if left_out:
            allowed = allowed.clone()
            allowed[list(left_out)] = False
        return None, allowed

    def _tokens(
        self, field: str, words: Sequence[str], path: tuple[str | int, ...]
    ) -> tuple[int, ...]:
        tokens: list[int] = []
        faults: list[FieldFault] = []
        for index, word in enumerate(words):
            try:
                tokens.append(self._token_of(word))
            except ObjectError as error:
                faults.append(FieldFault((*path, field, index), str(error)))
        if faults:
            raise WordError(tuple(faults))
        return tuple(tokens)

    def _tokenise(self, word: str) -> int:
        return object_token_id(self._base, word)


def _relations(source: CompletionQuery) -> tuple[str, ...]:
    if source.relation is None:
        return ()
    return (source.relation,) if isinstance(source.relation, str) else tuple(source.relation)


def _combine(
    source: CompletionQuery, relations: tuple[str, ...], path: tuple[str | int, ...]
) -> Combine:
    if source.combine is None:
        return Combine()
    if not relations:
        raise CombineError(
            _fault(path, "combine", "there is no relation to combine; leave it out or name some")
        )
    try:
        combine = Combine.parse(source.combine)
        combine.check_count(len(relations))
    except MaskExpressionError as error:
        raise CombineError(_fault(path, "combine", str(error))) from error
    return combine


def _mask(
    source: CompletionQuery,
    relations: tuple[str, ...],
    combine: Combine,
    catalogue: Catalogue,
    path: tuple[str | int, ...],
) -> PackedMask | None:
    for relation in relations:
        # Also where the unmasked model is asked: a name that is not known is never ignored.
        catalogue.find(relation)
    if not relations or not source.masked:
        return None
    if len(relations) == 1:
        return catalogue.find(relations[0]).mask
    try:
        return catalogue.combine(relations, combine)
    except MaskMismatchError as error:
        raise CombineError(_fault(path, "relation", str(error))) from error


def _template(
    source: CompletionQuery,
    relations: tuple[str, ...],
    catalogue: Catalogue,
    path: tuple[str | int, ...],
) -> Template:
    if source.template is not None:
        text = source.template
    elif relations:
        text = catalogue.find(relations[0]).mask.metadata.templates[0]
    else:
        raise PromptRefusedError(
            _fault(
                path,
                "template",
                "without a relation a template is needed, e.g. 'The capital of [X] is [Y].'",
            )
        )
    try:
        return Template.parse(text)
    except TemplateError as error:
        raise PromptRefusedError(_fault(path, "template", str(error))) from error


def _refuse_repeats(
    words: Sequence[str], tokens: Sequence[int], path: tuple[str | int, ...]
) -> None:
    first: dict[int, str] = {}
    for index, (word, token) in enumerate(zip(words, tokens, strict=True)):
        if token in first:
            raise WordError(
                (
                    FieldFault(
                        (*path, "targets", index),
                        f"{word!r} is the same token as {first[token]!r}; name each target once",
                    ),
                )
            )
        first[token] = word


def _fault(path: tuple[str | int, ...], field: str, detail: str) -> tuple[FieldFault, ...]:
    return (FieldFault((*path, field), detail),)
