"""Bulk completion: every row of a file gets its completions, in order, resumable, in constant
memory.

Rows walk from a reader through `asking` to a writer; `run` is the whole job.
"""

from app.fill.errors import FillError
from app.fill.options import FillOptions
from app.fill.run import Filled, FillProgress, fill

__all__ = ["FillError", "FillOptions", "FillProgress", "Filled", "fill"]
