"""The study as one HTML page that needs nothing beside itself, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from masks.files import write_atomically
from training.evaluation import Provenance
from training.study.section import Section
from training.study.studied import PackOrigin

FORMAT = "relata-study/1"
PAGE = "study.html"
RECORD = "study.json"


@dataclass(frozen=True)
class Report:
    """All that is written.

    Attributes:
        provenance: of the study.
        packs: that were studied, the main one first.
        studies: the numbers of each sub-study, a dataclass by name.
        sections: the page's parts, in order.
        left_out: sub-studies that had nothing to work on, each with its reason.
    """

    provenance: Provenance
    packs: tuple[PackOrigin, ...]
    studies: Mapping[str, Any]
    sections: Sequence[Section]
    left_out: Mapping[str, str]


def write_study(report: Report, out: Path) -> None:
    """Write study.html and study.json, each whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    # Both texts before the first file: a fault in one leaves the old pair as it was.
    page, record = page_of(report), json_of(report)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / RECORD, record.encode())
    write_atomically(out / PAGE, page.encode())


def page_of(report: Report) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(
        title=f"A study of the masks of {report.packs[0].name}",
        sections=report.sections,
        left_out=report.left_out,
        origin=_origin(report),
    )


def json_of(report: Report) -> str:
    """The numbers as JSON text."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "provenance": report.provenance.to_record(),
        "packs": [asdict(pack) for pack in report.packs],
        "studies": {name: asdict(study) for name, study in report.studies.items()},
        "left_out": dict(report.left_out),
    }
    return json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _origin(report: Report) -> list[tuple[str, str]]:
    rows = []
    for pack in report.packs:
        seeds = ", ".join(map(str, pack.seeds))
        rows.append(("pack", f"{pack.name} ({len(pack.masks)} masks, learned with seed {seeds})"))
        rows += [(f"learned from, {pack.name}", digest) for digest in pack.data]
    return [*report.provenance.rows(), *rows]
