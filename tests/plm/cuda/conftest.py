"""Bases as they are on a GPU: there no matrix lies in the blocks of the CPU's kernel."""

import pytest

from tests.plm.conftest import Tiny


@pytest.fixture
def bert(bert: Tiny) -> Tiny:
    return bert.in_rows()


@pytest.fixture
def tiny(tiny: Tiny) -> Tiny:
    return tiny.in_rows()
