"""Bulk completion on several machines, by Ray Data.

`dataset` adds the completions to a dataset by `actor`s that hold a model each; `run` does so from
files to files. ray is imported where it is used: nothing else needs it.
"""

from app.fill.ray_data.cluster import ray_module
from app.fill.ray_data.dataset import complete_dataset
from app.fill.ray_data.run import fill_on_ray

__all__ = ["complete_dataset", "fill_on_ray", "ray_module"]
