"""Masks to test with; fixtures of session scope, as hypothesis asks for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from masks import RelationMask

# A busy machine is slow, not wrong.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

BASE = "sha256:" + "ab" * 32
DATA = "sha256:" + "cd" * 32
# Columns that are no multiple of 8, one less than a byte, and exactly two bytes.
SHAPES = {
    "bert.encoder.layer.3.attention.self.query.weight": (3, 11),
    "bert.encoder.layer.3.output.dense.weight": (2, 7),
    "bert.encoder.layer.4.intermediate.dense.weight": (4, 16),
}

Keep = Mapping[str, NDArray[np.bool_]]
MakeMask = Callable[..., RelationMask]


def _random_keep(seed: int, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> Keep:
    generator = np.random.default_rng(seed)
    return {name: generator.random(shape) < 0.5 for name, shape in shapes.items()}


def _make_mask(relation: str = "IsA", keep: Keep | None = None, **fields: Any) -> RelationMask:
    values: dict[str, Any] = {
        "base_model": "relata/tiny",
        "base_digest": BASE,
        "architecture": "bert",
        "layers": (4, 5),
        "method": "deterministic",
        "threshold": 0.5,
        "templates": ("[X] is a [Y].", "[X] est une sorte de « [Y] »."),
        "data_name": "conceptnet",
        "data_digest": DATA,
        "seed": 0,
        "validation": {"mrr": 0.5, "p_at_1": 0.25},
        "tool_version": "0.1.0",
        "settings": {"lr": 3e-4, "epochs": 6, "note": "", "warm": True, "stop": None},
        "facts": {"train": 70, "validation": 20, "test": 10},
    }
    return RelationMask.from_keep(
        _random_keep(0) if keep is None else keep, relation=relation, **(values | fields)
    )


@pytest.fixture(scope="session")
def random_keep() -> Callable[..., Keep]:
    """Boolean matrices from a seed."""
    return _random_keep


@pytest.fixture(scope="session")
def make_mask() -> MakeMask:
    """A small mask; keyword arguments replace its metadata."""
    return _make_mask
