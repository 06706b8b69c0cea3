"""Facts to learn from: reading them, keeping the usable ones, splitting them, wording them.

Every line of a file becomes a `Triple` or is accounted for; a `Split` shares no fact between
its parts.
"""

from training.data.errors import DataError
from training.data.readers import Format, TripleFile, read_triples
from training.data.rows import BadLine
from training.data.splits import Split, load_split, save_split, split_by_fact
from training.data.templates import RelationTemplates, load_templates, select_templates
from training.data.triples import Triple
from training.data.usable import Rejected, Usable, keep_sayable

__all__ = [
    "BadLine",
    "DataError",
    "Format",
    "Rejected",
    "RelationTemplates",
    "Split",
    "Triple",
    "TripleFile",
    "Usable",
    "keep_sayable",
    "load_split",
    "load_templates",
    "read_triples",
    "save_split",
    "select_templates",
    "split_by_fact",
]
