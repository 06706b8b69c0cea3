"""What can be asked through a client, once for both kinds: a method makes a call and sends it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from app.client.calls import (
    Call,
    ask,
    ask_many,
    delete_mask,
    get,
    mask_path,
    put_mask,
    relation_path,
)

# What a method gives back: the JSON itself, or an awaitable of it.
Answer = TypeVar("Answer", dict[str, Any], Awaitable[dict[str, Any]])
Raw = TypeVar("Raw", bytes, Awaitable[bytes])

Relation = str | Sequence[str]
Question = Mapping[str, Any]


class Questions(ABC, Generic[Answer, Raw]):
    """The endpoints as methods. `docs/api.md` describes every field and answer.

    Fields that a method does not name go through as keywords, e.g. `combine="vote:2"`. Every
    method raises RelataProblem where the server refuses, and RelataConnectionError where no answer
    comes.
    """

    @abstractmethod
    def _send(self, call: Call) -> Answer:
        """Make a call, and give its JSON back."""

    @abstractmethod
    def _fetch(self, call: Call) -> Raw:
        """Make a call, and give its bytes back."""

    def complete(
        self,
        subject: str | None = None,
        relation: Relation | None = None,
        *,
        top_k: int | None = None,
        **fields: Any,
    ) -> Answer:
        """`POST /complete`: the objects that complete the sentence, the most likely first."""
        call = ask("/complete", subject=subject, top_k=top_k, **fields)
        # null means something here: ask the unmasked model.
        call.body["relation"] = relation
        return self._send(call)

    def complete_many(self, queries: Sequence[Question]) -> Answer:
        """`POST /complete` of many queries: `results`, each an answer or a problem."""
        return self._send(ask_many("/complete", "queries", queries))

    def predict_links(
        self,
        relation: Relation,
        *,
        subject: str | None = None,
        object: str | None = None,
        **fields: Any,
    ) -> Answer:
        """`POST /predict_links`: candidates ranked for `<subject, relation, ?>` or its inverse."""
        return self._send(
            ask("/predict_links", relation=relation, subject=subject, object=object, **fields)
        )

    def predict_links_many(self, queries: Sequence[Question]) -> Answer:
        """`POST /predict_links` of many queries, with metrics where the truth is given."""
        return self._send(ask_many("/predict_links", "queries", queries))

    def score_triple(
        self,
        subject: str,
        relation: Relation,
        object: str,
        **fields: Any,
    ) -> Answer:
        """`POST /triples/score`: how plausible a triple is."""
        return self._send(
            ask("/triples/score", subject=subject, relation=relation, object=object, **fields)
        )

    def score_triples(self, triples: Sequence[Question]) -> Answer:
        """`POST /triples/score` of many triples."""
        return self._send(ask_many("/triples/score", "triples", triples))

    def score_choices(
        self, choices: Sequence[str], *, context: str | None = None, **fields: Any
    ) -> Answer:
        """`POST /score_choices`: the choices scored zero-shot, and the best."""
        return self._send(ask("/score_choices", context=context, choices=list(choices), **fields))

    def score_choices_many(self, questions: Sequence[Question]) -> Answer:
        """`POST /score_choices` of many questions."""
        return self._send(ask_many("/score_choices", "questions", questions))

    def paths(self, subject: str, relations: Sequence[Relation], **fields: Any) -> Answer:
        """`POST /paths`: objects several relations away, with their derivations."""
        return self._send(ask("/paths", subject=subject, relations=list(relations), **fields))

    def relations(self) -> Answer:
        """`GET /relations`: all relations."""
        return self._send(get("/relations"))

    def relation(self, name: str) -> Answer:
        """`GET /relations/{relation}`: one relation and those most like it."""
        return self._send(get(relation_path(name)))

    def masks(self) -> Answer:
        """`GET /masks`: the mask files, served and refused."""
        return self._send(get("/masks"))

    def mask(self, relation: str) -> Raw:
        """`GET /masks/{relation}`: the bytes of a mask file."""
        return self._fetch(get(mask_path(relation)))

    def put_mask(self, relation: str, mask: bytes | str | Path) -> Answer:
        """`PUT /masks/{relation}`: upload a mask, given as bytes or as its file; admin key.

        Raises:
            OSError: the file cannot be read.
        """
        data = mask if isinstance(mask, bytes) else Path(mask).read_bytes()
        return self._send(put_mask(relation, data))

    def delete_mask(self, relation: str) -> Answer:
        """`DELETE /masks/{relation}`: remove a relation; admin key. Gives an empty mapping."""
        return self._send(delete_mask(relation))

    def info(self) -> Answer:
        """`GET /info`: version, base, limits and settings."""
        return self._send(get("/info"))
