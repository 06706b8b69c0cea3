"""A search for paths on its way through the model, one hop at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.features.feature import Size
from app.features.likelihood import judge
from app.features.prompting import encode_end
from app.features.specialise import Specialised, identity
from app.schemas.paths import (
    HopModel,
    PathAnswer,
    PathHop,
    PathObject,
    PathQuery,
    RelationPath,
)
from masks import Calibration
from plm import BaseModel, EncodedPrompt, Probe, Reading, Template, TopTokens, object_text


@dataclass(frozen=True, eq=False)
class Hop:
    """What one hop is asked with.

    Attributes:
        relation: as it was named.
        model: the model that it is put to.
        template: its sentence.
        calibration: None where nothing says how likely a hop is true.
    """

    relation: str | list[str] | None
    model: Specialised
    template: Template
    calibration: Calibration | None


@dataclass(frozen=True)
class Step:
    """One hop of a path that was found.

    Attributes:
        subject: where it starts.
        object: where it ends.
        log_prob: of the object, given the subject.
        prompt: the sentence that asked for it.
    """

    subject: str
    object: str
    log_prob: float
    prompt: str


@dataclass(frozen=True)
class Trail:
    """The steps of a path so far, and the sum of their log-probabilities."""

    steps: tuple[Step, ...]
    log_prob: float

    @property
    def end(self) -> str:
        """The object that it has reached."""
        return self.steps[-1].object

    def extended(self, step: Step) -> "Trail":
        """The path that goes on with a step."""
        return Trail((*self.steps, step), self.log_prob + step.log_prob)


@dataclass(frozen=True, eq=False)
class PathTask:
    """One hop of a search; the next hop is another task.

    Attributes:
        source: as it was asked.
        hops: all of the search.
        barred: tokens that lead back to the start.
        trails: the paths that go on, the empty one at the first hop.
        prompts: for each of them, what asks for its next object.
    """

    base: BaseModel
    source: PathQuery
    hops: tuple[Hop, ...]
    barred: tuple[int, ...]
    trails: tuple[Trail, ...]
    prompts: tuple[EncodedPrompt, ...]

    @property
    def probes(self) -> Sequence[Probe]:
        """One for each path that goes on."""
        wanted = TopTokens(self.source.beam, words=True, excluded=self.barred)
        mask = self._hop.model.mask
        return [Probe(prompt.row, mask, wanted) for prompt in self.prompts]

    @property
    def size(self) -> Size:
        """The most paths and objects that its answer can have."""
        return Size(2 * min(self.source.top_k, self.source.beam**2))

    def advance(self, readings: Sequence[Reading]) -> "PathTask | PathAnswer":
        """The next hop from the best paths, or the answer after the last one."""
        trails = sorted(self._extensions(readings), key=lambda trail: -trail.log_prob)
        if self._number + 1 == len(self.hops):
            return self._answer(trails)
        trails = trails[: self.source.beam]
        template = self.hops[self._number + 1].template
        prompts = tuple(encode_end(self.base, template, "object", trail.end) for trail in trails)
        return PathTask(self.base, self.source, self.hops, self.barred, tuple(trails), prompts)

    @property
    def _number(self) -> int:
        return len(self.trails[0].steps)

    @property
    def _hop(self) -> Hop:
        return self.hops[self._number]

    def _extensions(self, readings: Sequence[Reading]) -> Iterator[Trail]:
        for trail, prompt, reading in zip(self.trails, self.prompts, readings, strict=True):
            assert reading.token_ids is not None
            subject = trail.end if trail.steps else self.source.subject
            for token, log_prob in zip(
                reading.token_ids.tolist(), reading.log_probs.tolist(), strict=True
            ):
                step = Step(subject, object_text(self.base, token), log_prob, prompt.text)
                yield trail.extended(step)

    def _answer(self, trails: Sequence[Trail]) -> PathAnswer:
        shown = trails[: self.source.top_k]
        return PathAnswer(
            paths=[_path(trail, self.hops) for trail in shown],
            objects=_objects(trails)[: self.source.top_k],
            found=len(trails),
            hops=[
                HopModel(
                    relation=hop.relation, template=hop.template.text, mask=hop.model.applied()
                )
                for hop in self.hops
            ],
            base=identity(self.base),
            subject=self.source.subject,
        )


def _path(trail: Trail, hops: Sequence[Hop]) -> RelationPath:
    return RelationPath(
        object=trail.end,
        log_prob=trail.log_prob,
        score=math.exp(trail.log_prob),
        hops=[
            PathHop(
                subject=step.subject,
                relation=hop.relation,
                object=step.object,
                log_prob=step.log_prob,
                score=math.exp(step.log_prob),
                probability=judge(hop.calibration, step.log_prob)[0],
                prompt=step.prompt,
            )
            for step, hop in zip(trail.steps, hops, strict=True)
        ],
    )


def _objects(trails: Sequence[Trail]) -> list[PathObject]:
    ends: dict[str, list[float]] = {}
    for trail in trails:
        ends.setdefault(trail.end, []).append(trail.log_prob)
    objects = [
        PathObject(object=end, score=math.exp(total), log_prob=total, paths=len(log_probs))
        for end, log_probs in ends.items()
        for total in (_log_sum(log_probs),)
    ]
    return sorted(objects, key=lambda one: -one.log_prob)


def _log_sum(log_probs: Sequence[float]) -> float:
    # From the largest on, so that small ones do not vanish before they are added.
    most = max(log_probs)
    return most + math.log(sum(math.exp(one - most) for one in log_probs))
