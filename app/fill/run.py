"""The job: reads, asks, writes, and keeps how far it has come."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.fill.asking import WINDOW_ROWS, Asker
from app.fill.checking import check_job, identity
from app.fill.errors import FillError
from app.fill.options import FillOptions
from app.fill.reading import Reader, open_reader
from app.fill.state import Done, forget, job_digest, load_done, save_done
from app.fill.writing import beside, open_writer
from app.service import Service


@dataclass(frozen=True)
class FillProgress:
    """Where a job stands: rows written, those with an error among them, the input's share read."""

    rows: int
    refused: int
    share: float


@dataclass(frozen=True)
class Filled:
    """A job that is done: its rows, those with an error, and those that an earlier run had done."""

    rows: int
    refused: int
    resumed: int


@dataclass(frozen=True, eq=False)
class _Job:
    service: Service
    output: Path
    options: FillOptions
    digest: str
    report: Callable[[FillProgress], None]


def fill(
    service: Service,
    source: Path,
    output: Path,
    options: FillOptions,
    *,
    restart: bool = False,
    report: Callable[[FillProgress], None] = lambda _: None,
) -> Filled:
    """Complete every row of a file; a run that is broken off goes on where it was kept last.

    Rows come out in their order. A row that cannot be asked has an error and no completions.

    Raises:
        FillError: a file cannot be used, or what was begun is another job.
        AppError, UnknownRelationError: the options are wrong whatever the rows are.
    """
    if output.exists():
        raise FillError(f"{str(output)!r} is there already; delete it, or name another output")
    if not output.parent.is_dir():
        raise FillError(f"there is no folder {str(output.parent)!r} to write to")
    reader = open_reader(source)
    try:
        check_job(service, reader.columns, source.name, options)
        digest = job_digest(source, identity(service, options))
        if restart:
            forget(output)
        done = load_done(output, digest)
        if not beside(output).exists():
            done = Done()
        return _complete(_Job(service, output, options, digest, report), reader, done)
    finally:
        reader.close()


def _complete(job: _Job, reader: Reader, done: Done) -> Filled:
    begun = done
    rows = islice(iter(reader), begun.rows, None)
    writer = open_writer(job.output, reader, job.options.top_k, begun.place)
    asker = Asker(job.service, job.options)
    try:
        for answered in asker.answer(rows, WINDOW_ROWS):
            writer.write(answered)
            done = Done(
                rows=done.rows + len(answered),
                refused=done.refused + sum(error is not None for _, _, error in answered),
                place=writer.keep(),
            )
            save_done(job.output, job.digest, done)
            job.report(FillProgress(done.rows, done.refused, reader.share))
        writer.finish()
        forget(job.output)
    finally:
        asker.close()
        writer.close()
    return Filled(done.rows, done.refused, begun.rows)
