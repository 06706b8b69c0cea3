"""Mask files: one relation's mask as one safetensors file (docs/mask-format.md).

Equal masks give equal bytes. Reading checks everything and never unpickles.
"""

from pathlib import Path

from masks.container import Container, read_container, write_container
from masks.errors import MaskFileError, MaskValueError
from masks.files import read_whole, write_atomically
from masks.header import decode_header, encode_header
from masks.mask import RelationMask


def dump_mask(mask: RelationMask) -> bytes:
    """The whole mask file as bytes."""
    return write_container(Container(encode_header(mask), mask.packed))


def save_mask(mask: RelationMask, path: str | Path) -> None:
    """Write the mask file, whole or not at all: a reader never sees half of it.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(Path(path), dump_mask(mask))


def load_mask(path: str | Path) -> RelationMask:
    """Read and check a mask file.

    Raises:
        MaskFileError: the file cannot be read or is refused; the message names it and says why.
    """
    return parse_mask(read_whole(Path(path)), str(path))


def parse_mask(data: bytes, source: str) -> RelationMask:
    """Read and check the bytes of a mask file; `source` names them in errors.

    Raises:
        MaskFileError: the bytes are refused; the message says why.
    """
    try:
        container = read_container(data)
        header = decode_header(container.metadata)
        mask = RelationMask(header.metadata, container.tensors)
        for what, found, said in (
            ("digest", mask.digest, header.digest),
            ("sparsity", mask.sparsity, header.sparsity),
        ):
            if found != said:
                raise MaskValueError(f"the bits have {what} {found}, but metadata say {said}")
    except MaskValueError as error:
        raise MaskFileError(source, str(error)) from error
    return mask
