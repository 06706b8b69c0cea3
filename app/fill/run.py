"""The job: reads, asks, writes, and keeps how far it has come."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.features.specialise import relations_of
from app.fill.answers import Answered
from app.fill.asking import Asker
from app.fill.errors import FillError
from app.fill.reading import Reader, Record, open_reader
from app.fill.state import Done, forget, job_digest, load_done, save_done
from app.fill.writing import beside, open_writer
from app.service import Service

# Rows that are sorted by mask together, and are lost at most when a run is broken off (and as many
# that are on their way).
WINDOW_ROWS = 2048


@dataclass(frozen=True)
class FillOptions:
    """What is asked of every row; the fields of a body of `/complete`, and where rows have them.

    Attributes:
        subject_column: field with the subject.
        relation_column: field with the relation, or with several that commas separate.
        relation: of all rows; then rows need no field for it.
        combine: how several relations' masks become one.
        top_k: completions of each row.
        template: a sentence with [X] and [Y]; None is the relation's own.
        masked: False asks the unmasked model.
        targets: words that are ranked; None for all.
        likely: only completions that are likely true.
    """

    subject_column: str = "subject"
    relation_column: str = "relation"
    relation: str | None = None
    combine: str | None = None
    top_k: int = 1
    template: str | None = None
    masked: bool = True
    targets: tuple[str, ...] | None = None
    likely: bool = False

    def common(self) -> dict[str, object]:
        """What is the same in the questions of all rows."""
        same: dict[str, object] = {
            "combine": self.combine,
            "top_k": self.top_k,
            "template": self.template,
            "masked": self.masked,
            "targets": None if self.targets is None else list(self.targets),
            "likely": self.likely,
        }
        if self.relation is not None:
            same["relation"] = relations_of(self.relation)
        return same


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
        _check(service, reader, source, options)
        digest = job_digest(source, _identity(service, options))
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
    options = job.options
    writer = open_writer(job.output, reader, options.top_k, begun.place)
    asker = Asker(
        job.service,
        subject=options.subject_column,
        relation=None if options.relation is not None else options.relation_column,
        common=options.common(),
    )
    try:
        for answered in _answered(asker, rows):
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


def _answered(asker: Asker, rows: Iterator[Record]) -> Iterator[list[Answered]]:
    """The rows with their answers, a window at a time.

    A window is prepared while the model works on the one before.
    """
    before = None
    while records := list(islice(rows, WINDOW_ROWS)):
        window = asker.begin(records)
        if before is not None:
            yield asker.end(before)
        before = window
    if before is not None:
        yield asker.end(before)


def _check(service: Service, reader: Reader, source: Path, options: FillOptions) -> None:
    """Refuse what is wrong for every row before the first one is asked."""
    needed = [options.subject_column] if options.template is None else []
    if options.relation is None:
        needed.append(options.relation_column)
    if reader.columns is not None:
        for name in needed:
            if name not in reader.columns:
                raise FillError(
                    f"{source.name} has no column {name!r}, but {', '.join(reader.columns)}; "
                    "say which holds subject and relation, or give one relation for all rows"
                )
    if options.relation is not None:
        body = {"subject": "something", **options.common()}
        service.features.completion.prepare(body, service.catalogue)


def _identity(service: Service, options: FillOptions) -> dict[str, object]:
    """All that the answers depend on, beside the rows."""
    served = service.catalogue.served
    return {
        "base": service.engine.base.digest,
        "dtype": str(service.engine.base.dtype),
        "masks": {name: served[name].mask.digest for name in sorted(served)},
        "columns": [options.subject_column, options.relation_column],
        **options.common(),
    }
