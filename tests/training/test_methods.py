import copy
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from training.learning import LearnConfig
from training.methods import (
    METHODS,
    DeterministicGenerator,
    HardConcreteGenerator,
    MaskGenerator,
    StochasticGenerator,
    TopKGenerator,
    generator_of,
)

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


def of(
    method: str,
    options: Mapping[str, float] | None = None,
    *,
    shapes: Mapping[str, tuple[int, int]] = SHAPES,
    mean: float = 0.0,
    seed: int = 0,
) -> MaskGenerator:
    return generator_of(method)(
        shapes,
        mean=mean,
        deviation=1.0,
        seed=seed,
        device=torch.device("cpu"),
        options=options,
    )


def weights_of(shapes: Mapping[str, tuple[int, int]] = SHAPES) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_given_under_the_mask_that_is_kept(method: str) -> None:
    generator, weights = of(method), weights_of()
    settled = generator.settled(weights)
    for name, keep in generator.keep().items():
        assert keep.dtype == np.bool_
        assert torch.equal(settled[name], weights[name] * torch.from_numpy(keep))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_steps(method: str) -> None:
    def learned(seed: int) -> torch.Tensor:
        generator = of(method, seed=seed)
        optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
        for step in range(5):
            generator.advance(step / 5)
            loss = sum(part.square().sum() for part in generator.masked(weights_of()).values())
            penalty = generator.penalty()
            optimizer.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            optimizer.step()
        return torch.cat([scores.detach().flatten() for scores in generator.scores])

    assert torch.equal(learned(1), learned(1))
    assert not torch.equal(learned(1), learned(2))


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_goes_on_as_the_original_would(method: str) -> None:
    generator, weights = of(method), weights_of()
    generator.masked(weights)
    twin = copy.deepcopy(generator)
    ours, theirs = generator.masked(weights), twin.masked(weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in weights)
    with torch.no_grad():
        twin.scores[0].add_(1.0)
    assert not torch.equal(generator.scores[0], twin.scores[0])


def test_stochastic_masks_are_relaxed_bernoulli_draws() -> None:
    # A draw is near 1 with probability sigmoid(g), whatever the temperature.
    generator = StochasticGenerator(
        {"w": (400, 500)},
        mean=0.7,
        deviation=1e-9,
        seed=0,
        device=torch.device("cpu"),
        options={"temperature": 0.1},
    )
    draws = generator.masked({"w": torch.ones(400, 500)})["w"].detach()
    assert ((draws > 0) & (draws < 1)).float().mean() > 0.5
    assert (draws > 0.5).float().mean() == pytest.approx(1 / (1 + math.exp(-0.7)), abs=0.005)
    again = generator.masked({"w": torch.ones(400, 500)})["w"].detach()
    assert not torch.equal(draws, again)


def test_stochastic_gradients_are_those_of_the_relaxation() -> None:
    generator = StochasticGenerator(
        {"w": (3, 4)},
        mean=0.0,
        deviation=1.0,
        seed=3,
        device=torch.device("cpu"),
        options={"temperature": 0.5},
    )
    weight = torch.randn(3, 4)
    noise = torch.Generator()
    noise.set_state(generator._noise.get_state())
    generator.masked({"w": weight})["w"].square().sum().backward()
    scores = generator.scores[0].detach().clone().requires_grad_()
    uniform = torch.rand(3, 4, generator=noise)
    soft = torch.sigmoid((scores + torch.log(uniform) - torch.log1p(-uniform)) / 0.5)
    (weight * soft).square().sum().backward()
    torch.testing.assert_close(generator.scores[0].grad, scores.grad)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.99])
def test_top_k_keeps_exactly_as_many_as_asked_for(sparsity: float) -> None:
    generator = of("top-k", {"sparsity": sparsity}, shapes={"w": (30, 41)})
    keep = generator.keep()["w"]
    assert keep.sum() == keep.size - round(sparsity * keep.size)
    scores = generator.scores[0].detach().numpy()
    if sparsity:
        assert scores[keep].min() > scores[~keep].max()


def test_top_k_keeps_exactly_as_many_where_scores_tie() -> None:
    generator = of("top-k", {"sparsity": 0.5}, shapes={"w": (4, 6)})
    with torch.no_grad():
        generator.scores[0].fill_(1.0)
        generator.scores[0][0, :3] = 0.0
    keep = generator.keep()["w"]
    assert keep.sum() == 12
    assert not keep[0, :3].any()


def test_top_k_follows_a_cubic_ramp() -> None:
    generator = of("top-k", {"sparsity": 0.4, "ramp": 0.5}, shapes={"w": (100, 100)})
    ones = {"w": torch.ones(100, 100)}
    removed = []
    for share in (0.0, 0.25, 0.5, 0.9):
        generator.advance(share)
        removed.append(1 - float(generator.masked(ones)["w"].detach().mean()))
    assert removed == pytest.approx([0.0, 0.4 * (1 - 0.5**3), 0.4, 0.4], abs=1e-4)


def test_top_k_scores_get_the_gradient_of_the_mask() -> None:
    generator, weights = of("top-k", {"sparsity": 0.5, "ramp": 0.0}), weights_of()
    mask = torch.from_numpy(generator.keep()["a"]).float().requires_grad_()
    inputs = torch.randn(7, 6)
    (inputs @ (weights["a"] * mask).t()).square().sum().backward()
    (inputs @ generator.masked(weights)["a"].t()).square().sum().backward()
    torch.testing.assert_close(generator.scores[0].grad, mask.grad)


