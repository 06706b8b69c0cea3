"""One relation-specialised `/complete` over HTTP beside a plain fill-mask pipeline call.

Claim: it costs less than the pipeline in this very process, which has no HTTP to pay, and the
server holds all its masks in the memory of about one model.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from app.settings import shipped_packs
from benchmarks.peer import TOP_K, fill_mask, measure_alone
from benchmarks.provenance import provenance
from benchmarks.questions import SUBJECT_COUNT, Question, Questioner
from benchmarks.samples import Samples
from benchmarks.serve_one_report import CaseResult, Footprint, MaskSizes, Result
from benchmarks.server import Server, running_server

# Probabilities of both sides, on the same weights in float32, differ by rounding only.
_SAME = 1e-4
_CHECKED = 5


@dataclass(frozen=True)
class Case:
    """One way of asking.

    Attributes:
        name: as the table has it.
        ask: answers a question.
        rotating: whether the relation changes with every question.
        peer: name of the case it is compared with; None for the peer itself.
    """

    name: str
    ask: Callable[[Question], object]
    rotating: bool
    peer: str | None


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds of a block of each case, after a warm-up not counted."""

    rounds: int
    block: int
    warm_up: int

    @property
    def subjects(self) -> int:
        """How many subjects are needed."""
        return self.rounds * (self.warm_up + self.block)


class Asker:
    """Asks our server."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def masked(self, question: Question) -> Any:
        """Under the relation's mask."""
        return self._complete(question, {})

    def unmasked(self, question: Question) -> Any:
        """The unmasked model, with the relation's template."""
        return self._complete(question, {"masked": False})

    def as_the_peer(self, question: Question) -> Any:
        """The unmasked model, ranking every token as the pipeline does."""
        return self._complete(question, {"masked": False, "vocabulary": "all"})

    def _complete(self, question: Question, fields: dict[str, object]) -> Any:
        body = {"subject": question.subject, "relation": question.relation, "top_k": TOP_K}
        return self._client.post("/complete", json=body | fields).raise_for_status().json()


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    pack: Annotated[
        Path | None, typer.Option(help="Mask pack of the base (default: the shipped one).")
    ] = None,
    relation: Annotated[
        str | None, typer.Option(help="The relation asked repeatedly (default: the first).")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each case.")] = 20,
    block: Annotated[int, typer.Option(min=1, help="Calls in a block.")] = 48,
    warm_up: Annotated[int, typer.Option(min=0, help="Calls before a block, not counted.")] = 4,
    starts: Annotated[int, typer.Option(min=1, help="How often either side is started.")] = 3,
    mask_cache_bytes: Annotated[
        str | None, typer.Option(help="RELATA_MASK_CACHE_BYTES (default: the server's).")
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/serve_one.json"
    ),
) -> None:
    """Measure ours and the peer interleaved; write JSON and print Markdown."""
    plan = Plan(rounds, block, warm_up)
    # Each case asks the same subjects; the rest is for what precedes them.
    if plan.subjects > SUBJECT_COUNT // 2:
        raise typer.BadParameter(f"rounds x (warm-up + block) is at most {SUBJECT_COUNT // 2}")
    packs = shipped_packs() if pack is None else (pack,)
    if not packs:
        raise typer.BadParameter("no pack is shipped with this checkout; name one with --pack")
    origin = provenance()
    settings = {"base": base, "packs": ",".join(map(str, packs)), "device": "cpu"}
    if mask_cache_bytes is not None:
        settings["mask_cache_bytes"] = mask_cache_bytes
    with ExitStack() as stack:
        server, seconds = _started(stack, settings, threads, starts)
        info = server.client.get("/info").json()
        asker = Asker(server.client)
        questioner = Questioner(_templates(server.client, relation), info["base"]["mask_token"])
        at_ready = server.memory()
        for question in _every_relation_once(questioner):
            asker.masked(question)
        masks_used = server.memory()
        (question,) = questioner.ask(questioner.take(1), rotating=False)
        peers = [measure_alone(base, question.prompt, threads=threads) for _ in range(starts)]
        pipeline = fill_mask(base, threads=threads)
        _check_same(asker, pipeline, questioner)
        cases = measure(_cases(asker, pipeline), questioner, plan)
        footprint = Footprint(seconds, at_ready, masks_used, server.memory())
        sizes = _sizes(server.client, packs)
    origin |= {
        "base": f"{info['base']['name']} {info['base']['digest']}",
        "dtype and device": f"{info['dtype']}, {info['device']}",
        "threads": f"{threads} (the server says {info['threads']})",
        "mask cache": f"{info['settings']['mask_cache_bytes']:,} bytes",
        "relation asked repeatedly": questioner.relations[0],
        "calls": f"{rounds} rounds of {block}, each after {warm_up} not counted; top_k {TOP_K}",
    }
    result = Result(cases, footprint, peers, sizes, origin)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(result.to_json(), encoding="utf-8")
    typer.echo(result.markdown())
    typer.echo(f"written to {out}", err=True)


