"""The encoding: by hand, and against forward passes on every kind of layer (the fixed-input oracle)."""

from __future__ import annotations

import numpy as np
import pytest

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.tighten import Bounds, interval_bounds
from milpcomp.domain import Box
from milpcomp.errors import SolverError
from milpcomp.milp.backends import backend
from milpcomp.milp.encoding import Encoding, encode
from milpcomp.milp.guard import guarded_solve
from milpcomp.milp.margin import margins
from milpcomp.milp.pairs import pair_problem
from milpcomp.milp.problem import Backend, SolveOptions, Status
from milpcomp.milp.rows import powers_of_two
from milpcomp.network import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv2d,
    Dense,
    Network,
    Node,
    Permute,
    Rectifier,
    Reshape,
    Scale,
    Take,
)
from tests.nets import chain, diamond, mlp, residual_cnn


def encoded(network: Network, low: float = 0.0, high: float = 1.0, **options: object) -> Encoding:
    """Return the encoding over a box with interval bounds."""
    box = Box(low, high).fit(network.input_shape)
    return encode(network, interval_bounds(network, box), box, **options)  # type: ignore[arg-type]


def by_hand() -> Bounds:
    """Return the diamond's bounds without outward rounding."""
    rows = Interval(np.array([-1.0, -3.0]), np.array([1.0, -1.0]))
    return Bounds({INPUT: Interval(np.zeros(2), np.ones(2)), "0": rows})


def test_diamond_by_hand() -> None:
    """One binary (g1 in [-1, 1]); g2 in [-3, -1] has h fixed to 0; rows are divided by 2 and 4."""
    box = Box(0.0, 1.0).fit((2,))
    encoding = encode(diamond(), by_hand(), box)
    milp = encoding.milp
    assert milp.names == ("x[0]", "x[1]", "h[1,0]", "h[1,1]", "hbar[1,0]", "hbar[1,1]", "z[1,0]")
    assert milp.integer.tolist() == [False] * 6 + [True]
    assert milp.lower.tolist() == [0, 0, 0, 0, 0, 0.25, 0]
    assert milp.upper.tolist() == [1, 1, 0.5, 0, 0.5, 0.75, 1]
    assert milp.matrix.toarray().tolist() == [
        [0.5, -0.5, -1, 0, 1, 0, 0],  # x1 - x2 = h - hbar, over 2
        [0.25, 0.25, 0, -1, 0, 1, 0],  # x1 + x2 - 3 = h - hbar, over 4
        [0, 0, 1, 0, 0, 0, -0.5],  # h <= H z
        [0, 0, 0, 0, 1, 0, 0.5],  # hbar <= Hbar (1 - z)
    ]
    assert milp.row_lower.tolist() == [0, 0.75, -np.inf, -np.inf]
    assert milp.row_upper.tolist() == [0, 0.75, 0, 0.5]
    assert encoding.complete(np.array([1.0, 0.25])).tolist() == [1, 0.25, 0.375, 0, 0, 0.4375, 1]
    assert encoding.output(encoding.complete(np.array([1.0, 0.25]))).tolist() == [-0.25]


def test_optimum_by_hand() -> None:
    """The maximum of g1 is 1 at (1, 0), the minimum -1; in the units of the row, which is divided by 2."""
    box = Box(0.0, 1.0).fit((2,))
    encoding = encode(diamond(), by_hand(), box, upto="1")
    assert encoding.blocks == {}
    for sign, corner in ((1, [1.0, 0.0]), (-1, [0.0, 1.0])):
        outcome = guarded_solve(backend("highs"), encoding.neuron("1", 0, sign), SolveOptions())
        assert outcome.status is Status.OPTIMAL
        assert outcome.dual_bound == -0.5
        assert outcome.solution is not None
        assert encoding.inputs(outcome.solution).tolist() == corner


# ------------------------------------------------------------------------------------------------ fixed-input oracle


