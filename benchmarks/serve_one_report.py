"""What `serve_one` found, as JSON and as Markdown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.memory import MIB, Memory
from benchmarks.peer import PeerAlone
from benchmarks.samples import Samples, Spread
from benchmarks.tables import provenance_line


@dataclass(frozen=True)
class CaseResult:
    """Latencies of a case, and those of the peer on the same prompts (None: it is the peer)."""

    name: str
    samples: Samples
    peer: Samples | None


@dataclass(frozen=True)
class Footprint:
    """Start and memory of our server.

    Attributes:
        seconds_to_ready: of each start; the last is the server that was measured.
        at_ready: when it was ready, its first mask used.
        masks_used: when every mask was used.
        at_end: after the latencies were measured.
    """

    seconds_to_ready: Sequence[float]
    at_ready: Memory
    masks_used: Memory
    at_end: Memory


@dataclass(frozen=True)
class MaskSizes:
    """What is on disk: of `masks` files over `weights` weights in all, and of the whole pack."""

    masks: int
    weights: int
    mask_bytes: int
    pack_bytes: int

    @property
    def overhead(self) -> float:
        """What the mask files take beyond one bit a weight, as a share of those bits."""
        return self.mask_bytes / (self.weights / 8) - 1


@dataclass(frozen=True)
class Result:
    """A whole run; `origin` says where it comes from."""

    cases: Sequence[CaseResult]
    footprint: Footprint
    peers: Sequence[PeerAlone]
    sizes: MaskSizes
    origin: Mapping[str, str]

    def to_json(self) -> str:
        """Everything measured, each latency included."""
        content = {
            "benchmark": "serve_one",
            "provenance": dict(self.origin),
            "latency_ms": [
                {
                    "case": case.name,
                    "blocks": case.samples.blocks,
                    "median": asdict(case.samples.median),
                    "p95": case.samples.percentile(95),
                    "ratio": None if case.peer is None else asdict(_ratio(case, case.peer)),
                }
                for case in self.cases
            ],
            "server": asdict(self.footprint),
            "pipeline_alone": [asdict(peer) for peer in self.peers],
            "masks": asdict(self.sizes) | {"overhead": self.sizes.overhead},
        }
        return json.dumps(content, indent=1) + "\n"

    def markdown(self) -> str:
        """The tables and their origin."""
        return "\n\n".join(
            (
                "### Latency of one query, end to end\n\n" + self._latency(),
                "In brackets: the least and the largest block. The ratio is taken block by block, "
                "ours over the pipeline's on the same prompts; below 1 ours is faster.",
                "### Start and memory\n\n" + self._footprint(),
                "### Masks on disk\n\n" + self._sizes(),
                provenance_line(self.origin),
            )
        )

    def _latency(self) -> str:
        return _table(
            ("case", "calls", "median, ms", "p95, ms", "ratio"),
            (
                (
                    case.name,
                    f"{case.samples.count:,}",
                    case.samples.median.text(),
                    f"{case.samples.percentile(95):.2f}",
                    "" if case.peer is None else _ratio(case, case.peer).text(),
                )
                for case in self.cases
            ),
        )

    def _footprint(self) -> str:
        ours, peers = self.footprint, self.peers
        start = Spread.of([peer.seconds_to_answer for peer in peers])
        memory = peers[-1].memory
        return _table(
            ("what", "`relata serve`", "a process with the pipeline alone"),
            (
                (
                    "process start to `/ready` or to the first answer, s",
                    Spread.of(ours.seconds_to_ready).text(),
                    start.text(),
                ),
                ("memory then", ours.at_ready.text(), memory.text()),
                (f"after all {self.sizes.masks} masks were used", ours.masks_used.text(), ""),
                ("after all calls above", ours.at_end.text(), ""),
            ),
        )

    def _sizes(self) -> str:
        sizes = self.sizes
        return _table(
            ("masks", "weights", "at 1 bit a weight", "mask files", "overhead", "whole pack"),
            [
                (
                    str(sizes.masks),
                    f"{sizes.weights:,}",
                    f"{sizes.weights / 8 / MIB:.2f} MiB",
                    f"{sizes.mask_bytes / MIB:.2f} MiB",
                    f"{sizes.overhead:.2%}",
                    f"{sizes.pack_bytes / MIB:.2f} MiB",
                )
            ],
        )


def _ratio(case: CaseResult, peer: Samples) -> Spread:
    return case.samples.ratio_to(peer)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
