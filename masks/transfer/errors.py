"""Errors of packs on their way."""

from masks.errors import MaskError


class TransferError(MaskError):
    """A pack that cannot be fetched or sent; the message names the place and the reason."""


class FileMissingError(TransferError):
    """A place that has no such file, or does not show it to us."""