def mixed() -> Network:
    """Return a network with Concat, Permute, Take, Add, |x|, leaky, rotated and constant-slope rectifiers."""
    rng = np.random.default_rng(6)
    nodes = [
        Node("abs", Rectifier(1.0, -1.0), (INPUT,)),
        Node("shift", Scale(-2.0, 0.75), (INPUT,)),
        Node("take", Take([[1, 0], [2, -1]]), ("shift",)),
        Node("concat", Concat(1), ("abs", "take")),
        Node("swap", Permute((1, 0)), ("concat",)),
        Node("flatten", Reshape((10,)), ("swap",)),
        Node("dense", Dense(rng.normal(size=(4, 10)), rng.normal(size=4)), ("flatten",)),
        Node("leaky", Rectifier(1.0, 0.1), ("dense",)),
        Node("dense2", Dense(rng.normal(size=(4, 4)), rng.normal(size=4)), ("leaky",)),
        Node("add", Add(), ("dense2", "leaky")),
        Node("rotated", Rectifier([-1.5, 0.5, 0.0, 1.0], [0.0, 0.25, 0.0, 1.0]), ("add",)),
        Node("out", Dense(rng.normal(size=(2, 4)), rng.normal(size=2)), ("rotated",)),
    ]
    return Network((2, 3), nodes)


def grouped() -> Network:
    """Return a network with a grouped, dilated convolution, pooling with padding, and a strided convolution."""
    rng = np.random.default_rng(7)
    return chain(
        (4, 5, 5),
        Conv2d(rng.normal(size=(4, 2, 2, 2)), rng.normal(size=4), dilation=(2, 2), groups=2),
        Scale(rng.normal(size=(4, 1, 1)), rng.normal(size=(4, 1, 1))),
        Rectifier(rng.normal(size=(4, 1, 1)), 0.1),
        AveragePool((2, 2), (2, 2), (1, 1, 0, 0)),
        Rectifier(),
        Conv2d(rng.normal(size=(2, 4, 2, 2)), stride=(2, 2), padding=(1, 0, 1, 0)),
    )


ORACLE = {
    "dense": mlp([4, 6, 5, 3], np.random.default_rng(8)),
    "slopes": mlp([4, 6, 5, 3], np.random.default_rng(9), None, None),
    "mixed": mixed(),
    "grouped": grouped(),
    "residual": residual_cnn(np.random.default_rng(10)),
}


@pytest.fixture(scope="module", params=["highs", "ortools", "pyomo"])
def solver(request: pytest.FixtureRequest) -> Backend:
    """Return each backend."""
    return backend(request.param)


