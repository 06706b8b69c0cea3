"""Masks that others learned, turned into ours."""

from training.importing.errors import LampError
from training.importing.lamp import lamp_mask
from training.importing.names import LampName, parse_lamp_name
from training.importing.packs import LampImport, import_lamp
from training.importing.scores import LampScores, read_lamp_scores

__all__ = [
    "LampError",
    "LampImport",
    "LampName",
    "LampScores",
    "import_lamp",
    "lamp_mask",
    "parse_lamp_name",
    "read_lamp_scores",
]
