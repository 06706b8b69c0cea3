"""A mask replaced again and again while clients ask for it: is any answer mixed, stale or slow?

Two masks take turns under one relation. An answer is mixed if its scores are not those that the
mask whose digest it names gives alone, computed here before; stale if it was asked for after the
server had confirmed a replacement, and names a mask that was replaced before.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, pairwise
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import torch
import typer

from app.settings import shipped_packs
from benchmarks.load import Connection, Reply, closed_load, post
from benchmarks.memory import MIB
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.server import running_server
from benchmarks.tables import finish, provenance_line, table
from masks import MaskPack, RelationMask, dump_mask
from plm import Engine, Probe, Template, TopTokens, encode_prompt, load_base

_KEY = "benchmark-of-hot-masks"
_RELATIONS = ("IsA", "HasA")
_SUBJECTS = 64
_TOP_K = 20
_SAME = 1e-4
# Log-probabilities, most likely first, and those of each token; by digest and subject.
Scores = tuple[list[float], dict[int, float]]
Expected = Mapping[tuple[str, str], Scores]


@dataclass(frozen=True)
class Replacement:
    """One PUT: when it was sent and confirmed (time.monotonic()), and the digest it brought."""

    sent_at: float
    done_at: float
    digest: str


@dataclass(frozen=True)
class Verdict:
    """What was found in the answers of a load.

    Attributes:
        answers: how many.
        failed: those that were no answer.
        mixed: those whose scores are not those of the mask that they name.
        stale: those under a mask that had been replaced before they were asked for.
        largest: the largest difference of a log-probability.
    """

    answers: int
    failed: int
    mixed: int
    stale: int
    largest: float


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        replacements: how many.
        verdict: over the answers given meanwhile.
        put_ms: milliseconds of a replacement, by percentile.
        quiet_ms: of a question while no mask is replaced, by percentile.
        busy_ms: of a question while masks are replaced.
        ratio: questions a second while masks are replaced over those while none is, by round.
        memory: resident bytes before and after.
        origin: where the figures come from.
    """

    replacements: int
    verdict: Verdict
    put_ms: dict[str, float]
    quiet_ms: dict[str, float]
    busy_ms: dict[str, float]
    ratio: Spread
    memory: tuple[int, int]
    origin: dict[str, str]


