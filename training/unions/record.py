"""What was measured, kept in a file union by union, so that a search can be broken off."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from training.data import DataError
from training.unions.search import Union

FORMAT = "relata-union-results/1"
RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Settings:
    """All that a question's choice under a union depends on.

    Attributes:
        questions: digest of the questions, with the scoring of each.
        base: digest of the base.
        scoring: of questions that name none; `default` is that of the service.
        normalize: likewise.
        masks: digest of each relation's mask in the pack.
    """

    questions: str
    base: str
    scoring: str
    normalize: str
    masks: Mapping[str, str]


class Record:
    """The choices taken under each union so far; a line is added for each new one.

    A line that was not written to its end, as when the machine went down, is dropped. Two searches
    in one folder do no harm but doing the same work.
    """

    def __init__(self, folder: Path, settings: Settings, answers: Sequence[int]) -> None:
        """Go on where the folder's file ends, or begin it.

        Raises:
            DataError: the file is of other settings, or is no such file; the text says what
                differs.
            OSError: the folder cannot be written.
        """
        self.path = folder / RESULTS
        self._answers = np.array(answers, np.int64)
        self._settings = settings
        self._found: dict[Union, NDArray[np.bool_]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()
        if not self.path.exists() or not self.path.stat().st_size:
            header = {"format": FORMAT, "settings": asdict(settings)}
            self.path.write_text(_line(header), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, union: Union) -> bool:
        return union in self._found

    def __len__(self) -> int:
        return len(self._found)

    @property
    def found(self) -> Mapping[Union, NDArray[np.bool_]]:
        """Whether each question was answered rightly, bool (Q,), by union."""
        return self._found

    def add(self, union: Union, best: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Keep the choices (Q,) taken under a union; returns which of them are right."""
        self._file.write(_line({"relations": list(union), "best": best.tolist()}))
        self._file.flush()
        self._found[union] = best == self._answers
        return self._found[union]

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        lines = whole.decode("utf-8", errors="replace").splitlines()
        if not lines:
            return
        header = self._parsed(1, lines[0])
        if header.get("format") != FORMAT or not isinstance(header.get("settings"), dict):
            raise DataError(
                f"{self.path} holds no results of `relata unions`; give another --out, or move it"
            )
        self._check(header["settings"])
        for number, text in enumerate(lines[1:], start=2):
            record = self._parsed(number, text)
            relations, best = record.get("relations"), record.get("best")
            if not _names(relations) or not _choices(best, len(self._answers)):
                raise self._bad(number)
            self._found.setdefault(tuple(relations), np.array(best, np.int64) == self._answers)

    def _check(self, was: Mapping[str, Any]) -> None:
        now = asdict(self._settings)
        differ = [
            f"{name} {_differs(was.get(name), now[name])}"
            for name in now
            if was.get(name) != now[name]
        ]
        if differ:
            raise DataError(
                f"{self.path} holds results of other settings: {'; '.join(differ)}. Go on with "
                f"those settings, or give another --out"
            )

    def _parsed(self, number: int, text: str) -> dict[str, Any]:
        try:
            record = json.loads(text)
        except ValueError:
            raise self._bad(number) from None
        if not isinstance(record, dict):
            raise self._bad(number)
        return record

    def _bad(self, number: int) -> DataError:
        return DataError(
            f"line {number} of {self.path} is not what was written there; remove that line, and "
            f"its union is tried again, or give another --out"
        )


def _differs(was: object, now: object) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        return f"of {', '.join(names)}"
    return f"was {was!r:.80} and is {now!r:.80}"


def _names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _choices(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    )


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
