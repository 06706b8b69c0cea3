"""Learning the masks of many relations, beside the paper's way of learning each.

The paper's way: for each relation the whole Hugging Face model runs over every batch, with the
thresholded scores as a parametrisation of its linears and logits at every token. Both sides see
the same facts with the paper's settings, each fact in one sentence as in the paper, in batches of
the same size, and try the mask on the validation facts once an epoch. Before anything is timed
both must find the same loss for the first batch.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from benchmarks.memory import Memory
from benchmarks.peer import published_model, published_tokenizer
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.tables import finish, provenance_line, table
from benchmarks.workers import answer, messages, worker
from plm import BaseModel, answer_token_ids, default_layer_range, load_base, object_text
from training.data import RelationTemplates, Split, Triple, load_templates
from training.learning import LearnConfig, learn, preset
from training.methods import DeterministicGenerator

BASE = "minilm-l6-mlm"
Way = Literal["ours", "paper"]
_SAME_LOSS = 1e-3
_SCORES_SEED = 0


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        ours: seconds of a relation.
        paper: the same the paper's way.
        ratio: how many times faster ours is, relation by relation.
        our_memory: of the process that learned our way, at the end.
        paper_memory: of the other one.
        origin: where the figures come from.
    """

    ours: Spread
    paper: Spread
    ratio: Spread
    our_memory: Memory
    paper_memory: Memory
    origin: dict[str, str]


def main(
    *,
    relations: Annotated[int, typer.Option(min=1, max=16, help="How many are learned.")] = 4,
    facts: Annotated[int, typer.Option(min=64, help="Of each, to learn from.")] = 512,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 6,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/learn_masks.json"
    ),
) -> None:
    """Learn relations in turns; write JSON and print Markdown."""
    origin = provenance()
    seconds: dict[Way, list[float]] = {"ours": [], "paper": []}
    sides: tuple[Way, Way] = ("ours", "paper")
    with ExitStack() as stack:
        learners = {
            side: stack.enter_context(
                worker(
                    "learn_masks",
                    ["worker", side, str(facts), str(epochs), str(threads)],
                    threads=threads,
                )
            )
            for side in sides
        }
        for number in range(relations):
            losses = {
                side: learners[side].ask({"order": "loss", "number": number}) for side in sides
            }
            if not math.isclose(losses["ours"], losses["paper"], abs_tol=_SAME_LOSS):
                raise RuntimeError(f"the sides do not learn the same: losses {losses}")
            for side in sides if number % 2 else reversed(sides):
                seconds[side].append(learners[side].ask({"order": "learn", "number": number}))
        memories = learners["ours"].memory(), learners["paper"].memory()
    origin |= {
        "base": BASE,
        "threads": str(threads),
        "facts": f"{facts} of each of {relations} relations, and a quarter as many to validate",
        "settings": f"the paper's (batches of 32, Adam 3e-4), {epochs} epochs, a check in each",
    }
    result = Result(
        Spread.of(seconds["ours"]),
        Spread.of(seconds["paper"]),
        Spread.of_ratios(seconds["paper"], seconds["ours"]),
        *memories,
        origin,
    )
    finish(out, "Learning masks beside the paper's way", _markdown(result), result)


def _work(way: Way, facts: int, epochs: int, threads: int) -> None:
    """A process that learns in one of the ways.

    It answers what the first batch of a relation loses under the scores that learning starts from
    (`loss`), and the seconds that a relation takes (`learn`).
    """
    torch.set_num_threads(threads)
    base = load_base(BASE, device="cpu", dtype=torch.float32)
    model = published_model(BASE) if way == "paper" else None
    config = replace(preset("paper"), epochs=epochs, validations_an_epoch=1)
    for message in messages():
        split, templates = _relation(base, message["number"], facts)
        if message["order"] == "loss":
            short = replace(config, epochs=1)
            split = Split(split.train[: config.batch_size], split.validation, ())
            value = (
                _our_loss(base, split, templates, short)
                if model is None
                else _PaperWay(base, model, split, templates, short).step()
            )
        else:
            started = time.perf_counter()
            if model is None:
                generator = _scores(base)
                learn(base, split, templates, config, generator, seed=0)
            else:
                _PaperWay(base, model, split, templates, config).run()
            value = time.perf_counter() - started
        answer(value)


