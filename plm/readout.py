"""Turns the states at the slots into what the probes want, a chunk of slots at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plm.base import BaseModel
from plm.native import readout_kernel
from plm.probe import Probe, Reading, TokenScores, TopTokens

# Logits of a chunk stay in a processor's cache between the steps over them, and those of a long
# text never lie in memory all at once.
SLOTS_A_CHUNK = 64


@dataclass(frozen=True)
class _Span:
    """A probe and the slots of the pass, from `start` to `stop`, that are its own."""

    probe: Probe
    start: int
    stop: int


def read_slots(
    base: BaseModel, words: Tensor, states: Tensor, probes: Sequence[Probe]
) -> list[Reading]:
    """Readings of probes whose slots' states (S, H) lie end to end.

    `words` is bool (V,), the tokens that `TopTokens.words` admits.
    """
    rows = base.head.transform(states)
    readings: list[Reading] = []
    for spans in _chunks(probes):
        readings.extend(_read_chunk(base, words, rows[spans[0].start : spans[-1].stop], spans))
    return readings


def log_norms(logits: Tensor) -> Tensor:
    """What makes log-probabilities of logits (N, V), to be subtracted from each row -> (N,)."""
    if (native := readout_kernel()) is not None and native.takes(logits):
        return native.log_sum_exp(logits)
    return logits.logsumexp(dim=1)


def top_tokens(scores: Tensor, count: int, admitted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of (B, V) and their indices, both (B, count).

    Where bool (V,) `admitted` is false, scores count as -inf (and may be made it). Ties are ordered
    by index, and a tie across the cut keeps the lower indices, which `torch.topk` alone does not
    promise. (Which of many -inf come last is left open.)
    """
    if (native := readout_kernel()) is not None and native.takes(scores, count):
        return native.largest(scores, count, admitted)
    if admitted is not None:
        scores.masked_fill_(~admitted, float("-inf"))
    values, ids = scores.topk(min(count + 1, scores.shape[1]))
    last, next_one = values[:, count - 1], values[:, -1]
    if values.shape[1] > count and bool(((last == next_one) & last.isfinite()).any()):
        # Only where a tie crosses the cut do all scores have to be looked at again.
        widest = int((scores >= last[:, None]).sum(dim=1)[last.isfinite()].max())
        values, ids = scores.topk(widest)
    else:
        values, ids = values[:, :count], ids[:, :count]
    ids, order = ids.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :count], ids.gather(1, order)[:, :count]


def _chunks(probes: Sequence[Probe]) -> Iterator[list[_Span]]:
    chunk: list[_Span] = []
    start = 0
    for probe in probes:
        stop = start + len(probe.row.slots)
        if chunk and stop - chunk[0].start > SLOTS_A_CHUNK:
            yield chunk
            chunk = []
        chunk.append(_Span(probe, start, stop))
        start = stop
    yield chunk


def _read_chunk(
    base: BaseModel, words: Tensor, rows: Tensor, spans: Sequence[_Span]
) -> list[Reading]:
    first = spans[0].start
    whole: list[int] = []
    readings: dict[int, Reading] = {}
    for index, span in enumerate(spans):
        wanted = span.probe.wanted
        if isinstance(wanted, TopTokens) and wanted.among_targets:
            readings[index] = _among_targets(base, rows[span.start - first], wanted)
        else:
            whole.append(index)
    if whole:
        needed = [slot - first for i in whole for slot in range(spans[i].start, spans[i].stop)]
        if len(needed) < len(rows):
            rows = rows[torch.tensor(needed, device=rows.device)]
        logits = base.head.logits(rows).float()
        norms = log_norms(logits)
        readings |= _from_logits(base, words, logits, norms, [(i, spans[i].probe) for i in whole])
    return [readings[index] for index in range(len(spans))]


def _from_logits(
    base: BaseModel,
    words: Tensor,
    logits: Tensor,
    norms: Tensor,
    probes: Sequence[tuple[int, Probe]],
) -> dict[int, Reading]:
    readings: dict[int, Reading] = {}
    ranked: list[tuple[int, int, TopTokens]] = []
    row = 0
    for index, probe in probes:
        stop = row + len(probe.row.slots)
        wanted = probe.wanted
        if isinstance(wanted, TokenScores):
            tokens = torch.from_numpy(wanted.tokens.astype(np.int64)).to(logits.device)
            scores = logits[row:stop].gather(1, tokens) - norms[row:stop, None]
            readings[index] = Reading(scores.cpu().numpy(), None)
        elif wanted.targets is not None:
            targets = torch.tensor(wanted.targets, device=logits.device)
            readings[index] = _ranked(logits[row, targets] - norms[row], targets, wanted.count)
        else:
            ranked.append((index, row, wanted))
        row = stop
    if ranked:
        readings |= _rank(base, words, logits, norms, ranked)
    return readings


def _rank(
    base: BaseModel,
    words: Tensor,
    logits: Tensor,
    norms: Tensor,
    ranked: Sequence[tuple[int, int, TopTokens]],
) -> dict[int, Reading]:
    """The most likely tokens of (index, row of the logits, wanted)."""
    rows = torch.tensor([row for _, row, _ in ranked], device=logits.device)
    scores = logits if len(ranked) == len(logits) else logits[rows]
    norms = norms[rows]
    # A vocabulary padded to a round size has rows that no token belongs to.
    scores[:, len(base.tokenizer) :] = float("-inf")
    admitted = words if all(wanted.words for _, _, wanted in ranked) else None
    if admitted is None:
        for place, (_, _, wanted) in enumerate(ranked):
            if wanted.words:
                scores[place].masked_fill_(~words, float("-inf"))
    for place, (_, _, wanted) in enumerate(ranked):
        if wanted.excluded:
            scores[place, list(wanted.excluded)] = float("-inf")
    most = min(max(wanted.count for _, _, wanted in ranked), scores.shape[1])
    values, ids = top_tokens(scores, most, admitted)
    log_probs = (values - norms[:, None]).cpu().numpy()
    token_ids = ids.to(torch.int32).cpu().numpy()
    eligible = np.isfinite(log_probs)
    readings = {}
    for place, (index, _, wanted) in enumerate(ranked):
        count = min(wanted.count, int(eligible[place].sum()))
        readings[index] = Reading(log_probs[place, :count].copy(), token_ids[place, :count].copy())
    return readings


def _among_targets(base: BaseModel, row: Tensor, wanted: TopTokens) -> Reading:
    targets = torch.tensor(wanted.targets, device=row.device)
    logits = base.head.logits(row[None], targets).float()
    return _ranked(logits.log_softmax(dim=1)[0], targets, wanted.count)


def _ranked(log_probs: Tensor, targets: Tensor, count: int) -> Reading:
    targets, order = targets.sort()
    log_probs, order = log_probs[order].sort(descending=True, stable=True)
    return Reading(
        log_probs[:count].cpu().numpy(), targets[order][:count].to(torch.int32).cpu().numpy()
    )
