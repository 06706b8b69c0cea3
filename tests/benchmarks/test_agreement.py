"""Answers of two sides, compared."""

import pytest

from benchmarks.agreement import Agreement, Comparison, agreement_table


def test_it_counts_first_tokens_and_finds_the_largest_difference() -> None:
    comparison = Comparison()
    comparison.add(([-0.5, -2.0, -3.0], [7, 8, 9]), ([-0.75, -2.0, -4.0], [7, 9, 1]))
    comparison.add(([-0.5, -2.0], [7, 8]), ([-0.5, -2.0], [8, 7]))
    found = comparison.agreement()
    # Token 9 is 1.0 apart in the first sentence, 7 and 8 are 1.5 apart in the second.
    assert found == Agreement(0.5, pytest.approx(1.5))
    assert "| peer | 50.0% | 1.5e+00 |" in agreement_table({"peer": found})
