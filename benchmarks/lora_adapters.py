"""A batch of 16 relations mixed, beside LoRA adapters in PEFT.

An adapter is the other way to have many specialists of one model. PEFT is asked in both of its
ways: `mixed`, one forward pass in which each sentence names its adapter, and `switched`, a pass for
each adapter. Adapters have rank 8 on the matrices that masks cover, which takes as much on disk as
a mask; their weights are drawn, since speed does not depend on them. Both sides answer the same
prompts with the ten most likely tokens; without adapters and masks they must agree.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.peer import published_model
from benchmarks.popularity import POPULARITIES, Popularity, draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import TOP_K, Specialist, specialists
from benchmarks.tables import finish, provenance_line, table
from plm import (
    BaseModel,
    EncodedPrompt,
    Engine,
    Probe,
    TopTokens,
    collate,
    encode_prompt,
    load_base,
)

BASE = "minilm-l6-mlm"
_RANK = 8
_SAME = 1e-4
Side = Callable[[Sequence[int], Sequence[EncodedPrompt]], Tensor]


@dataclass(frozen=True)
class Case:
    """A batch size and a popularity: rows a second of each side, and ours over theirs."""

    rows: int
    popularity: Popularity
    rates: dict[str, Spread]
    ratios: dict[str, Spread]


@dataclass(frozen=True)
class Result:
    """What was measured."""

    cases: tuple[Case, ...]
    origin: dict[str, str]


def main(
    *,
    relations: Annotated[int, typer.Option(min=2, help="Masks, and as many adapters.")] = 16,
    rows: Annotated[list[int] | None, typer.Option(help="Prompts of a batch.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Batches counted of each side.")] = 11,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/lora_adapters.json"
    ),
) -> None:
    """Measure batches in turns; write JSON and print Markdown."""
    origin = provenance()
    torch.set_num_threads(threads)
    base = load_base(BASE, device="cpu", dtype=torch.float32)
    chosen = specialists(relations)
    peer = _adapted(base, relations)
    sides: dict[str, Side] = {
        "masks": _ours(Engine(base), chosen),
        "PEFT, mixed": lambda who, prompts: _mixed(peer, base, who, prompts),
        "PEFT, switched": lambda who, prompts: _switched(peer, base, who, prompts),
    }
    random, about = Random(0), list(subjects())
    _check(base, peer, [_prompt(base, chosen[0], subject) for subject in about[:8]])
    cases = []
    for count in rows or [1, 8, 32, 128]:
        for popularity in POPULARITIES:
            rates: dict[str, list[float]] = {name: [] for name in sides}
            for number in range(rounds + 2):
                who = draw(range(relations), count, popularity, random)
                prompts = [
                    _prompt(base, chosen[one], subject)
                    for one, subject in zip(who, random.sample(about, count), strict=True)
                ]
                for name, side in sides.items():
                    started = time.perf_counter()
                    side(who, prompts)
                    if number >= 2:
                        rates[name].append(count / (time.perf_counter() - started))
            ours = rates["masks"]
            cases.append(
                Case(
                    count,
                    popularity,
                    {name: Spread.of(values) for name, values in rates.items()},
                    {
                        name: Spread.of_ratios(ours, values)
                        for name, values in rates.items()
                        if name != "masks"
                    },
                )
            )
    origin |= {
        "base": BASE,
        "relations": f"{relations}, as many adapters of rank {_RANK}",
        "threads": str(threads),
        "batches": f"{rounds} of each side, after 2 not counted, in turns; top_k {TOP_K}",
    }
    result = Result(tuple(cases), origin)
    finish(out, "16 relations mixed, beside LoRA adapters", _markdown(result), result)


def _prompt(base: BaseModel, specialist: Specialist, subject: str) -> EncodedPrompt:
    return encode_prompt(base, specialist.template, subject)


def _ours(engine: Engine, chosen: Sequence[Specialist]) -> Side:
    def answer(who: Sequence[int], prompts: Sequence[EncodedPrompt]) -> Tensor:
        probes = [
            Probe(prompt.row, chosen[one].mask, TopTokens(TOP_K))
            for one, prompt in zip(who, prompts, strict=True)
        ]
        return torch.tensor([reading.log_probs[0] for reading in engine.read(probes)])

    return answer


def _adapted(base: BaseModel, count: int) -> Any:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - a peer, for benchmarks only

    model = published_model(BASE)
    first = base.layer_count // 2
    names = [name.removesuffix(".weight") for name in base.shapes(first + 1, base.layer_count)]
    config = LoraConfig(r=_RANK, lora_alpha=16, target_modules=names, init_lora_weights=False)
    torch.manual_seed(0)
    adapted = get_peft_model(model, config, adapter_name="0")
    for number in range(1, count):
        adapted.add_adapter(str(number), config)
    return adapted.eval().requires_grad_(False)


def _mixed(
    peer: Any, base: BaseModel, who: Sequence[int], prompts: Sequence[EncodedPrompt]
) -> Tensor:
    return _answered(peer, base, prompts, adapter_names=[str(one) for one in who])


def _switched(
    peer: Any, base: BaseModel, who: Sequence[int], prompts: Sequence[EncodedPrompt]
) -> Tensor:
    best = torch.empty(len(prompts))
    order = sorted(range(len(prompts)), key=lambda place: who[place])
    for one, group in groupby(order, key=lambda place: who[place]):
        places = list(group)
        peer.set_adapter(str(one))
        best[places] = _answered(peer, base, [prompts[place] for place in places])
    return best


@torch.inference_mode()
def _answered(
    model: Any, base: BaseModel, prompts: Sequence[EncodedPrompt], **others: object
) -> Tensor:
    """The log-probability of the most likely token of each prompt; ten are found."""
    batch = collate(prompts, base)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **others).logits
    at = logits[torch.arange(len(prompts)), batch.mask_positions]
    best: Tensor = at.topk(TOP_K).values[:, 0] - at.logsumexp(1)
    return best


def _check(base: BaseModel, peer: Any, prompts: Sequence[EncodedPrompt]) -> None:
    readings = Engine(base).read([Probe(one.row, None, TopTokens(TOP_K)) for one in prompts])
    ours = torch.tensor([reading.log_probs[0] for reading in readings])
    with peer.disable_adapter():
        theirs = _answered(peer, base, prompts)
    if float((ours - theirs).abs().max()) > _SAME:
        raise RuntimeError("the sides do not run the same model")


def _markdown(result: Result) -> list[str]:
    peers = list(result.cases[0].ratios)
    header = ("batch", "popularity", "masks, rows/s", *(f"{name}; times slower" for name in peers))
    rows = [
        (
            case.rows,
            case.popularity,
            case.rates["masks"].text(0),
            *(f"{case.rates[name].median:.0f}; {case.ratios[name].text(1)}" for name in peers),
        )
        for case in result.cases
    ]
    return [table(header, rows), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