def measure(cases: Sequence[Case], questioner: Questioner, plan: Plan) -> list[CaseResult]:
    """Every round asks each case the same subjects; every second one in reverse order of cases."""
    samples = {case.name: Samples() for case in cases}
    for number in range(plan.rounds):
        about = questioner.take(plan.warm_up + plan.block)
        for case in cases if number % 2 == 0 else reversed(cases):
            questions = questioner.ask(about, rotating=case.rotating)
            for question in questions[: plan.warm_up]:
                case.ask(question)
            samples[case.name].blocks.append(
                [_milliseconds(case, question) for question in questions[plan.warm_up :]]
            )
    return [
        CaseResult(case.name, samples[case.name], None if case.peer is None else samples[case.peer])
        for case in cases
    ]


def _milliseconds(case: Case, question: Question) -> float:
    started = time.perf_counter_ns()
    case.ask(question)
    return (time.perf_counter_ns() - started) / 1e6


def _cases(asker: Asker, pipeline: Any) -> list[Case]:
    def ask_peer(question: Question) -> object:
        return pipeline(question.prompt)

    one, rotation = "pipeline, one relation's prompts", "pipeline, all relations' prompts in turns"
    return [
        Case("`/complete`, one relation", asker.masked, False, one),
        Case("`/complete`, one relation, `masked: false`", asker.unmasked, False, one),
        Case(one, ask_peer, False, None),
        Case("`/complete`, all relations in turns", asker.masked, True, rotation),
        Case(rotation, ask_peer, True, None),
    ]


def _started(
    stack: ExitStack, settings: dict[str, str], threads: int, starts: int
) -> tuple[Server, list[float]]:
    """The last of several servers, and how long each took to be ready."""
    seconds: list[float] = []
    for _ in range(starts - 1):
        with running_server(settings, threads=threads) as server:
            seconds.append(server.seconds_to_ready)
    server = stack.enter_context(running_server(settings, threads=threads))
    return server, [*seconds, server.seconds_to_ready]


def _templates(client: httpx.Client, first: str | None) -> dict[str, str]:
    """The default template of each relation served, `first` leading."""
    listed = client.get("/relations").raise_for_status().json()["relations"]
    templates: dict[str, str] = {entry["name"]: entry["templates"][0] for entry in listed}
    if first is None:
        return templates
    if first not in templates:
        raise typer.BadParameter(f"no relation {first}; there are: {', '.join(templates)}")
    return {first: templates[first]} | templates


def _every_relation_once(questioner: Questioner) -> list[Question]:
    return questioner.ask(questioner.take(len(questioner.relations)), rotating=True)


def _check_same(asker: Asker, pipeline: Any, questioner: Questioner) -> None:
    """Refuse to compare two sides that do not compute the same thing."""
    for question in questioner.ask(questioner.take(_CHECKED), rotating=True):
        answer = asker.as_the_peer(question)
        if answer["prompt"] != question.prompt:
            raise RuntimeError(f"asked {answer['prompt']!r}, but the peer {question.prompt!r}")
        ours = [item["score"] for item in answer["completions"]]
        theirs = [item["score"] for item in pipeline(question.prompt)]
        if any(abs(one - other) > _SAME for one, other in zip(ours, theirs, strict=True)):
            raise RuntimeError(f"the sides disagree on {question.prompt!r}: {ours}, {theirs}")


def _sizes(client: httpx.Client, packs: Sequence[Path]) -> MaskSizes:
    masks = client.get("/masks").raise_for_status().json()["masks"]
    return MaskSizes(
        masks=len(masks),
        weights=sum(mask["weights"] for mask in masks),
        mask_bytes=sum(mask["bytes"] for mask in masks),
        pack_bytes=sum(file.stat().st_size for pack in packs for file in pack.rglob("*")),
    )


if __name__ == "__main__":
    typer.run(main)