def test_draws_do_not_go_with_the_scores_of_the_same_seed() -> None:
    generator = of("stochastic", {"temperature": 1.0}, shapes={"w": (300, 300)})
    soft = generator.masked({"w": torch.ones(300, 300)})["w"].detach()
    scores = generator.scores[0].detach()
    noise = soft.clamp(1e-6, 1 - 1e-6).logit() - scores
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), scores.flatten()]))[0, 1]) < 0.02


def test_hard_concrete_gates_are_often_exactly_zero_or_one() -> None:
    generator = of("hard-concrete", shapes={"w": (300, 300)})
    gates = generator.masked({"w": torch.ones(300, 300)})["w"].detach()
    assert gates.min() == 0
    assert gates.max() == 1
    assert 0.05 < ((gates > 0) & (gates < 1)).float().mean() < 0.6


def test_the_price_of_hard_concrete_is_for_the_share_that_is_not_zero() -> None:
    generator = HardConcreteGenerator(
        {"w": (500, 600)},
        mean=-0.5,
        deviation=1e-9,
        seed=1,
        device=torch.device("cpu"),
        options={"price": 3.0},
    )
    gates = generator.masked({"w": torch.ones(500, 600)})["w"].detach()
    penalty = generator.penalty()
    assert penalty is not None
    assert penalty.requires_grad
    # Monte Carlo beside the closed form.
    assert penalty.item() == pytest.approx(3.0 * float((gates > 0).float().mean()), abs=0.01)
    penalty.backward()
    assert (generator.scores[0].grad > 0).all()


def test_a_keep_rate_is_worth_what_it_is_off() -> None:
    generator = of("deterministic", {"keep_rate": 0.8, "keep_weight": 5.0})
    kept = np.concatenate([keep.ravel() for keep in generator.keep().values()]).mean()
    penalty = generator.penalty()
    assert penalty is not None
    assert float(penalty) == pytest.approx(5.0 * (kept - 0.8) ** 2, rel=1e-5)
    penalty.backward()
    # Too few are kept: every score is pushed up alike.
    gradient = generator.scores[0].grad
    assert (gradient < 0).all()
    assert torch.equal(gradient, gradient[0, 0].expand_as(gradient))
    assert of("deterministic").penalty() is None


def test_the_ramp_of_top_k_does_not_touch_what_is_kept() -> None:
    generator = of("top-k", {"sparsity": 0.25, "ramp": 1.0})
    assert isinstance(generator, TopKGenerator)
    generator.advance(0.0)
    assert 1 - generator.keep()["a"].mean() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("deterministic", {"temperature": 1.0}, "has no option 'temperature'; it has keep_rate"),
        ("stochastic", {"sparsity": 0.1}, "has no option 'sparsity'; it has temperature"),
        ("top-k", {"sparsity": 1.5}, "option sparsity of top-k is 0 to 0.99, not 1.5"),
        ("top-k", {"sparsity": math.nan}, "option sparsity of top-k is 0 to 0.99, not nan"),
        ("hard-concrete", {"price": -1.0}, "option price of hard-concrete is 0 to inf, not -1"),
    ],
)
def test_options_that_do_not_fit_are_named(
    method: str, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        of(method, options)
    with pytest.raises(ValueError, match=message):
        LearnConfig(method=method, options=options)


def of_layers(method: str, options: Mapping[str, float]) -> MaskGenerator:
    return generator_of(method)(
        {"a": (40, 60), "b": (30, 50)},
        mean=0.5,
        deviation=1.0,
        seed=0,
        device=torch.device("cpu"),
        options=options,
        layers=(4, 5),
    )


def test_a_layer_can_have_a_sparsity_of_its_own() -> None:
    keep = of_layers("top-k", {"sparsity": 0.2, "sparsity.5": 0.6}).keep()
    assert keep["a"].mean() == pytest.approx(0.8)
    assert keep["b"].mean() == pytest.approx(0.4)


def test_a_layer_can_have_a_keep_rate_of_its_own() -> None:
    generator = of_layers(
        "deterministic", {"keep_rate": 0.9, "keep_rate.5": 0.3, "keep_weight": 1.0}
    )
    shares = [part.mean() for part in generator.keep().values()]
    penalty = generator.penalty()
    assert penalty is not None
    expected = ((shares[0] - 0.9) ** 2 + (shares[1] - 0.3) ** 2) / 2
    assert penalty.item() == pytest.approx(float(expected), abs=1e-5)
    penalty.backward()
    # More is to be kept of the first layer, and less of the second.
    assert generator.scores[0].grad is not None
    assert generator.scores[1].grad is not None
    assert float(generator.scores[0].grad.max()) < 0 < float(generator.scores[1].grad.min())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity.7": 0.5}, r"option sparsity\.7: layers 4 to 5 are masked, not 7"),
        ({"sparsity.x": 0.5}, r"no option 'sparsity\.x'; it has sparsity \(or sparsity\.LAYER\)"),
        ({"ramp.4": 0.5}, r"no option 'ramp\.4'"),
        ({"sparsity.4": 1.5}, r"option sparsity\.4 of top-k is 0 to 0\.99"),
    ],
)
def test_a_bad_option_of_a_layer_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_layers("top-k", options)