def _relation(base: BaseModel, number: int, facts: int) -> tuple[Split, RelationTemplates]:
    """Facts of random subjects and words: what is learned does not change what it costs."""
    name, templates = sorted(load_templates().items())[number]
    random = Random(number)
    words = [object_text(base, token) for token in answer_token_ids(base).nonzero()[:, 0].tolist()]
    triples = tuple(
        Triple(subject, name, random.choice(words))
        for subject in random.sample(list(subjects()), facts + facts // 4)
    )
    one = replace(templates, training=templates.training[:1])
    return Split(triples[:facts], triples[facts:], ()), one


def _scores(base: BaseModel) -> DeterministicGenerator:
    return DeterministicGenerator(
        base.shapes(*default_layer_range(base.layer_count)),
        mean=0.0,
        deviation=1.0,
        seed=_SCORES_SEED,
        device=base.device,
    )


def _our_loss(
    base: BaseModel, split: Split, templates: RelationTemplates, config: LearnConfig
) -> float:
    losses: list[float] = []
    learn(
        base,
        split,
        templates,
        config,
        _scores(base),
        seed=0,
        report=lambda progress: losses.append(progress.loss),
    )
    return losses[0]


class _Thresholded(nn.Module):
    """A weight under the mask of its scores, with the straight-through gradient."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, weight: Tensor) -> Tensor:
        """W * M, where the gradient of M stands in for that of the scores."""
        soft = self.scores.sigmoid()
        hard = (soft >= 0.5).to(soft.dtype)
        return weight * (hard + self.scores - self.scores.detach())


class _PaperWay:
    """One relation learned over the whole published model."""

    def __init__(
        self,
        base: BaseModel,
        model: Any,
        split: Split,
        templates: RelationTemplates,
        config: LearnConfig,
    ) -> None:
        self._base, self._model, self._config = base, model, config
        self._tokenizer = published_tokenizer(BASE)
        (wording,) = templates.training
        self._train = (
            [_sentence(base, wording, fact) for fact in split.train],
            [fact.object for fact in split.train],
        )
        self._validation = (
            [_sentence(base, templates.evaluation, f) for f in split.validation],
            [fact.object for fact in split.validation],
        )
        self._random = Random(0)

    def step(self) -> float:
        """The loss of one batch of all facts, without learning."""
        with _masked(self._base, self._model), torch.no_grad():
            return float(self._loss(*self._train))

    def run(self) -> None:
        """Learn, and try the mask on the validation facts after each epoch."""
        size = self._config.batch_size
        sentences, objects = self._train
        with _masked(self._base, self._model) as scores:
            optimizer = torch.optim.Adam(scores, lr=self._config.learning_rate)
            order = list(range(len(sentences)))
            for _ in range(self._config.epochs):
                self._random.shuffle(order)
                for start in range(0, len(order), size):
                    places = order[start : start + size]
                    loss = self._loss([sentences[p] for p in places], [objects[p] for p in places])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                with torch.no_grad():
                    held, targets = self._validation
                    for start in range(0, len(held), size):
                        self._loss(held[start : start + size], targets[start : start + size])

    def _loss(self, sentences: Sequence[str], objects: Sequence[str]) -> Tensor:
        batch = self._tokenizer(list(sentences), padding=True, return_tensors="pt")
        logits = self._model(**batch).logits
        at = batch["input_ids"] == self._base.mask_token_id
        targets = self._tokenizer.convert_tokens_to_ids(list(objects))
        return functional.cross_entropy(logits[at], torch.tensor(targets))


@contextmanager
def _masked(base: BaseModel, model: Any) -> Iterator[list[nn.Parameter]]:
    """The model under thresholded scores, which are yielded, in the order of the base's names."""
    generator = _scores(base)
    parts = []
    for name, scores in zip(generator.names, generator.scores, strict=True):
        module = model.get_submodule(name.removesuffix(".weight"))
        part = _Thresholded(scores.detach().clone())
        parametrize.register_parametrization(module, "weight", part)
        parts.append((module, part.scores))
    try:
        yield [scores for _, scores in parts]
    finally:
        for module, _ in parts:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def _sentence(base: BaseModel, template: str, fact: Triple) -> str:
    return template.replace("[X]", fact.subject).replace("[Y]", base.mask_token)


def _markdown(result: Result) -> list[str]:
    rows = [
        ("ours", result.ours.text(1), result.ratio.text(1), result.our_memory.text()),
        ("the paper's way", result.paper.text(1), "", result.paper_memory.text()),
    ]
    header = ("", "seconds a relation", "times faster", "memory")
    return [table(header, rows), provenance_line(result.origin)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(*sys.argv[2:3], *map(int, sys.argv[3:]))  # type: ignore[arg-type]
    else:
        typer.run(main)
