"""Masks to test with; fixtures of session scope, as hypothesis asks for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from masks import Calibration, RelationMask

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

CALIBRATION: dict[str, Any] = {
    "slope": 1.25,
    "intercept": 0.5,
    "threshold": 0.125,
    "subjects": 12,
    "candidates": 240,
    "facts": 31,
    "precision": 0.5,
    "recall": 0.25,
    "f1": 1 / 3,
    "expected_calibration_error": 0.01,
    "brier": 0.03,
}

Keep = Mapping[str, NDArray[np.bool_]]
Values = Mapping[str, NDArray[np.uint8]]
MakeMask = Callable[..., RelationMask]


def _random_keep(seed: int, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> Keep:
    generator = np.random.default_rng(seed)
    return {name: generator.random(shape) < 0.5 for name, shape in shapes.items()}


def _fields(**fields: Any) -> dict[str, Any]:
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
    return values | fields


def _make_mask(relation: str = "IsA", keep: Keep | None = None, **fields: Any) -> RelationMask:
    return RelationMask.from_keep(
        _random_keep(0) if keep is None else keep, relation=relation, **_fields(**fields)
    )


def _random_values(seed: int, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> Values:
    generator = np.random.default_rng(seed)
    return {name: generator.integers(256, size=shape, dtype="u1") for name, shape in shapes.items()}


def _make_expectation(
    relation: str = "IsA", values: Values | None = None, **fields: Any
) -> RelationMask:
    return RelationMask.from_values(
        _random_values(0) if values is None else values,
        relation=relation,
        **_fields(**{"method": "stochastic", "threshold": None, **fields}),
    )


@pytest.fixture(scope="session")
def random_keep() -> Callable[..., Keep]:
    """Boolean matrices from a seed."""
    return _random_keep


def _make_calibration(**fields: Any) -> Calibration:
    return Calibration(**(CALIBRATION | fields))


@pytest.fixture(scope="session")
def make_calibration() -> Callable[..., Calibration]:
    """A calibration; keyword arguments replace its fields."""
    return _make_calibration


@pytest.fixture(scope="session")
def make_mask() -> MakeMask:
    """A small mask; keyword arguments replace its metadata."""
    return _make_mask


@pytest.fixture(scope="session")
def random_values() -> Callable[..., Values]:
    """Matrices of values of 8 bits from a seed."""
    return _random_values


@pytest.fixture(scope="session")
def make_expectation() -> MakeMask:
    """A small mask of 8 bits a weight; keyword arguments replace its metadata."""
    return _make_expectation
