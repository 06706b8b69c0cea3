"""The service without HTTP: the resident model, its masks, and the thread that runs them."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self, TypeVar

import torch
from anyio import CapacityLimiter, to_thread

from app.batcher import Batcher, Outcome
from app.catalogue import Catalogue, open_packs
from app.completion import Completer, Prepared
from app.errors import (
    AppError,
    FieldFault,
    RequestError,
    TooManyCompletionsError,
    TooManyQueriesError,
)
from app.room import PassRoom
from app.schemas.completion import CompletionAnswer
from app.settings import Settings
from masks import UnknownRelationError
from plm import Engine, Query, Ranking, Template, complete, encode_prompt, load_base

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# Python threads take the interpreter from the model's thread in turns; two are enough to keep
# it fed, and a flood of requests cannot starve it.
_PREPARING_THREADS = 2


@dataclass(frozen=True)
class Timing:
    """Where the time of a request went, in seconds.

    Attributes:
        tokenize: checking, finding masks and tokenising.
        queue: the longest wait of a query for the model.
        infer: the longest batch that a query was part of.
    """

    tokenize: float
    queue: float
    infer: float


class Service:
    """A base model, the masks served on it, and the thread that runs it; made by `load`.

    Attributes:
        settings: what it was set up with.
        engine: the model and its materialised masks.
        catalogue: the masks.
        completer: makes and answers queries.
    """

    def __init__(self, settings: Settings, engine: Engine, catalogue: Catalogue) -> None:
        self.settings = settings
        self.engine = engine
        self.catalogue = catalogue
        self.completer = Completer(engine.base)
        self._limiter: CapacityLimiter | None = None
        self._batcher: Batcher[Query, Ranking] = Batcher(
            self._run,
            room=lambda: PassRoom(
                engine.base,
                tokens=settings.token_budget,
                mask_bytes=int(settings.mask_cache_bytes),
            ),
            queue_size=settings.queue_size,
        )

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Load base and packs; takes seconds.

        Raises:
            PlmError: the base cannot be loaded.
            MaskFileError: a pack cannot be opened. (A mask file that is refused is not an error.)
            StartupError: two packs define the same relation.
        """
        packs = open_packs(settings.packs)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        # transformers draws a progress bar over the log of every start otherwise.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        started = perf_counter()
        base = load_base(
            settings.base, device=settings.device, dtype=getattr(torch, settings.dtype)
        )
        catalogue = Catalogue.load(packs, base)
        logger.info(
            "loaded %s with %d relations (%d files refused) in %.1f s",
            base,
            len(catalogue.served),
            len(catalogue.refused),
            perf_counter() - started,
        )
        engine = Engine(base, cache_bytes=int(settings.mask_cache_bytes))
        return cls(settings, engine, catalogue)

    def warm_up(self) -> None:
        """Answer one query, masked if there is a mask, so that the first client does not wait."""
        base = self.engine.base
        prompt = encode_prompt(base, Template.parse("This is a [Y]."), None)
        masks = [served.mask for served in self.catalogue.served.values()][:1]
        queries = [Query(prompt, mask) for mask in (None, *masks)]
        with self._batcher.reserve(len(queries)):
            for future in self._batcher.submit(queries):
                future.result()

    def close(self) -> None:
        """Take no more queries, and finish those that were accepted."""
        self._batcher.close()

    async def complete(self, body: object) -> tuple[CompletionAnswer, Timing]:
        """Answer one query, given as decoded JSON.

        Raises:
            AppError, UnknownRelationError: the query is refused, or there is no room for it.
        """
        with self._batcher.reserve(1):
            started = perf_counter()
            prepared = await self._in_thread(lambda: self._prepare(body, ()))
            self._check_completions([prepared])
            tokenize = perf_counter() - started
            (future,) = self._batcher.submit([prepared.query])
            outcome = await asyncio.wrap_future(future)
        answer = await self._in_thread(lambda: self.completer.answer(prepared, outcome.result))
        return answer, Timing(tokenize, outcome.queue_seconds, outcome.infer_seconds)

    async def complete_many(
        self, bodies: Sequence[object]
    ) -> tuple[list[CompletionAnswer | Exception], Timing]:
        """Answer many queries, in their order; one that is refused fails no other.

        Raises:
            RequestError: there is none.
            TooManyQueriesError, TooManyCompletionsError: they are more than one request may hold.
            OverloadedError: there is no room for all of them.
        """
        if not bodies:
            raise RequestError((FieldFault(("queries",), "it holds no query; give at least one"),))
        if len(bodies) > self.settings.max_queries:
            raise TooManyQueriesError(len(bodies), self.settings.max_queries)
        with self._batcher.reserve(len(bodies)):
            started = perf_counter()
            attempts = await self._in_thread(lambda: self._prepare_each(bodies))
            ready = [item for item in attempts if isinstance(item, Prepared)]
            self._check_completions(ready)
            tokenize = perf_counter() - started
            futures = self._batcher.submit([prepared.query for prepared in ready])
            outcomes = await asyncio.gather(
                *map(asyncio.wrap_future, futures), return_exceptions=True
            )
        answers = await self._in_thread(lambda: self._answer_each(attempts, outcomes))
        done = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
        return answers, Timing(
            tokenize,
            max((outcome.queue_seconds for outcome in done), default=0.0),
            max((outcome.infer_seconds for outcome in done), default=0.0),
        )

    def complete_now(self, body: object) -> CompletionAnswer:
        """Answer one query on the calling thread, for use without a server.

        Raises:
            AppError, UnknownRelationError: the query is refused.
        """
        prepared = self._prepare(body, ())
        (ranking,) = self._run([prepared.query])
        return self.completer.answer(prepared, ranking)

    def _run(self, queries: Sequence[Query]) -> list[Ranking]:
        return complete(self.engine, queries)

    def _prepare(self, body: object, path: tuple[str | int, ...]) -> Prepared:
        source = self.completer.parse(body, path)
        return self.completer.prepare(source, self.catalogue, path)

    def _prepare_each(self, bodies: Sequence[object]) -> list[Prepared | Exception]:
        prepared: list[Prepared | Exception] = []
        for index, body in enumerate(bodies):
            try:
                prepared.append(self._prepare(body, ("queries", index)))
            except (AppError, UnknownRelationError) as error:
                prepared.append(error)
        return prepared

    def _answer_each(
        self,
        attempts: Sequence[Prepared | Exception],
        outcomes: Sequence[Outcome[Ranking] | BaseException],
    ) -> list[CompletionAnswer | Exception]:
        left = iter(outcomes)
        answers: list[CompletionAnswer | Exception] = []
        for attempt in attempts:
            if isinstance(attempt, Exception):
                answers.append(attempt)
                continue
            match next(left):
                case Outcome(result=ranking):
                    answers.append(self.completer.answer(attempt, ranking))
                case Exception() as error:
                    answers.append(error)
                case other:
                    raise other
        return answers

    def _check_completions(self, prepared: Sequence[Prepared]) -> None:
        count = sum(_most_completions(item.query) for item in prepared)
        if count > self.settings.max_completions:
            raise TooManyCompletionsError(count, self.settings.max_completions)

    async def _in_thread(self, work: Callable[[], Value]) -> Value:
        if self._limiter is None:
            self._limiter = CapacityLimiter(_PREPARING_THREADS)
        return await to_thread.run_sync(work, limiter=self._limiter)


def _most_completions(query: Query) -> int:
    return query.top_k if query.targets is None else min(query.top_k, len(query.targets))
