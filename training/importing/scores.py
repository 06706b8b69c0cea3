"""Reads the scores out of a file of `torch.save`, without running anything that is in it."""

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.importing.errors import LampError

_FOREIGN_OBJECT = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True, eq=False)
class LampScores:
    """The content of one file.

    Attributes:
        matrices: (out, in) floating-point tensors in the order of the file.
        digest: `sha256:` and 64 hexadecimal digits, over the file.
    """

    matrices: tuple[Tensor, ...]
    digest: str


def read_lamp_scores(path: Path) -> LampScores:
    """Read a list of score matrices that `torch.save` wrote.

    Taken are a list or tuple of tensors or parameters, and a mapping from 0, 1, 2 ... to them, as
    the state of a `ParameterList` is. Nothing else is unpickled, so a file cannot run code.

    Raises:
        LampError: no such file, not of `torch.save`, it needs other objects than tensors, or
            something in it is no matrix of real numbers.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):
                content: object = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LampError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        # A damaged pickle ends in nearly any exception; to the caller they mean the same.
        raise LampError(f"{path}: {_why_refused(error)}") from error
    items = _in_order(content, path)
    return LampScores(
        tuple(_matrix(item, f"{path}: item {index}") for index, item in enumerate(items)),
        f"sha256:{digest}",
    )


def _why_refused(error: Exception) -> str:
    if found := _FOREIGN_OBJECT.search(str(error)):
        return (
            f"refused, as unpickling it would run {found[1]:.120}; only tensors and parameters in "
            "a list are read. If you trust its source, save list(parameters) anew with torch.save"
        )
    reason = (str(error).splitlines() or [""])[0][:160] or type(error).__name__
    if "weights" in reason.casefold():  # torch's advice to load it unsafely
        reason = "it holds more than tensors, or is damaged"
    return f"is no file that torch.save wrote ({reason})"


def _in_order(content: object, path: Path) -> Sequence[object]:
    if isinstance(content, list | tuple):
        items: Sequence[object] = content
    elif isinstance(content, Mapping):
        by_place = {str(key): item for key, item in content.items()}
        places = [str(place) for place in range(len(content))]
        if by_place.keys() != set(places):
            stray = next((key for key in by_place if key not in places), "a key that comes twice")
            raise LampError(
                f"{path}: its matrices are named {stray!r:.80} and the like; a mapping is taken "
                "only if it is numbered 0, 1, 2 ..., as LAMP's order of matrices has no names"
            )
        items = [by_place[place] for place in places]
    else:
        raise LampError(
            f"{path}: holds {_kind(content)}, but LAMP's files hold a list of score matrices"
        )
    if not items:
        raise LampError(f"{path}: holds no score matrix")
    return items


def _matrix(item: object, where: str) -> Tensor:
    if not isinstance(item, Tensor):
        raise LampError(f"{where} is {_kind(item)}, not a matrix of scores")
    if item.layout is not torch.strided or item.device.type != "cpu":
        raise LampError(
            f"{where} is a {item.layout} tensor on {item.device}; scores are dense matrices that "
            "the file holds itself"
        )
    if not item.dtype.is_floating_point:
        raise LampError(f"{where} has type {item.dtype}; scores are floating-point numbers")
    if item.dim() != 2:
        raise LampError(f"{where} has shape {tuple(item.shape)}; scores of a matrix have two sides")
    return item.detach()


def _kind(item: object) -> str:
    if isinstance(item, Tensor):
        return "one tensor"
    name = type(item).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
