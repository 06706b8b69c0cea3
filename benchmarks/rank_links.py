"""Ranking all objects of a knowledge base for a subject and a relation, beside PyKEEN.

Claim: none for speed. An embedding model scores a candidate with a few multiplications, and a
language model reads a sentence for each length of object, so PyKEEN is faster; how much, and what
either finds, is shown. PyKEEN's model is trained here, briefly and with settings that nobody tuned,
on the training facts; ours uses the shipped masks, which were learned from these facts and from
LAMA's (`--exclude` leaves the latter out of what is held out). Both rank the same candidates for
the same held-out facts: the objects that the relation has in the training facts. Other right
answers are left out of a ranking (filtered), and ties are split in the mean (realistic rank).
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.memory import MIB
from benchmarks.provenance import provenance
from benchmarks.samples import Spread
from benchmarks.specialists import Specialist, masks_of
from benchmarks.tables import finish, provenance_line, table
from benchmarks.turns import one_round
from plm import (
    MAX_OBJECT_TOKENS,
    Candidates,
    Engine,
    candidate_probes,
    candidate_scores,
    encode_prompt,
    load_base,
    read_in_passes,
    tokenise_objects,
)
from training.evaluation import realistic_rank

OURS, PEER = "masks", "PyKEEN"
_CACHE_BYTES = 96 * MIB
# As the service bounds a pass.
_PASS_TOKENS = 1024


class Fact(NamedTuple):
    """A line of the data."""

    relation: str
    subject: str
    object: str


# Scores (K,) of a relation's candidates for each fact of one relation.
Side = Callable[[Sequence[Fact]], Sequence[NDArray[np.floating[Any]]]]


@dataclass(frozen=True)
class Case:
    """Queries asked at a time: queries a second of each side, and ours over PyKEEN's."""

    queries: int
    rates: Mapping[str, Spread]
    ratio: Spread


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        cases: speed.
        mrr: mean of 1 / rank over the facts, by side.
        facts: held-out facts that both sides rank.
        left_out: held-out facts that one of them cannot, or that masks may have learned from: the
            relation has no mask, subject or object do not occur among the training facts, or the
            fact is excluded.
        candidates: of a ranking, the mean over facts.
        training_seconds: of PyKEEN's model.
        origin: where the figures come from.
    """

    cases: tuple[Case, ...]
    mrr: Mapping[str, float]
    facts: int
    left_out: int
    candidates: float
    training_seconds: float
    origin: dict[str, str]


def main(
    *,
    data: Annotated[
        Path, typer.Option(help="Folder with train.txt and test.txt: relation, subject, object.")
    ],
    exclude: Annotated[
        Path | None, typer.Option(help="LAMA's ConceptNet facts, JSON lines: not held out.")
    ] = None,
    queries: Annotated[list[int] | None, typer.Option(min=1, help="Asked at a time.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns counted of each side.")] = 11,
    warm_up: Annotated[int, typer.Option(min=0, help="Turns before them.")] = 2,
    model: Annotated[str, typer.Option(help="PyKEEN's model.")] = "TransE",
    dimension: Annotated[int, typer.Option(min=1, help="Of its embeddings.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training facts.")] = 15,
    most: Annotated[int, typer.Option(min=1, help="Held-out facts ranked, at most.")] = 300,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/rank_links.json"
    ),
) -> None:
    """Train the peer, rank held-out facts and measure both sides; write JSON, print Markdown."""
    origin = provenance()
    torch.set_num_threads(threads)
    training, held_out = read_facts(data / "train.txt"), read_facts(data / "test.txt")
    engine = Engine(load_base("minilm-l6-mlm", device="cpu"), cache_bytes=_CACHE_BYTES)
    chosen = {mask.relation: Specialist.of([mask]) for mask in masks_of()}
    candidates = _candidates(engine, training, set(chosen))
    subjects = {fact.subject for fact in training} | {fact.object for fact in training}
    excluded = set() if exclude is None else read_lama(exclude)
    usable = [
        fact
        for fact in held_out
        if fact.object in candidates.get(fact.relation, {})
        and fact.subject in subjects
        and fact not in excluded
    ]
    if not usable:
        raise typer.BadParameter(f"no fact of {data / 'test.txt'} can be ranked by both sides")
    left_out = len(held_out) - len(usable)
    usable = Random(0).sample(usable, min(most, len(usable)))
    started = time.perf_counter()
    peer = _trained(training, model=model, dimension=dimension, epochs=epochs)
    training_seconds = time.perf_counter() - started
    sides: dict[str, Side] = {
        OURS: _our_side(engine, chosen, candidates),
        PEER: _peer_side(*peer, candidates),
    }
    known = _known(training, held_out)
    mrr = {name: _mrr(side, usable, candidates, known) for name, side in sides.items()}
    cases = [
        _measure(sides, usable, count, rounds=rounds, warm_up=warm_up)
        for count in queries or [1, 32]
    ]
    origin |= {
        "base": engine.base.name,
        "data": f"{data.name}, {len(training)} training facts; "
        f"{len(excluded)} facts excluded from those held out",
        "PyKEEN": f"{version('pykeen')}, {model}, {dimension} dimensions, {epochs} epochs",
        "threads": str(threads),
        "queries": f"{rounds} turns of each side, after {warm_up} not counted",
    }
    result = Result(
        tuple(cases),
        mrr,
        len(usable),
        left_out,
        float(np.mean([len(candidates[fact.relation]) for fact in usable])),
        training_seconds,
        origin,
    )
    finish(out, "Ranking the objects of a knowledge base", _markdown(result), result)


def read_facts(path: Path) -> list[Fact]:
    """Facts of a file, one a line, tab-separated.

    Raises:
        typer.BadParameter: no such file, or a line without three parts.
    """
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    facts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("\t")
        if len(parts) != 3:
            raise typer.BadParameter(
                f"line {number} of {path} has {len(parts)} parts, where relation, subject and "
                "object belong, separated by tabs"
            )
        facts.append(Fact(*parts))
    return facts


def read_lama(path: Path) -> set[Fact]:
    """Facts of a file of LAMA.

    Raises:
        typer.BadParameter: no such file, or a line that is none of it.
    """
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    facts = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            facts.add(Fact(row["pred"], row["sub_label"], row["obj_label"]))
        except (ValueError, TypeError, KeyError) as error:
            raise typer.BadParameter(
                f"line {number} of {path} is no JSON object with pred, sub_label and obj_label"
            ) from error
    return facts


# The candidates of each relation, each with its tokens.
Objects = Mapping[str, Mapping[str, tuple[int, ...]]]


def _candidates(engine: Engine, training: Sequence[Fact], relations: set[str]) -> Objects:
    """The objects that relations have in the training facts, but for those no prompt can hold."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for fact in training:
        if fact.relation in relations:
            found[fact.relation][fact.object] = None
    objects = {}
    for relation, texts in found.items():
        tokenised = tokenise_objects(engine.base, list(texts), most=MAX_OBJECT_TOKENS)
        pairs = zip(texts, tokenised, strict=True)
        objects[relation] = {text: ids for text, ids in pairs if isinstance(ids, tuple)}
    return objects