def main(
    *,
    replacements: Annotated[int, typer.Option(min=1, help="In all.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Quiet and busy spells, in turns.")] = 5,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between replacements.")] = 0.1,
    clients: Annotated[int, typer.Option(min=1, help="Connections that ask.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    pack: Annotated[Path | None, typer.Option(help="Mask pack (default: the shipped one).")] = None,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/hot_masks.json"
    ),
) -> None:
    """Replace masks under load and check every answer; write JSON and print Markdown."""
    packs = shipped_packs() if pack is None else (pack,)
    if not packs:
        raise typer.BadParameter("no pack is shipped with this checkout; name one with --pack")
    origin = provenance()
    masks = two_masks(packs[0])
    expected = alone(base, masks)
    spells = [len(part) for part in np.array_split(range(replacements), rounds)]
    turns = cycle(masks)
    quiet: list[Reply] = []
    busy: list[Reply] = []
    made: list[Replacement] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as uploads:
        settings = {
            "base": base, "packs": str(packs[0]), "device": "cpu", "dtype": "float32",
            "cache": "off", "admin_key": _KEY, "uploads": uploads,
        }  # fmt: skip
        with running_server(settings, threads=threads) as server:
            url = str(server.client.base_url)
            # What is in service when the first spell begins.
            found = asyncio.run(_replace(url, islice(turns, 2), 0))
            asyncio.run(closed_load(url, questions(0), clients=clients, seconds=2))
            before = server.memory().rss
            for number, count in enumerate(spells, start=1):
                replies, changes, seconds = asyncio.run(
                    _busy(url, islice(turns, count), pause, clients, number)
                )
                calm = asyncio.run(
                    closed_load(url, questions(-number), clients=clients, seconds=seconds)
                )
                ratios.append(len(replies) / len(calm))
                busy += replies
                quiet += calm
                made += changes
            after = server.memory().rss
    origin |= {
        "base": base,
        "threads": str(threads),
        "load": f"{clients} clients, one question each at a time, top_k {_TOP_K}",
        "replacements": f"{replacements} in {rounds} spells, {pause:g} s apart",
    }
    result = Result(
        replacements=len(made),
        verdict=judge(busy, [*found, *made], expected),
        put_ms=_percentiles([change.done_at - change.sent_at for change in made]),
        quiet_ms=_percentiles([reply.seconds for reply in quiet]),
        busy_ms=_percentiles([reply.seconds for reply in busy]),
        ratio=Spread.of(ratios),
        memory=(before, after),
        origin=origin,
    )
    finish(out, "Masks replaced under load", _markdown(result), result)


def two_masks(pack: Path) -> tuple[RelationMask, RelationMask]:
    """Two masks of one relation: its own, and another one's bits under its name."""
    own, other = (MaskPack.open(pack).load(name) for name in _RELATIONS)
    return own, RelationMask(replace(other.metadata, relation=own.relation), other.packed)


def alone(base: str, masks: Sequence[RelationMask]) -> Expected:
    """What each mask's model says of each subject, one at a time."""
    engine = Engine(load_base(base, device="cpu", dtype=torch.float32))
    expected: dict[tuple[str, str], Scores] = {}
    for mask in masks:
        template = Template.parse(mask.metadata.templates[0])
        for subject in islice(subjects(), _SUBJECTS):
            prompt = encode_prompt(engine.base, template, subject)
            (reading,) = engine.read([Probe(prompt.row, mask, TopTokens(_TOP_K, words=True))])
            assert reading.token_ids is not None
            scores = reading.log_probs.tolist()
            by_token = dict(zip(reading.token_ids.tolist(), scores, strict=True))
            expected[mask.digest, subject] = scores, by_token
    return expected


def questions(seed: int) -> Iterator[bytes]:
    """Endless questions about the subjects, in random order."""
    random = Random(seed)
    bodies = [
        json.dumps({"subject": subject, "relation": _RELATIONS[0], "top_k": _TOP_K}).encode()
        for subject in islice(subjects(), _SUBJECTS)
    ]
    while True:
        yield post("/complete", random.choice(bodies))


def judge(replies: Sequence[Reply], made: Sequence[Replacement], expected: Expected) -> Verdict:
    """Hold every answer against the masks that were there, from the first one made on."""
    failed = mixed = stale = 0
    largest = 0.0
    for reply in replies:
        if reply.status != 200:
            failed += 1
            continue
        answer = json.loads(reply.body)
        difference = _difference(answer, expected)
        largest = max(largest, difference)
        mixed += difference > _SAME
        stale += answer["mask"]["digest"] not in _possible(reply, made)
    return Verdict(len(replies), failed, mixed, stale, largest)


def _difference(answer: Mapping[str, Any], expected: Expected) -> float:
    """The largest difference from the scores of the mask named; endless for an unknown mask."""
    key = (answer["mask"]["digest"], answer["subject"])
    if key not in expected:
        return float("inf")
    ranked, by_token = expected[key]
    found = answer["completions"]
    differences: list[float] = [
        abs(item["log_prob"] - score) for item, score in zip(found, ranked, strict=True)
    ]
    # At the end of the list two tokens may change places.
    differences += [
        abs(item["log_prob"] - by_token[item["token_id"]])
        for item in found
        if item["token_id"] in by_token
    ]
    return max(differences)


def _possible(reply: Reply, made: Sequence[Replacement]) -> set[str]:
    """Digests of the masks that were in service at some moment of a request."""
    end = reply.sent_at + reply.seconds
    possible = {
        change.digest
        for change, after in pairwise(made)
        if change.sent_at <= end and after.done_at >= reply.sent_at
    }
    return possible | ({made[-1].digest} if made[-1].sent_at <= end else set())


async def _busy(
    url: str, masks: Iterator[RelationMask], pause: float, clients: int, seed: int
) -> tuple[list[Reply], list[Replacement], float]:
    """Ask while masks are replaced, until the last one is; for how many seconds."""
    replies: list[Reply] = []
    replacing = asyncio.create_task(_replace(url, masks, pause))
    requests = questions(seed)

    async def client() -> None:
        connection = Connection(url)
        while not replacing.done():
            replies.append(await connection.send(next(requests)))
        connection.close()

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    return replies, await replacing, time.monotonic() - started


async def _replace(url: str, masks: Iterator[RelationMask], pause: float) -> list[Replacement]:
    connection = Connection(url)
    made: list[Replacement] = []
    for mask in masks:
        reply = await connection.send(_put(mask))
        if reply.status not in (200, 201):
            raise RuntimeError(f"a mask was refused: {reply.status} {reply.body!r}")
        made.append(Replacement(reply.sent_at, reply.sent_at + reply.seconds, mask.digest))
        await asyncio.sleep(pause)
    connection.close()
    return made


def _put(mask: RelationMask) -> bytes:
    data = dump_mask(mask)
    lines = [
        f"PUT /masks/{mask.relation} HTTP/1.1",
        "host: benchmark",
        "content-type: application/octet-stream",
        f"authorization: Bearer {_KEY}",
        f"content-length: {len(data)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.percentile(np.array(seconds) * 1000, [50, 99, 100])
    return dict(zip(("p50", "p99", "max"), map(float, values), strict=True))


def _markdown(result: Result) -> list[str]:
    verdict = result.verdict
    figures = [
        ("replacements", result.replacements),
        ("answers meanwhile", verdict.answers),
        ("mixed", verdict.mixed),
        ("stale", verdict.stale),
        ("no answer", verdict.failed),
        ("largest difference of a log-probability", f"{verdict.largest:.1e}"),
        ("questions a second, over those while nothing is replaced", result.ratio.text()),
        ("resident before and after", " and ".join(f"{n / MIB:.0f} MiB" for n in result.memory)),
    ]
    times = [
        (what, *(f"{values[name]:.1f} ms" for name in ("p50", "p99", "max")))
        for what, values in (
            ("a replacement", result.put_ms),
            ("a question, masks being replaced", result.busy_ms),
            ("a question, nothing being replaced", result.quiet_ms),
        )
    ]
    return [
        table(("", ""), figures),
        table(("", "p50", "p99", "max"), times),
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
