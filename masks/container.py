"""The safetensors container: 8 bytes of header length, a JSON header, the tensors' bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masks.canonical_json import decode_json
from masks.errors import MaskValueError
from masks.rules import check_integer, check_sequence

_METADATA = "__metadata__"
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Container:
    """What a mask file holds: string metadata, and read-only uint8 tensors by name."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class _Entry:
    name: str
    rows: int
    row_bytes: int
    begin: int
    end: int


def write_container(container: Container) -> bytes:
    """The safetensors file, the same bytes each time: keys are sorted, tensors lie by name.

    The safetensors library puts metadata in random order; written so, equal masks would be
    unequal files, and the hash of a file would say nothing.
    """
    entries: dict[str, object] = {_METADATA: dict(sorted(container.metadata.items()))}
    offset = 0
    for name, tensor in sorted(container.tensors.items()):
        end = offset + tensor.nbytes
        entries[name] = {"dtype": "U8", "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    tensors = (tensor.tobytes() for _, tensor in sorted(container.tensors.items()))
    return b"".join((len(header).to_bytes(_LENGTH_BYTES, "little"), header, *tensors))


def read_container(data: bytes) -> Container:
    """Read a safetensors file of uint8 matrices with string metadata.

    As strict as the safetensors library (tensors without gap or overlap, up to the last byte),
    and stricter: no key twice, no other type. The tensors are views of `data`.

    Raises:
        MaskValueError: not such a file, truncated, or with bytes after the last tensor.
    """
    start, header = _read_header(data)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MaskValueError("its metadata must map strings to strings")
    entries = sorted((_read_entry(name, entry) for name, entry in header.items()), key=_by_place)
    tensors: dict[str, NDArray[np.uint8]] = {}
    offset = 0
    for entry in entries:
        if entry.begin != offset or entry.end - entry.begin != entry.rows * entry.row_bytes:
            raise MaskValueError(
                f"the data_offsets of {entry.name} do not fit its shape and its neighbours"
            )
        offset = entry.end
    present = len(data) - start
    if present < offset:
        raise MaskValueError(
            f"it is truncated: {present} of the {offset} bytes of its tensors are there"
        )
    if present > offset:
        raise MaskValueError(f"it has {present - offset} bytes too many after its last tensor")
    for entry in entries:
        size = entry.rows * entry.row_bytes
        flat = np.frombuffer(data, np.uint8, count=size, offset=start + entry.begin)
        tensors[entry.name] = flat.reshape(entry.rows, entry.row_bytes)
    return Container(metadata, tensors)


def declared_size(start: bytes | bytearray) -> int | None:
    """Bytes of the whole file as its header has it; None where `start` ends before the header.

    Raises:
        MaskValueError: the header is that of no such file.
    """
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if len(start) < _LENGTH_BYTES or len(start) < _LENGTH_BYTES + length:
        return None
    begin, header = _read_header(start)
    ends = (_read_entry(name, entry).end for name, entry in header.items() if name != _METADATA)
    return begin + max(ends, default=0)


def _read_header(data: bytes | bytearray) -> tuple[int, dict[str, object]]:
    """Where the tensors start, and the JSON header."""
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or len(data) < start:
        raise MaskValueError(
            f"it is truncated or not a safetensors file: it has {len(data)} bytes, but its "
            f"header alone takes {start}"
        )
    text = bytes(data[_LENGTH_BYTES:start])
    if not text.startswith(b"{"):
        raise MaskValueError("it is not a safetensors file: its header is no JSON object")
    try:
        header = decode_json(text)
    except ValueError as error:
        raise MaskValueError(
            f"it is not a safetensors file: its header is not valid JSON ({error})"
        ) from error
    assert isinstance(header, dict), "JSON that starts with a brace is an object"
    return start, header


def _read_entry(name: str, entry: object) -> _Entry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MaskValueError(
            f"it is not a safetensors file: {name!r:.160} needs dtype, shape and data_offsets"
        )
    if entry["dtype"] != "U8":
        raise MaskValueError(f"tensor {name} must have dtype U8, not {entry['dtype']!r:.40}")
    rows, row_bytes = _read_pair(f"the shape of tensor {name}", entry["shape"], minimum=1)
    begin, end = _read_pair(f"the data_offsets of tensor {name}", entry["data_offsets"], minimum=0)
    return _Entry(name, rows, row_bytes, begin, end)


def _read_pair(what: str, value: object, minimum: int) -> tuple[int, int]:
    pair = check_sequence(what, value)
    if len(pair) != 2:
        raise MaskValueError(f"{what} must be two numbers, not {value!r:.80}")
    return check_integer(what, pair[0], minimum), check_integer(what, pair[1], minimum)


def _by_place(entry: _Entry) -> tuple[int, int]:
    return entry.begin, entry.end