def _known(*parts: Sequence[Fact]) -> Mapping[tuple[str, str], set[str]]:
    """The right objects of each relation and subject."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in (fact for part in parts for fact in part):
        known[fact.relation, fact.subject].add(fact.object)
    return known


def _our_side(engine: Engine, chosen: Mapping[str, Specialist], objects: Objects) -> Side:
    grouped = {relation: Candidates.of(list(texts.values())) for relation, texts in objects.items()}

    def score(facts: Sequence[Fact]) -> list[NDArray[np.floating[Any]]]:
        asked = [
            candidate_probes(
                engine.base,
                encode_prompt(engine.base, chosen[fact.relation].template, fact.subject),
                chosen[fact.relation].mask,
                grouped[fact.relation],
            )
            for fact in facts
        ]
        readings = iter(
            read_in_passes(
                engine.read, [probe for probes in asked for probe in probes], _PASS_TOKENS
            )
        )
        return [
            candidate_scores(grouped[fact.relation], [next(readings) for _ in probes])
            for fact, probes in zip(facts, asked, strict=True)
        ]

    return score


def _trained(facts: Sequence[Fact], *, model: str, dimension: int, epochs: int) -> tuple[Any, Any]:
    """PyKEEN's model and its triples factory."""
    from pykeen.models import model_resolver  # noqa: PLC0415 - a peer, for benchmarks only
    from pykeen.training import SLCWATrainingLoop  # noqa: PLC0415
    from pykeen.triples import TriplesFactory  # noqa: PLC0415

    torch.manual_seed(0)
    triples = np.array([(fact.subject, fact.relation, fact.object) for fact in facts])
    factory = TriplesFactory.from_labeled_triples(triples)
    made = model_resolver.make(model, triples_factory=factory, embedding_dim=dimension)
    loop = SLCWATrainingLoop(
        model=made,
        triples_factory=factory,
        optimizer=torch.optim.Adam(made.parameters(), lr=1e-2),
        negative_sampler_kwargs={"num_negs_per_pos": 4},
    )
    loop.train(factory, num_epochs=epochs, batch_size=2048, use_tqdm=False)
    return made.eval(), factory


