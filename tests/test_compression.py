r"""Compression of dense networks by hand: what is removed, fixed, joined, merged, folded and collapsed.

Most networks here have two inputs x1, x2 in [0, 1], one hidden layer and weights that are small whole numbers, so that
every compressed weight can be written down and every result is exact.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.compression import Collapse, Compression, Fix, Fold, Join, Merge, Remove, compress, rewrite
from milpcomp.domain import Box
from milpcomp.errors import MilpcompError
from milpcomp.network import INPUT, Add, Dense, Network, Node, Rectifier, Scale
from tests.exact import exact_values
from tests.handmade import interval_report, points, report_of, true_report, verdict
from tests.nets import chain, diamond, mlp, planted
from tests.oracle import exact_ranges

SQUARE = Box(np.zeros(2), np.ones(2))


def shrunk(network: Network, domain: Box = SQUARE, tolerance: float | str = "rounding") -> Compression:
    """Compress by true ranges, and assert that the result is the same function by samples, and final."""
    result = compress(network, true_report(network, domain, exact_ranges(network, domain)), tolerance=tolerance)
    x = points(domain, network.input_shape)
    before = network.forward(x)
    assert np.abs(result.network.forward(x) - before).max(initial=0.0) <= 1e-10 * (1 + np.abs(before).max(initial=0.0))
    assert rewrite(network, result.edits).digest == result.network.digest
    report = true_report(result.network, domain, exact_ranges(result.network, domain))
    again = compress(result.network, report, tolerance=tolerance)
    assert again.network.digest == result.network.digest
    return result


def kinds(result: Compression) -> list[str]:
    """Return the names of the classes of the edits."""
    return [type(edit).__name__ for edit in result.edits]


# ---------------------------------------------------------------------------------------------------- removal


def test_stably_inactive_neuron_goes_and_the_rest_is_copied() -> None:
    """In the diamond h2 is never active; the other row and column stay bit by bit, so nothing deviates."""
    result = shrunk(diamond())
    first, _, last = (node.layer for node in result.network.nodes)
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    assert (first.weight.tolist(), first.bias.tolist()) == ([[1.0, -1.0]], [0.0])
    assert (last.weight.tolist(), last.bias.tolist()) == ([[1.0]], [-1.0])
    assert result.deviation_bound == 0.0
    assert [node.name for node in result.network.nodes] == ["0", "1", "2"]


def test_removal_records_its_verdicts_and_where_values_come_from() -> None:
    """The edit carries the verdict of the neuron that goes; origin says which channels are left."""
    result = shrunk(diamond())
    (edit,) = result.edits
    assert isinstance(edit, Remove)
    assert (edit.layer, edit.channels, [v.unit for v in edit.verdicts]) == ("1", (1,), [1])
    assert result.origin == {"0": ("0", (0,)), "1": ("1", (0,)), "2": ("2", None)}


@pytest.mark.parametrize(
    ("slopes", "row", "bias", "gone"),
    [
        ((1.0, 0.1), [1.0, 1.0], -3.0, False),  # inactive, but leaky: linear, not zero
        ((0.0, 1.0), [1.0, 1.0], 0.5, True),  # active with positive slope 0
        ((-2.0, 0.0), [1.0, 1.0], -3.0, True),  # inactive with a rotated slope of negative sign
        ((0.0, 0.0), [1.0, -1.0], 0.0, True),  # both slopes 0: zero whatever its sign
        ((1.0, 0.0), [1.0, 1.0], -2.0, True),  # maximum exactly 0
    ],
)
def test_removed_is_what_is_zero(slopes: tuple[float, float], row: list[float], bias: float, gone: bool) -> None:
    """A neuron is removed if the slope of the side it stays on is zero, whatever its phase is called."""
    positive, negative = ([slope, 1.0] for slope in slopes)
    network = chain(
        (2,), Dense([row, [1.0, -1.0]], [bias, 0.0]), Rectifier(positive, negative), Dense([[1.0, 2.0]], [0.0])
    )
    removed = [edit.channels for edit in shrunk(network).edits if isinstance(edit, Remove)]
    assert removed == ([(0,)] if gone else [])


def test_undecided_and_unstable_neurons_stay() -> None:
    """A report that decides nothing compresses nothing: the network comes back bit by bit."""
    network = mlp([3, 5, 5, 2], np.random.default_rng(0))
    box = Box(np.full(3, -1.0), np.full(3, 1.0))
    result = compress(network, interval_report(network, Box(np.full(3, -9.0), np.full(3, 9.0))))
    assert result.edits == ()
    assert result.network.digest == network.digest
    assert np.array_equal(result.network.forward(points(box, (3,))), network.forward(points(box, (3,))))


def test_what_nobody_reads_goes_in_cascade() -> None:
    """h3 of layer 2 is dead, h1 of layer 1 is read by it alone: both go, and a column of zeros is as good as nobody."""
    network = chain(
        (2,),
        Dense([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], [0.0, 0.0, -1.0]),
        Rectifier(),
        Dense([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [-3.0, -0.5]),  # first unit <= -2: dead; h3 has zero columns
        Rectifier(),
        Dense([[1.0, 1.0]]),
    )
    result = shrunk(network)
    assert [node.layer.weight.shape for node in result.network.nodes if isinstance(node.layer, Dense)] == [
        (1, 2), (1, 1), (1, 1),
    ]  # fmt: skip
    assert result.unread == 2
    assert "2 neuron(s) that nobody reads" in result.summary()


# ---------------------------------------------------------------------------------------------------- constants


def test_constant_neuron_moves_into_the_next_offset() -> None:
    """A zero row with bias 3 and slope 2 gives 6; times the weight 5 it makes the offset 1 + 30."""
    network = chain((2,), Dense([[0.0, 0.0], [1.0, -1.0]], [3.0, 0.0]), Rectifier(2.0), Dense([[5.0, 1.0]], [1.0]))
    result = shrunk(network)
    last = result.network.nodes[-1].layer
    assert kinds(result) == ["Fix"]
    assert isinstance(last, Dense)
    assert (last.weight.tolist(), last.bias.tolist()) == ([[1.0]], [31.0])
    assert result.deviation_bound == 0.0


def test_constant_with_equal_bounds_is_fixed() -> None:
    """On a domain that pins x1 = 0.5 a neuron that reads x1 alone is constant, and so is what reads only that."""
    domain = Box([0.5, 0.0], [0.5, 1.0])
    network = chain((2,), Dense([[4.0, 0.0], [1.0, -1.0]], [1.0, 0.0]), Rectifier(), Dense([[1.0, 1.0]], [0.25]))
    result = shrunk(network, domain)
    last = result.network.nodes[-1].layer
    assert isinstance(last, Dense)
    assert last.bias.tolist() == [3.25]
    assert result.deviation_bound == 0.0


def test_constant_with_rounding_has_a_proved_deviation() -> None:
    """0.1 * 0.3 is rounded, so the offset is, and the bound says by how much at most."""
    network = chain((2,), Dense([[0.0, 0.0], [1.0, -1.0]], [0.1, 0.0]), Rectifier(0.3), Dense([[0.7, 1.0]], [0.9]))
    result = shrunk(network)
    assert 0 < result.deviation_bound < 1e-15
    exact = shrunk(network, tolerance=0.0)
    assert exact.edits == ()
    assert exact.skipped[0].kind == "Fix"
    assert "more than 0" in exact.skipped[0].reason


# ---------------------------------------------------------------------------------------------------- joining, merging


def test_duplicates_of_unstable_neurons_join() -> None:
    """Rows 1 and 3 times [1, -1] have the same sign: 2 h + 5 (3 h) is 17 h; a multiple of the other sign stays."""
    network = chain((2,), Dense([[1.0, -1.0], [3.0, -3.0], [-1.0, 1.0]]), Rectifier(1.0, 0.5), Dense([[2.0, 5.0, 1.0]]))
    result = shrunk(network)
    (edit,) = result.edits
    assert isinstance(edit, Join)
    assert (edit.channels, edit.base, edit.factors, edit.verdicts[0].unit) == ((1,), (0,), (3.0,), 1)
    last = result.network.nodes[-1].layer
    assert isinstance(last, Dense)
    assert last.weight.tolist() == [[17.0, 1.0]]
    assert result.deviation_bound == 0.0


def test_unstable_neurons_with_other_slopes_or_offsets_do_not_join() -> None:
    """Equal rows with different slopes, or with offsets that are no multiples, are different functions."""
    other_slope = chain((2,), Dense([[1.0, -1.0], [1.0, -1.0]]), Rectifier([1.0, 2.0]), Dense([[1.0, 1.0]]))
    other_offset = chain((2,), Dense([[1.0, -1.0], [1.0, -1.0]], [0.0, 0.5]), Rectifier(), Dense([[1.0, 1.0]]))
    assert shrunk(other_slope).edits == ()
    assert shrunk(other_offset).edits == ()


def test_stably_active_rows_merge_by_rank() -> None:
    """Rows x1 + 1, x2 + 1, x1 + x2 + 3 are active and of rank 2: h3 = h1 + h2 + 1; the fourth row stays unstable."""
    network = chain(
        (2,),
        Dense([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]], [1.0, 1.0, 3.0, 0.0]),
        Rectifier(),
        Dense([[10.0, 20.0, 4.0, 1.0], [0.0, 1.0, 2.0, 1.0]], [0.5, 0.0]),
    )
    result = shrunk(network)
    (edit,) = result.edits
    assert isinstance(edit, Merge)
    assert len(edit.channels) == 1
    assert len(edit.base) == 2
    assert result.deviation_bound == 0.0
    assert result.after.neurons == 3


def test_merging_with_slopes_of_both_signs() -> None:
    """y1 = 2 (x1 + 1), y2 = -3 (2 x1 + 5) with slopes 2 and -3: y2 = -3 y1 - 9, so 5 y2 is -15 y1 - 45."""
    network = chain(
        (2,),
        Dense([[1.0, 0.0], [2.0, 0.0], [1.0, -1.0]], [1.0, 5.0, 0.0]),
        Rectifier([2.0, -3.0, 1.0], [0.0, 0.0, 0.0]),
        Dense([[1.0, 5.0, 1.0]], [0.0]),
    )
    result = shrunk(network)
    (edit,) = result.edits
    assert isinstance(edit, Merge)
    base, gone = edit.base[0], edit.channels[0]
    factor, shift = (-3.0, -9.0) if gone == 1 else (-1 / 3, -3.0)
    assert (edit.matrix.tolist(), edit.shift.tolist()) == ([[factor]], [shift])
    assert base != gone


def test_inactive_leaky_neurons_merge_with_active_ones() -> None:
    """An inactive neuron with negative slope 0.5 is linear, and depends on an active one with slope 1."""
    network = chain(
        (2,),
        Dense([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], [1.0, 0.0, 0.0]),
        Rectifier(1.0, 0.5),
        Dense([[1.0, 4.0, 1.0]], [0.0]),
    )
    result = shrunk(network)
    last = result.network.nodes[-1].layer
    assert kinds(result) == ["Merge"]
    assert isinstance(last, Dense)
    assert (last.weight.tolist(), last.bias.tolist()) == ([[-1.0, 1.0]], [2.0])  # 4 * 0.5 * -(h1 - 1) + h1
    assert result.deviation_bound == 0.0


def test_merging_removes_columns_of_dead_neurons_before_ranks_are_taken() -> None:
    """Two rows that differ only in the column of a dead neuron are dependent once it is gone."""
    network = chain(
        (2,),
        Dense([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], [0.0, -3.0, 0.0]),  # the second is dead
        Rectifier(),
        Dense([[1.0, 7.0, 1.0], [2.0, 0.0, 2.0], [1.0, 0.0, -1.0]], [1.0, 1.0, 0.0]),
        Rectifier(),
        Dense([[1.0, 1.0, 1.0]]),
    )
    result = shrunk(network)
    assert kinds(result) == ["Remove", "Merge"]
    assert [node.width for node in result.after.layers if hasattr(node, "width")] == []
    assert result.after.neurons == 4


# ---------------------------------------------------------------------------------------------------- folding


def test_wholly_active_layer_folds_into_one_matrix() -> None:
    """[2, 3] ([1 2; 3 4] x + [1, 2]) is [11, 16] x + 8: one dense layer with 3 parameters in place of 9."""
    network = chain((2,), Dense([[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0]), Rectifier(), Dense([[2.0, 3.0]], [0.0]))
    result = shrunk(network)
    (node,) = result.network.nodes
    assert isinstance(node.layer, Dense)
    assert (node.name, node.layer.weight.tolist(), node.layer.bias.tolist()) == ("2", [[11.0, 16.0]], [8.0])
    assert kinds(result) == ["Fold"]
    assert result.deviation_bound == 0.0


def test_narrow_active_layer_folds_without_growing() -> None:
    """Three inputs, one active unit, three outputs: the layers stay apart, the rectifier becomes a slope or nothing."""
    network = chain((3,), Dense([[1.0, 2.0, 3.0]], [1.0]), Rectifier(2.0), Dense([[1.0], [2.0], [3.0]]))
    box = Box(np.zeros(3), np.ones(3))
    result = compress(network, interval_report(network, box))
    assert [type(node.layer) for node in result.network.nodes] == [Dense, Scale, Dense]
    assert result.after.neurons == 0
    plain = chain((3,), Dense([[1.0, 2.0, 3.0]], [1.0]), Rectifier(), Dense([[1.0], [2.0], [3.0]]))
    folded = compress(plain, interval_report(plain, box))
    assert [node.name for node in folded.network.nodes] == ["0", "2"]
    assert np.array_equal(folded.network.forward(points(box, (3,))), plain.forward(points(box, (3,))))


def test_layer_folds_when_the_rest_of_it_is_dead() -> None:
    """One dead and one active unit: the dead one is removed, then the layer is linear and goes."""
    network = chain((2,), Dense([[1.0, 2.0], [1.0, 1.0]], [1.0, -3.0]), Rectifier(), Dense([[2.0, 3.0]], [0.0]))
    result = shrunk(network)
    assert kinds(result) == ["Remove", "Fold"]
    assert result.after.neurons == 0


def test_linear_rectifier_folds_without_any_verdict() -> None:
    """Slopes (3, 3) are a scaling by 3, proved by looking at them."""
    network = chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -1.0]), Rectifier(3.0, 3.0), Dense([[1.0, 1.0]]))
    result = shrunk(network)
    assert kinds(result) == ["Fold"]
    assert result.network.nodes[0].layer.weight.tolist() == [[6.0, 0.0]]  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------- collapsing


def test_wholly_inactive_layer_collapses_the_network() -> None:
    """Both units are dead, so the output is the offset 7 and no layer with neurons is left."""
    network = chain((2,), Dense(np.ones((2, 2)), [-3.0, -4.0]), Rectifier(), Dense([[1.0, 2.0]], [7.0]))
    result = shrunk(network)
    assert kinds(result)[-1] == "Collapse"
    assert isinstance(result.edits[-1], Collapse)
    assert result.edits[-1].value.tolist() == [7.0]
    assert (result.after.neurons, result.after.parameters) == (0, 1)
    assert result.deviation_bound == 0.0


def test_collapse_runs_through_later_layers() -> None:
    """The constant runs through an unstable layer behind the dead one, rounding and all."""
    network = chain(
        (2,),
        Dense(np.ones((2, 2)), [-3.0, -4.0]),
        Rectifier(),
        Dense(np.ones((3, 2)), [0.1, -0.2, 0.3]),
        Rectifier(0.7),
        Dense([[0.1, 0.2, 0.3], [1.0, 1.0, 1.0]], [0.0, 0.5]),
    )
    result = shrunk(network)
    assert result.after.neurons == 0
    assert result.deviation_bound < 1e-15


def test_inactive_layer_with_a_bypass_does_not_collapse() -> None:
    """A residual x + W relu(dead) + b is x + b: the branch goes, the function of x stays."""
    nodes = [
        Node("fc1", Dense(np.ones((2, 2)), [-3.0, -4.0]), (INPUT,)),
        Node("relu", Rectifier(), ("fc1",)),
        Node("fc2", Dense(np.ones((2, 2)), [5.0, 6.0]), ("relu",)),
        Node("sum", Add(), ("fc2", INPUT)),
        Node("out", Dense([[1.0, 10.0]]), ("sum",)),
    ]
    result = shrunk(Network((2,), nodes))
    assert kinds(result) == ["Remove"]
    assert [(node.name, type(node.layer)) for node in result.network.nodes] == [("sum", Scale), ("out", Dense)]
    assert result.network.forward([0.25, 0.5]).tolist() == [5.25 + 65.0]
    assert result.deviation_bound == 0.0


def test_zero_width_networks_compress() -> None:
    """A network with a layer of no neurons is a legal one, and collapses or shrinks like any other."""
    network = chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((2, 0)), [1.0, 2.0]))
    result = compress(network, report_of(network, SQUARE, []))
    assert result.network.forward(np.zeros((3, 2))).tolist() == [[1.0, 2.0]] * 3
    assert result.after.neurons == 0
    mixed = chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((2, 0)), [1.0, -2.0]), Rectifier())
    verdicts = [verdict("3", 0, 1.0, 1.0), verdict("3", 1, -2.0, -2.0)]
    assert compress(mixed, report_of(mixed, SQUARE, verdicts)).network.forward([0.0, 0.0]).tolist() == [1.0, 0.0]


def test_network_without_rectifiers_comes_back() -> None:
    """There is nothing to do in an affine network."""
    network = chain((2,), Dense([[1.0, 2.0]], [3.0]))
    result = compress(network, report_of(network, SQUARE, []))
    assert result.network.digest == network.digest
    assert (result.edits, result.deviation_bound) == ((), 0.0)


def test_rectifier_as_output_keeps_its_channels() -> None:
    """The output keeps its shape; a dead output stays as a zero, and its row goes."""
    network = chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -3.0]), Rectifier())
    result = shrunk(network)
    assert result.network.output_shape == (2,)
    assert result.network.nodes[0].layer.weight.tolist() == [[1.0, -1.0]]  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------- residual networks


@pytest.mark.parametrize("dead", ["relu0", "relu1", "relu2"])
def test_removal_at_every_position_of_a_residual_network(dead: str) -> None:
    """A neuron dies before, inside and after the residual branch; the other values still add up, verbatim."""
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(4, n)) for n in (2, 4, 4)]
    biases = {name: -weight.sum(axis=1) / 2 for name, weight in zip(("relu0", "relu1", "relu2"), weights, strict=True)}
    biases[dead][2] = -100.0
    nodes = [
        Node("fc0", Dense(weights[0], biases["relu0"]), (INPUT,)),
        Node("relu0", Rectifier(), ("fc0",)),
        Node("fc1", Dense(weights[1], biases["relu1"]), ("relu0",)),
        Node("relu1", Rectifier(), ("fc1",)),
        Node("fc2", Dense(weights[2], biases["relu2"]), ("relu1",)),
        Node("add", Add(), ("fc2", "relu0")),
        Node("relu2", Rectifier(), ("add",)),
        Node("out", Dense(rng.normal(size=(2, 4))), ("relu2",)),
    ]
    network = Network((2,), nodes)
    result = shrunk(network)
    removed = {edit.layer: edit.channels for edit in result.edits if isinstance(edit, Remove)}
    assert 2 in removed[dead]
    assert result.network.width(dead) == 4 - len(removed[dead])
    assert result.deviation_bound == 0.0


# ---------------------------------------------------------------------------------------------------- properties


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_compression_is_exact_final_and_bounded(seed: int) -> None:
    """On random networks with planted structure the result is equal, compresses no further, and the bound holds.

    The bound is compared with differences in exact rational arithmetic.
    """
    network, domain = planted(np.random.default_rng(seed), 2)
    result = shrunk(network, domain)
    for x in points(domain, (2,), count=4, seed=seed):
        exact = [exact_values(net, x)[net.output] for net in (network, result.network)]
        for bound, old, new in zip(result.deviation.reshape(-1).tolist(), *exact, strict=True):
            assert abs(old - new) <= bound


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_zero_tolerance_is_exact_in_rational_arithmetic(seed: int) -> None:
    """With tolerance 0 every difference is exactly 0, not just small."""
    network, domain = planted(np.random.default_rng(seed), 2)
    result = compress(network, true_report(network, domain, exact_ranges(network, domain)), tolerance=0)
    assert result.deviation_bound == 0.0
    for x in points(domain, (2,), count=3, seed=seed):
        assert exact_values(network, x)[network.output] == exact_values(result.network, x)[result.network.output]


def test_positive_tolerance_fixes_what_hardly_moves() -> None:
    """A neuron unstable by 1e-7 behind weight 3 becomes the middle of [0, 1e-7], at a proved cost of 1.5e-7."""
    network = chain((2,), Dense([[1.0, -1.0], [1e-7, -2e-7]]), Rectifier(), Dense([[1.0, 3.0], [2.0, 0.0]], [0.0, 0.0]))
    report = true_report(network, SQUARE, exact_ranges(network, SQUARE))
    assert compress(network, report).edits == ()
    assert compress(network, report, tolerance=1e-7).edits == ()
    result = compress(network, report, tolerance=2e-7)
    (edit,) = result.edits
    assert isinstance(edit, Fix)
    assert edit.channels == (1,)
    assert edit.values[0] == pytest.approx(5e-8)
    assert 1.49e-7 < result.deviation_bound < 1.51e-7
    assert result.deviation[1] == 0.0
    x = points(SQUARE, (2,))
    assert 1e-7 < np.abs(result.network.forward(x) - network.forward(x)).max() <= result.deviation_bound


def test_positive_tolerance_leaves_undecided_neurons_alone() -> None:
    """Bounds that leave the sign open fix nothing, however close they are, while nothing else is known."""
    network = chain((2,), Dense([[1.0, -1.0], [1e-9, -2e-9]]), Rectifier(), Dense([[1.0, 1.0]]))
    assert compress(network, interval_report(network, SQUARE), tolerance=1.0).edits == ()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.3, 10.0]))
def test_positive_tolerance_is_never_exceeded(seed: int, tolerance: float) -> None:
    """The proved deviation of all edits together stays within the tolerance, and covers the exact differences."""
    network, domain = planted(np.random.default_rng(seed), 2)
    result = compress(network, true_report(network, domain, exact_ranges(network, domain)), tolerance=tolerance)
    assert result.deviation_bound <= tolerance
    for x in points(domain, (2,), count=4, seed=seed):
        exact = [exact_values(net, x)[net.output] for net in (network, result.network)]
        for bound, old, new in zip(result.deviation.reshape(-1).tolist(), *exact, strict=True):
            assert abs(old - new) <= bound


def test_planted_structure_of_every_kind_is_found() -> None:
    """Among random networks with planted structure every kind of edit occurs."""
    found: set[str] = set()
    for seed in range(40):
        network, domain = planted(np.random.default_rng(seed), 2)
        found |= set(kinds(compress(network, true_report(network, domain, exact_ranges(network, domain)))))
    assert found == {kind.__name__ for kind in (Remove, Fix, Join, Merge, Fold, Collapse)}


def test_bad_tolerance_and_data_are_refused() -> None:
    """A tolerance is "rounding" or a number >= 0, and data must fit the network."""
    network = diamond()
    report = true_report(network, SQUARE, exact_ranges(network, SQUARE))
    for tolerance in (-1.0, np.nan, np.inf, "exact", True, None):
        with pytest.raises(MilpcompError, match="tolerance"):
            compress(network, report, tolerance=tolerance)  # type: ignore[arg-type]
    with pytest.raises(MilpcompError, match=r"shape \(N, \*\(2,\)\)"):
        compress(network, report, data=np.zeros((4, 3)))


def test_summary_and_measured_gap() -> None:
    """The summary states counts, edits, the proved bound and the measured gap with its number of inputs."""
    network = diamond()
    report = true_report(network, SQUARE, exact_ranges(network, SQUARE))
    result = compress(network, report, data=np.random.default_rng(0).random((123, 2)))
    assert (result.samples, result.measured_gap) == (123, 0.0)
    text = result.summary()
    for piece in ("neurons 2 -> 1", "parameters 9 -> 4", "1 channel(s) removed", "proved deviation: 0", "123 inputs"):
        assert piece in text


@pytest.mark.parametrize("slopes", [(1e10, 1e-300), (1e-300, 1e10)])
def test_merges_beyond_the_range_of_floats_are_left_alone(slopes: tuple[float, float]) -> None:
    """One of two equal rows is 1e310 times the other behind the rectifier: either way round, no merge overflows."""
    rows = Dense([[-1.0, -1.0], [-1.0, -1.0]], [-1.0, -1.0])
    network = chain((2,), rows, Rectifier(1.0, np.array(slopes)), Dense([[1.0, 1.0]]))
    assert kinds(shrunk(network, tolerance=0)) == ["Fold"]


def test_collapse_beyond_the_range_of_floats_is_left_alone() -> None:
    """The output is 1e200 * 1e200 everywhere, which no float holds: the network stays, and nothing is raised."""
    network = chain((2,), Dense([[0.0, 0.0]], [1e200]), Rectifier(), Dense([[1e200]]))
    with np.errstate(all="ignore"):
        result = compress(network, interval_report(network, SQUARE))
    assert "Collapse" not in kinds(result)
    assert exact_values(result.network, np.zeros(2))[result.network.output] == exact_values(network, np.zeros(2))["2"]


def test_output_of_a_rectifier_with_removed_channels() -> None:
    """Where the output itself reads removed channels next to linear ones, the layer is neither folded nor an error."""
    network = chain((2,), Dense([[1.0, 0.0], [0.0, 1.0]], [1.0, -2.0]), Rectifier())  # active, inactive on [0, 1]^2
    smaller = compress(network, interval_report(network, Box(0.0, 1.0).fit((2,))))
    x = np.array([[0.25, 0.75]])
    assert smaller.network.forward(x).tolist() == [[1.25, 0.0]]
    assert smaller.deviation_bound == 0
