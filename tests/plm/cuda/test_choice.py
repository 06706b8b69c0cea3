"""When a dense product takes the place of the kernel."""

from collections.abc import Sequence

import pytest
import torch

from plm.cuda import CudaMaskedLinear
from plm.cuda.choice import crossover, dense_from
from plm.unpacking import spread_bits

GPU = torch.cuda.is_available()


@pytest.mark.parametrize(
    ("fused", "dense", "expected"),
    [
        ((1, 2, 4, 8), (3, 3, 3, 3), 64),  # dense from there on
        ((1, 2, 4, 8), (0, 1, 2, 3), 16),  # always
        ((1, 2, 4, 8), (9, 9, 9, 9), 256),  # never: beyond what was measured
        ((1, 2, 4, 8), (0, 3, 3, 3), 64),  # one that is faster below a slower one counts not
        ((1, 2, 4, 8), (5, 5, 4, 4), 64),  # equal is enough
    ],
)
def test_the_crossover_is_where_dense_stays_the_faster(
    fused: Sequence[float], dense: Sequence[float], expected: int
) -> None:
    rows = (16, 32, 64, 128)
    times = [dict(zip(rows, side, strict=True)) for side in (fused, dense)]
    assert crossover(times[0].__getitem__, times[1].__getitem__, rows) == expected


def test_both_sides_are_the_same_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with another clock: what is timed is run, at each size, and of one shape."""
    ran = []

    def run(
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        bits: Sequence[torch.Tensor],
        sizes: Sequence[int],
    ) -> torch.Tensor:
        assert bias is None
        ran.append(sizes[0])
        parts = states.split(list(sizes))
        products = [
            part @ (weight * spread_bits(kept, weight.shape[1])).t()
            for part, kept in zip(parts, bits, strict=True)
        ]
        return torch.cat(products)

    # Each kind of work in turns; the kernel's side is found by what it has run.
    def seconds(work: object) -> float:
        before = len(ran)
        work()  # type: ignore[operator]
        return float(ran[-1]) if len(ran) > before else 100.0

    monkeypatch.setattr("plm.cuda.choice._seconds", seconds)
    assert dense_from(run, torch.randn(24, 40)) == 128
    assert ran == [1024, 512, 256, 128, 64]


def test_it_is_measured_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(_: object, weight: torch.Tensor) -> int:
        asked.append(tuple(weight.shape))
        return 7

    monkeypatch.setattr("plm.cuda.linear.dense_from", measured)
    kernel = CudaMaskedLinear(None)
    for weight in (torch.zeros(2, 8), torch.zeros(2, 8), torch.zeros(8, 2)):
        assert kernel.dense_from(weight) == 7
    assert asked == [(2, 8), (8, 2)]


@pytest.mark.skipif(not GPU, reason="there is no GPU here")
def test_on_a_gpu_it_is_one_of_the_sizes() -> None:
    from plm.cuda import cuda_kernel

    kernel = cuda_kernel()
    assert kernel is not None
    weight = torch.randn(768, 768, device="cuda", dtype=torch.bfloat16)
    assert 16 <= kernel.dense_from(weight) <= 2048