def _peer_side(model: Any, factory: Any, objects: Objects) -> Side:
    numbers, relations = factory.entity_to_id, factory.relation_to_id
    tails = {
        relation: torch.tensor([numbers[text] for text in texts])
        for relation, texts in objects.items()
    }

    @torch.inference_mode()
    def score(facts: Sequence[Fact]) -> list[NDArray[np.floating[Any]]]:
        # A relation's queries in one call, against its candidates alone.
        scores: dict[int, NDArray[np.floating[Any]]] = {}
        for relation in {fact.relation for fact in facts}:
            places = [place for place, fact in enumerate(facts) if fact.relation == relation]
            pairs = [(numbers[facts[place].subject], relations[relation]) for place in places]
            found = model.score_t(torch.tensor(pairs), tails=tails[relation]).numpy()
            scores.update(zip(places, found, strict=True))
        return [scores[place] for place in range(len(facts))]

    return score


def _mrr(
    side: Side,
    facts: Sequence[Fact],
    objects: Objects,
    known: Mapping[tuple[str, str], set[str]],
) -> float:
    reciprocals = []
    for fact in facts:
        texts = list(objects[fact.relation])
        others = known[fact.relation, fact.subject] - {fact.object}
        scores = torch.from_numpy(np.asarray(side([fact])[0]))
        rank = realistic_rank(
            scores[None],
            torch.tensor([texts.index(fact.object)]),
            candidates=torch.tensor([text not in others for text in texts]),
        )
        reciprocals.append(1 / float(rank[0]))
    return float(np.mean(reciprocals))


def _measure(
    sides: Mapping[str, Side], facts: Sequence[Fact], count: int, *, rounds: int, warm_up: int
) -> Case:
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        asked = [facts[(number * count + place) % len(facts)] for place in range(count)]
        seconds = one_round({name: partial(side, asked) for name, side in sides.items()}, number)
        if number >= warm_up:
            for name, taken in seconds.items():
                rates[name].append(count / taken)
    return Case(
        count,
        {name: Spread.of(values) for name, values in rates.items()},
        Spread.of_ratios(rates[OURS], rates[PEER]),
    )


def _markdown(result: Result) -> list[str]:
    speed = [
        (
            case.queries,
            case.rates[OURS].text(1),
            case.rates[PEER].text(0),
            case.ratio.text(3),
        )
        for case in result.cases
    ]
    quality = [
        ("MRR, filtered, realistic rank", *(f"{result.mrr[name]:.3f}" for name in (OURS, PEER))),
        ("learning, s", "none here", f"{result.training_seconds:.0f}"),
    ]
    return [
        table(("queries at a time", "masks, queries/s", "PyKEEN, queries/s", "ratio"), speed),
        table(("", "masks", "PyKEEN"), quality),
        f"Medians over turns, least and largest in brackets. {result.facts} held-out facts, each "
        f"among {result.candidates:.0f} candidates in the mean; {result.left_out} others are left "
        "out: one of the sides cannot rank them, or masks may have learned from them.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
