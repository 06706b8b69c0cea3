"""What a job is, and what is wrong with it whatever its rows are."""

from collections.abc import Sequence

from app.fill.errors import FillError
from app.fill.options import FillOptions
from app.service import Service


def check_job(
    service: Service, columns: Sequence[str] | None, name: str, options: FillOptions
) -> None:
    """Refuse what is wrong for every row before the first one is asked.

    Args:
        columns: that every row has; None where each row has its own.
        name: what the rows are called in an error.

    Raises:
        FillError: a column is missing.
        AppError, UnknownRelationError: the options are wrong whatever the rows are.
    """
    needed = [options.subject_column] if options.template is None else []
    if options.relation is None:
        needed.append(options.relation_column)
    if columns is not None:
        for column in needed:
            if column not in columns:
                raise FillError(
                    f"{name} has no column {column!r}, but {', '.join(columns)}; "
                    "say which holds subject and relation, or give one relation for all rows"
                )
    if options.relation is not None:
        body = {"subject": "something", **options.common()}
        service.features.completion.prepare(body, service.catalogue)


def model_identity(service: Service) -> dict[str, object]:
    """The base and the masks, by their digests."""
    served = service.catalogue.served
    return {
        "base": service.engine.base.digest,
        "masks": {name: served[name].mask.digest for name in sorted(served)},
    }


def identity(service: Service, options: FillOptions) -> dict[str, object]:
    """All that the answers depend on, beside the rows."""
    return {
        **model_identity(service),
        "dtype": str(service.engine.base.products),
        "columns": [options.subject_column, options.relation_column],
        **options.common(),
    }
