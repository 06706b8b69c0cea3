import numpy as np
import pytest
import torch

from training.methods import DeterministicGenerator, generator_of

SHAPES = {"a": (4, 6), "b": (3, 5)}


def make(mean: float = 0.0, deviation: float = 1.0, seed: int = 0) -> DeterministicGenerator:
    return DeterministicGenerator(
        SHAPES, mean=mean, deviation=deviation, seed=seed, device=torch.device("cpu")
    )


def test_the_mask_is_one_where_the_sigmoid_of_the_score_reaches_the_threshold() -> None:
    generator = make()
    for name, scores in zip(generator.names, generator.scores, strict=True):
        expected = torch.sigmoid(scores.detach()) >= 0.5
        assert np.array_equal(generator.keep()[name], expected.numpy())


def test_masked_weights_are_the_weights_times_what_is_kept() -> None:
    generator = make()
    weights = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    masked = generator.masked(weights)
    for name, keep in generator.keep().items():
        assert torch.equal(masked[name], weights[name] * torch.from_numpy(keep))


def test_the_gradient_of_the_mask_stands_in_for_that_of_the_scores() -> None:
    generator = make()
    weights = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    inputs = torch.randn(7, 6)
    # The slow twin: the mask as a leaf of its own.
    mask = torch.from_numpy(generator.keep()["a"]).float().requires_grad_()
    (inputs @ (weights["a"] * mask).t()).square().sum().backward()
    (inputs @ generator.masked(weights)["a"].t()).square().sum().backward()
    torch.testing.assert_close(generator.scores[0].grad, mask.grad)


def test_the_weights_get_no_gradient() -> None:
    weights = {name: torch.randn(shape, requires_grad=True) for name, shape in SHAPES.items()}
    sum(part.sum() for part in make().masked(weights).values()).backward()
    assert all(weight.grad is None for weight in weights.values())


@pytest.mark.parametrize(("mean", "kept"), [(0.0, 0.5), (2.0, 0.977)])
def test_the_mean_of_the_scores_sets_the_initial_sparsity(mean: float, kept: float) -> None:
    generator = DeterministicGenerator(
        {"w": (200, 200)}, mean=mean, deviation=1.0, seed=3, device=torch.device("cpu")
    )
    assert generator.keep()["w"].mean() == pytest.approx(kept, abs=0.01)


def test_scores_follow_the_seed() -> None:
    assert torch.equal(make(seed=1).scores[0], make(seed=1).scores[0])
    assert not torch.equal(make(seed=1).scores[0], make(seed=2).scores[0])


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown method 'magic'.*deterministic"):
        generator_of("magic")
