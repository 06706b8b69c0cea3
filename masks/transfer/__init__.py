"""Mask packs on their way: fetched from and sent to folders, URLs and the Hugging Face Hub.

What is fetched is checked as `MaskPack.verify` checks, and takes its place at once or not at all.
The libraries that reach over the network are imported when a place needs them, and not before.
"""

from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.offer import Offer
from masks.transfer.places import parse_place
from masks.transfer.push import push_pack
from masks.transfer.remote import Delivery, Remote

__all__ = [
    "Delivery",
    "FileMissingError",
    "Offer",
    "Remote",
    "TransferError",
    "parse_place",
    "push_pack",
]
