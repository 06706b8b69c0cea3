"""The service without HTTP: the resident model, its masks, and the questions they answer."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Self, TypeVar

import torch

from app.batcher import Pass
from app.cache import Source
from app.catalogue import Catalogue
from app.changes import HotMasks, MaskRegister, check_distinct
from app.errors import (
    AppError,
    FieldFault,
    RequestError,
    TooManyCandidatesError,
    TooManyItemsError,
    TooManyQuestionsError,
    TooManyRowsError,
)
from app.features import Features
from app.features.feature import Feature, Task
from app.inference import Answered, Inference
from app.knowledge import Knowledge
from app.schemas.strict import Outbound
from app.settings import Settings
from masks import UnknownRelationError
from plm import Engine, Probe, Template, TopTokens, dtype_named, encode_prompt, load_base

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# Questions of one request from which its work goes to the thread for long work.
_MANY_QUESTIONS = 64
# What a task becomes in the end.
_ENDED = (Outbound, Exception)


@dataclass(frozen=True)
class Timing:
    """Where the time of a request went, in seconds, and where its readings came from.

    Attributes:
        tokenize: checking, finding masks and tokenising.
        queue: the longest wait of a question for the model or the cache, summed over its steps.
        infer: the longest pass that a question was part of, summed over its steps.
        sources: how many readings came from where; empty without a cache.
    """

    tokenize: float
    queue: float
    infer: float
    sources: Mapping[Source, int] = field(default_factory=dict)


class Service:
    """A base model, the masks served on it, and what can be asked of them; made by `load`.

    Attributes:
        settings: what it was set up with.
        engine: the model and its mask sets.
        masks: the masks, which may change at any time.
        hot_masks: changes them while the service runs.
        knowledge: the knowledge bases.
        features: the kinds of questions.
        inference: the queue and the passes over the model.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        masks: MaskRegister,
        knowledge: Knowledge,
        observe: Callable[[Pass[Probe]], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.masks = masks
        self.hot_masks = HotMasks(settings, masks)
        self.knowledge = knowledge
        self.features = Features.of(engine.base, settings, knowledge)
        self.inference = Inference(engine, settings, observe)
        # Each thread takes the interpreter from the model's in turns, so one does all short work;
        # the other is for what would keep short work waiting.
        self._short = ThreadPoolExecutor(1, "asking")
        self._long = ThreadPoolExecutor(1, "asking-long")

    @classmethod
    def load(
        cls, settings: Settings, observe: Callable[[Pass[Probe]], None] = lambda _: None
    ) -> Self:
        """Load base and packs; takes seconds. `observe` will be told of each pass.

        Raises:
            PlmError: the base cannot be loaded.
            MaskFileError: a pack cannot be opened. (A mask file that is refused is not an error.)
            StartupError: two packs define the same relation, uploads cannot be kept, or a
                knowledge base cannot be used.
        """
        check_distinct(settings.packs)
        knowledge = Knowledge.load(settings.knowledge)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        # transformers draws a progress bar over the log of every start otherwise.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        started = perf_counter()
        base = load_base(
            settings.base,
            device=settings.device,
            dtype=dtype_named(settings.dtype),
        )
        masks = MaskRegister.load(base, settings.packs, settings.uploads)
        logger.info(
            "loaded %s with %d relations (%d files refused) in %.1f s",
            base,
            len(masks.catalogue.served),
            len(masks.catalogue.refused),
            perf_counter() - started,
        )
        engine = Engine(base, cache_bytes=int(settings.mask_cache_bytes))
        return cls(settings, engine, masks, knowledge, observe)

    @property
    def catalogue(self) -> Catalogue:
        """The masks as they are now; whoever needs them twice keeps the one they took."""
        return self.masks.catalogue

    def warm_up(self) -> None:
        """Answer one query, masked if there is a mask, so that the first client does not wait."""
        base = self.engine.base
        prompt = encode_prompt(base, Template.parse("This is a [Y]."), None)
        masks = [served.mask for served in self.catalogue.served.values()][:1]
        wanted = TopTokens(words=True)
        self.inference.warm_up([Probe(prompt.row, mask, wanted) for mask in (None, *masks)])

    def close(self) -> None:
        """Take no more questions, and finish those that were accepted."""
        self.inference.close()
        self._short.shutdown()
        self._long.shutdown()

    async def ask(
        self, feature: Feature, body: object, *, long: bool = False
    ) -> tuple[Outbound, Timing]:
        """Answer one question, given as decoded JSON; `long` if it takes long to look through.

        Raises:
            AppError, UnknownRelationError: the question is refused, or there is no room for it.
        """
        with self.inference.reserve(1):
            started = perf_counter()
            catalogue = self.catalogue
            task = await self.in_thread(lambda: feature.prepare(body, catalogue), long=long)
            tokenize = perf_counter() - started
            ((answer,), timing) = await self._follow([task], long=long)
        if isinstance(answer, Exception):
            raise answer
        return answer, replace(timing, tokenize=tokenize)

    async def ask_many(
        self, feature: Feature, bodies: Sequence[object], *, long: bool = False
    ) -> tuple[list[Outbound | Exception], Timing]:
        """Answer many questions, in their order; one that is refused fails no other.

        `long` if they take long to look through.

        Raises:
            RequestError: there is none.
            TooManyQuestionsError, TooManyItemsError, TooManyCandidatesError, TooManyRowsError:
                they are more, or ask for more, than one request may.
            OverloadedError: there is no room for all of them.
        """
        if not bodies:
            fault = FieldFault((feature.many,), "it is empty; give at least one")
            raise RequestError((fault,))
        if len(bodies) > self.settings.max_queries:
            raise TooManyQuestionsError(feature.many, len(bodies), self.settings.max_queries)
        with self.inference.reserve(len(bodies)):
            started = perf_counter()
            catalogue = self.catalogue
            rows = self.settings.max_rows
            long = long or len(bodies) > _MANY_QUESTIONS
            tasks = await self.in_thread(
                lambda: _prepare_each(feature, bodies, catalogue, rows), long=long
            )
            tokenize = perf_counter() - started
            answers, timing = await self._follow(tasks, long=long)
        return answers, replace(timing, tokenize=tokenize)

    def ask_now(self, feature: Feature, body: object) -> Outbound:
        """Answer one question on the calling thread, for use without a server.

        Raises:
            AppError, UnknownRelationError: the question is refused.
        """
        task: Task | Outbound = feature.prepare(body, self.catalogue)
        while not isinstance(task, Outbound):
            task = task.advance(self.inference.read_now(task.probes))
        return task

    async def in_thread(self, work: Callable[[], Value], *, long: bool) -> Value:
        """Run work on a preparing thread: on the one for short work, or on that for long work.

        Cancelling takes it out of its queue; what was begun keeps its thread until it ends.
        """
        loop = asyncio.get_running_loop()
        thread = self._long if long else self._short
        return await loop.run_in_executor(thread, copy_context().run, work)

    async def _follow(
        self, tasks: Sequence[Task | Exception], *, long: bool
    ) -> tuple[list[Outbound | Exception], Timing]:
        """Run tasks, each through all of its steps, those of one round together."""
        steps: list[Task | Outbound | Exception] = list(tasks)
        queue = infer = 0.0
        sources: Counter[Source] = Counter()
        while going := _going(steps):
            running = list(going.values())
            self._check_sizes(running)
            answered = await self.inference.read([task.probes for task in running])
            queue += max(part.queue_seconds for part in answered)
            infer += max(part.infer_seconds for part in answered)
            for part in answered:
                sources.update(part.sources)
            advanced = await self.in_thread(partial(_advance_each, running, answered), long=long)
            for place, step in zip(going, advanced, strict=True):
                steps[place] = step
        answers = [step for step in steps if isinstance(step, _ENDED)]
        return answers, Timing(0.0, queue, infer, sources)

    def _check_sizes(self, tasks: Sequence[Task]) -> None:
        sizes = [task.size for task in tasks]
        count = sum(size.items for size in sizes)
        if count > self.settings.max_completions:
            raise TooManyItemsError(count, self.settings.max_completions)
        count = sum(size.candidates for size in sizes)
        if count > self.settings.max_candidates:
            raise TooManyCandidatesError(count, self.settings.max_candidates)


def _prepare_each(
    feature: Feature, bodies: Sequence[object], catalogue: Catalogue, max_rows: int
) -> list[Task | Exception]:
    tasks: list[Task | Exception] = []
    rows = 0
    for index, body in enumerate(bodies):
        try:
            task = feature.prepare(body, catalogue, (feature.many, index))
        except (AppError, UnknownRelationError) as error:
            tasks.append(error)
            continue
        tasks.append(task)
        rows += len(task.probes)
        if rows > max_rows:
            # Before the others' rows take memory too: a short body can ask for millions.
            raise TooManyRowsError(rows, max_rows)
    return tasks


def _going(steps: Sequence[Task | Outbound | Exception]) -> dict[int, Task]:
    """The steps that are not an answer or an error, by their place."""
    return {place: step for place, step in enumerate(steps) if not isinstance(step, _ENDED)}


def _advance_each(
    tasks: Sequence[Task], answered: Sequence[Answered]
) -> list[Task | Outbound | Exception]:
    steps: list[Task | Outbound | Exception] = []
    for task, part in zip(tasks, answered, strict=True):
        failed = next((one for one in part.readings if isinstance(one, Exception)), None)
        if failed is not None:
            steps.append(failed)
            continue
        readings = [one for one in part.readings if not isinstance(one, Exception)]
        try:
            steps.append(task.advance(readings))
        except Exception as error:
            # It is this question's own: the others of the request have their answers.
            steps.append(error)
    return steps
