"""Products of a pass, counted."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.roofline import copy, pass_gflop, product, product_gflop, product_rate
from plm import EncodedRow, Engine, Probe, TopTokens, load_base


def test_the_products_of_a_pass_are_those_that_torch_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = load_base("minilm-l6-mlm", device="cpu")
    # torch counts what it does itself.
    for kernel in ("kernel", "blocked_kernel"):
        monkeypatch.setattr(f"plm.linear.{kernel}", lambda: None)
    monkeypatch.setattr("plm.layers.layer_kernel", lambda: None)
    # Sentences of one length, so that no product is of padding.
    rows = [EncodedRow((101, 1996, base.mask_token_id, 1012, 102), (2,)) for _ in range(3)]
    engine = Engine(base)
    probes = [Probe(row, None, TopTokens(1)) for row in rows]
    engine.read(probes)  # what is tried once before it is used multiplies, too
    with FlopCounterMode(display=False) as counter:
        engine.read(probes)
    assert round(pass_gflop(base, rows) * 1e9) == counter.get_total_flops()


def test_a_product_and_a_copy_are_what_their_names_say() -> None:
    with FlopCounterMode(display=False) as counter:
        made = product(3, 4, 5)()
    assert isinstance(made, torch.Tensor)
    assert made.shape == (3, 5)
    assert round(product_gflop(3, 4, 5) * 1e9) == counter.get_total_flops()
    copied = copy(1e-6)()
    assert isinstance(copied, torch.Tensor)
    assert copied.nbytes == 1000
    assert bool((copied == 1).all())
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        made = product(3, 4, 5, dtype)()
        assert isinstance(made, torch.Tensor)
        assert made.shape == (3, 5)
        assert product_rate(8, 8, 8, dtype) > 0