@pytest.mark.parametrize("name", ORACLE)
def test_fixed_input_gives_the_forward_pass(name: str, solver: Backend) -> None:
    """With the input fixed, the only solution holds the pre-activations and the output of a forward pass."""
    network = ORACLE[name]
    encoding = encoded(network, -1.0, 1.0)
    for x in np.random.default_rng(11).uniform(-1, 1, size=(3, *network.input_shape)):
        outcome = guarded_solve(solver, encoding.fix_input(encoding.milp, x), SolveOptions(time_limit_s=30))
        assert outcome.status is Status.OPTIMAL
        assert outcome.solution is not None
        np.testing.assert_allclose(encoding.inputs(outcome.solution), x, atol=1e-12)
        np.testing.assert_allclose(encoding.output(outcome.solution), network.forward(x), rtol=1e-6, atol=1e-6)
        claimed, true = encoding.pre_activations(outcome.solution), network.pre_activations(x[None])
        for layer, value in true.items():
            np.testing.assert_allclose(claimed[layer], value[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ORACLE)
def test_completed_inputs_are_feasible(name: str) -> None:
    """Every input gives a feasible column vector, from which input and output are read back."""
    network = ORACLE[name]
    encoding = encoded(network, -1.0, 1.0)
    for x in np.random.default_rng(12).uniform(-1, 1, size=(5, *network.input_shape)):
        columns = encoding.complete(x)
        assert encoding.milp.violation(columns) < 1e-12
        np.testing.assert_allclose(encoding.inputs(columns), x, atol=1e-15)
        np.testing.assert_allclose(encoding.output(columns), network.forward(x), rtol=1e-9, atol=1e-12)


def test_target_rows_are_pre_activations() -> None:
    """The rows of a layer that is not encoded itself give its scaled pre-activations."""
    network = ORACLE["residual"]
    encoding = encoded(network, -1.0, 1.0, upto="relu3")
    x = np.random.default_rng(13).uniform(-1, 1, size=network.input_shape)
    units = np.arange(network.width("relu3"))
    rows = encoding.pre_activation_rows("relu3", units)
    true = network.pre_activations(x[None])["relu3"][0] / rows.scale
    np.testing.assert_allclose(rows.matrix @ encoding.complete(x) + rows.constant, true, rtol=1e-9, atol=1e-12)
    with pytest.raises(SolverError, match="encode without `upto`"):
        encoding.output(encoding.complete(x))


def test_some_units_of_the_target_can_be_encoded() -> None:
    """With `units`, these neurons of the target layer have columns, the others have none."""
    encoding = encoded(ORACLE["dense"], upto="3", units=np.array([1, 4]))
    assert encoding.blocks["3"].units.tolist() == [1, 4]
    assert encoding.blocks["1"].units.tolist() == list(range(6))
    assert sum(name.startswith("h[3,") for name in encoding.milp.names) == 2


# ------------------------------------------------------------------------------------------------ scaling and big-M


def test_powers_of_two() -> None:
    """The scale is a power of two above the magnitude, at most twice it; 1 for zero."""
    assert powers_of_two(np.array([0.0, 1.0, 1.5, 3e-7, 1e300])).tolist() == [1.0, 2.0, 2.0, 2.0**-21, 2.0**500]


def test_ranges_are_of_order_one() -> None:
    """A neuron with a range of 1e-6 behind an input in [0, 1e7], and one with 1e6, have columns of order one."""
    network = chain((1,), Dense([[1e-13], [0.1]], [-5e-7, -5e5]), Rectifier(), Dense([[1.0, 1.0]]))
    encoding = encoded(network, 0.0, 1e7)
    assert encoding.milp.upper.max() <= 1.0
    assert encoding.milp.upper.min() >= 0.24
    assert np.abs(encoding.milp.matrix.data).min() >= 0.24
    x = np.array([2.5e6])
    np.testing.assert_allclose(encoding.output(encoding.complete(x)), network.forward(x), atol=1e-9)


def test_tiny_box_is_blown_up() -> None:
    """Inputs in a box of radius 1e-7 around 0.3 become columns in [0, about 1]."""
    network = mlp([3, 4, 2], np.random.default_rng(14))
    box = Box.around(np.full(3, 0.3), 1e-7)
    encoding = encode(network, interval_bounds(network, box), box)
    assert encoding.milp.lower[:3].tolist() == [0, 0, 0]
    assert (encoding.milp.upper[:3] >= 0.5).all()
    np.testing.assert_allclose(encoding.inputs(encoding.complete(np.full(3, 0.3))), 0.3, atol=1e-16)


def test_constant_and_fixed_inputs() -> None:
    """A box that is a point, far from zero, is encoded and solved like any other."""
    network = chain((2,), Dense([[1.0, -1.0]], [0.5]), Rectifier(), Dense([[2.0]]))
    encoding = encoded(network, 1000.0, 1000.0)
    outcome = guarded_solve(backend("highs"), encoding.milp, SolveOptions())
    assert outcome.solution is not None
    assert encoding.output(outcome.solution) == pytest.approx([1.0], abs=1e-9)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_no_default_big_m(bad: float) -> None:
    """A neuron without finite bounds is an error that names it."""
    rows = Interval(np.array([-1.0, -3.0]), np.array([1.0, bad]))
    with pytest.raises(SolverError, match=r"1 neurons of '1' \(first: unit 1\) have no finite proved bounds"):
        encode(diamond(), Bounds({"0": rows}), Box(0.0, 1.0).fit((2,)))


def test_layers_without_neurons() -> None:
    """A layer of width zero is encoded as nothing."""
    network = chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((3, 0)), [1.0, 2.0, 3.0]))
    encoding = encoded(network)
    assert encoding.milp.matrix.shape == (0, 2)
    assert encoding.output(encoding.complete(np.zeros(2))).tolist() == [1, 2, 3]


# ------------------------------------------------------------------------------------------------ P/Q and the margin


