"""What a row gets beside its own fields, where they are named: `completions` and `error`."""

from collections.abc import Collection, Sequence
from typing import Any

from app.fill.errors import FillError
from app.schemas.completion import CompletionResponse

COMPLETIONS, ERROR = "completions", "error"


def found_fields(completions: Sequence[CompletionResponse], error: str | None) -> dict[str, object]:
    """The two fields of a row: of a completion what does not follow from the row."""
    return {COMPLETIONS: [_short(one) for one in completions], ERROR: error}


def found_schema() -> Any:
    """The two fields as pyarrow has them, which must be installed."""
    import pyarrow as arrow  # noqa: PLC0415 - an optional dependency

    numbers = {name: arrow.float64() for name in ("score", "log_prob", "probability")}
    completion = arrow.struct({"object": arrow.string(), **numbers})
    return arrow.schema({COMPLETIONS: arrow.list_(completion), ERROR: arrow.string()})


def check_free(fields: Collection[str], names: Sequence[str] = (COMPLETIONS, ERROR)) -> None:
    """Refuse rows that have what the output would add.

    Raises:
        FillError: one of `names` is among the rows' own fields.
    """
    for name in names:
        if name in fields:
            raise FillError(
                f"the rows have a field {name!r} of their own, which the output has for what is "
                "found; rename it"
            )


def _short(completion: CompletionResponse) -> dict[str, object]:
    kept = ("object", "score", "log_prob", "probability")
    return {name: completion[name] for name in kept}  # type: ignore[literal-required]