def test_pairs_by_hand() -> None:
    """One input shows g1 active or inactive, not both: c(P, Q) = 1; g2 has no z and is left out."""
    encoding = encode(diamond(), by_hand(), Box(0.0, 1.0).fit((2,)))
    pairs = [("1", 0, 1), ("1", 0, -1), ("1", 1, 1)]
    problem = pair_problem(encoding, pairs, margins(encoding))
    assert problem.pairs == (("1", 0, 1), ("1", 0, -1))
    assert problem.milp.names[-2:] == ("p[1,0]", "q[1,0]")
    assert not problem.milp.integer[problem.columns].any()
    outcome = guarded_solve(backend("highs"), problem.milp, SolveOptions())
    assert outcome.dual_bound == pytest.approx(-1.0625)  # h or hbar is 1/2, and its share of 1/4 is 1/2
    assert outcome.solution is not None
    assert len(problem.claimed(outcome.solution)) == 1


@pytest.mark.parametrize(("gap", "count"), [(1e-6, -1.0), (0.5, 0.0)])
def test_margin_lets_near_ties_count(gap: float, count: float) -> None:
    """With g = x - 1 - gap over [0, 1] and loose bounds, p = 1 stays possible while g comes within the margin of 0."""
    network = chain((1,), Dense([[1.0]], [-1.0 - gap]), Rectifier())
    bounds = Bounds({INPUT: Interval(np.zeros(1), np.ones(1)), "0": Interval(np.full(1, -1.0 - gap), np.ones(1))})
    encoding = encode(network, bounds, Box(0.0, 1.0).fit((1,)))
    margin = margins(encoding)
    assert 1e-6 < margin["1"][0] < 1e-5
    outcome = guarded_solve(backend("highs"), pair_problem(encoding, [("1", 0, 1)], margin).milp, SolveOptions())
    assert outcome.dual_bound == pytest.approx(count, abs=1e-5)


def test_margin_by_hand() -> None:
    """Two neurons in a chain: 2 (tolerance * (1 + 1)) + dual terms, then what that does to the next row."""
    network = chain((1,), Dense([[2.0]], [-1.0]), Rectifier(), Dense([[1.0]], [-0.5]), Rectifier())
    encoding = encoded(network)
    ranges = 1 + (0.5 + 0.5 + 1) + (0.5 + 0.5 + 1)  # x; h, hbar, z of both neurons
    first = 1e-6 + 1e-6  # the row x - 0.5 = h - hbar, and x
    leak = first + 1e-6 * (1 + 0.5 + 0.5)  # of h
    second = 1e-6 + 2 * leak  # the row 2 h - 0.5
    found = margins(encoding)
    assert found["1"][0] == pytest.approx(2 * first + 1e-7 * ranges, rel=1e-6)
    assert found["3"][0] == pytest.approx(2 * second + 1e-7 * ranges, rel=1e-6)


def test_large_weights_widen_the_margin() -> None:
    """A weight of 1e6 on a neuron whose h is at most 1e-7 of its range makes a margin beyond the next range."""
    network = chain((1,), Dense([[1.0]]), Rectifier(), Dense([[1e6]], [-0.05]), Rectifier())
    box = Box(-1.0, 1e-7).fit((1,))
    encoding = encode(network, interval_bounds(network, box), box)
    assert margins(encoding)["3"][0] > 1.0
    assert pair_problem(encoding, [("3", 0, 1), ("3", 0, -1)], margins(encoding)).pairs == ()


def test_margin_covers_dropped_coefficients() -> None:
    """A coefficient below 1e-9 that a solver would drop is counted with its full reach."""
    plain, tiny = (
        chain((2,), Dense([[1.0, 0.0], [0.0, 1.0]]), Rectifier(), Dense([[1.0, w]], [-0.5]), Rectifier())
        for w in (0.0, 4e-10)
    )
    gap = margins(encoded(tiny))["3"][0] - margins(encoded(plain))["3"][0]
    assert gap == pytest.approx(2 * 8e-10 * 0.5, rel=1e-3)


def test_fixed_columns_have_no_error() -> None:
    """A neuron that bounds prove inactive hands nothing on, however large its negative range."""
    network = chain((1,), Dense([[1.0], [1e6]], [0.0, -2e6]), Rectifier(), Dense([[1.0, 5.0]], [-0.5]), Rectifier())
    assert margins(encoded(network))["3"][0] < 2e-5
