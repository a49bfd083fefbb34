"""The canonical form computes what the network computes, and says how far its numbers are rounded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from milpcomp.network import INPUT, Add, Concat, Dense, Network, Node, Permute, Rectifier, Reshape, Scale, Take
from milpcomp.network.canonical import canonical, rounding
from tests.nets import chain, diamond, mlp, residual_cnn


def joined() -> Network:
    """Return a network on (2, 3) with two branches, a permutation and a concatenation along the second axis.

    input ─┬─ relu ──────────────── concat ─ flatten ─ dense ─ relu ─ add (with itself)
           └─ double ─ take column 2, nothing ─┘
    """
    rng = np.random.default_rng(5)
    nodes = [
        Node("relu1", Rectifier(np.array([[1.0], [-2.0]]), 0.5), (INPUT,)),
        Node("double", Scale(2.0, 1.0), (INPUT,)),
        Node("take", Take([None, [2, -1]]), ("double",)),
        Node("concat", Concat(1), ("relu1", "take")),
        Node("swap", Permute((1, 0)), ("concat",)),
        Node("flatten", Reshape((10,)), ("swap",)),
        Node("dense", Dense(rng.normal(size=(4, 10)), rng.normal(size=4)), ("flatten",)),
        Node("relu2", Rectifier(), ("dense",)),
        Node("twice", Add(), ("relu2", "relu2")),
    ]
    return Network((2, 3), nodes)


NETWORKS = {
    "diamond": diamond(),
    "rotated": mlp([3, 5, 4, 2], np.random.default_rng(0), None, None),
    "images": residual_cnn(np.random.default_rng(1)),
    "joined": joined(),
    "affine only": chain((3,), Dense(np.ones((2, 3)), [1.0, 2.0]), Scale(-1.0, 0.5)),
    "rectifiers only": chain((2,), Rectifier(1.0, -1.0), Rectifier(2.0, 0.1)),
    "nothing": Network((2,), []),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_forms_compute_the_network(name: str) -> None:
    """On random inputs every form gives the pre-activations, and the output form the output."""
    network = NETWORKS[name]
    x = np.random.default_rng(2).normal(size=(7, *network.input_shape))
    values = {node: value.reshape(7, -1) for node, value in network.values(x).items()}
    form = canonical(network)
    assert tuple(form.forms) == tuple(node.name for node in network.rectifiers)
    for node in network.rectifiers:
        np.testing.assert_allclose(form.forms[node.name].value(values), values[node.inputs[0]], rtol=1e-12, atol=1e-12)
    assert form.output is not None
    np.testing.assert_allclose(form.output.value(values), values[network.output], rtol=1e-12, atol=1e-12)


def test_plain_chain_keeps_weights_verbatim() -> None:
    """Between dense layers and rectifiers nothing is composed: the stored numbers, and no rounding."""
    network = mlp([3, 4, 2], np.random.default_rng(3))
    form = canonical(network)
    first, last = network.nodes[0].layer, network.nodes[2].layer
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    assert np.array_equal(form.forms["1"].matrices[INPUT].toarray(), first.weight)
    assert form.output is not None
    assert np.array_equal(form.output.matrices["1"].toarray(), last.weight)
    assert np.array_equal(form.output.offset, last.bias)
    assert rounding(network) == 0.0


def test_upto_leaves_out_what_is_not_needed() -> None:
    """Up to the second rectifier only it and the first have forms, and there is no output."""
    form = canonical(NETWORKS["images"], upto="relu2")
    assert list(form.forms) == ["relu1", "relu2"]
    assert form.output is None


def test_rounding_is_bounded() -> None:
    """The composed matrix of two dense layers is off by at most gamma times the composed absolute values."""
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(6, 5)), rng.normal(size=(3, 6))
    network = chain((5,), Dense(first, rng.normal(size=6)), Dense(second), Rectifier())
    form, absolute = (canonical(network, absolute=flag).forms["2"] for flag in (False, True))
    gamma = rounding(network)
    assert 0 < gamma < 1e-13
    exact = [
        [sum(Fraction(second[i, k]) * Fraction(first[k, j]) for k in range(6)) for j in range(5)] for i in range(3)
    ]
    plain, size = form.matrices[INPUT].toarray(), absolute.matrices[INPUT].toarray()
    errors = [
        abs(Fraction(plain[i, j]) - exact[i][j]) - Fraction(gamma * size[i, j]) for i in range(3) for j in range(5)
    ]
    assert max(errors) <= 0
    assert (size >= np.abs(plain) * (1 - gamma)).all()


def test_cancelling_branches_leave_no_trace_but_a_bound() -> None:
    """The sum x - x composes to zero; the absolute form still remembers 2 |x|, which is what bounds its rounding."""
    nodes = [
        Node("plus", Scale(1.0, 3.0), (INPUT,)),
        Node("minus", Scale(-1.0, -3.0), (INPUT,)),
        Node("sum", Add(), ("plus", "minus")),
        Node("relu", Rectifier(), ("sum",)),
    ]
    network = Network((2,), nodes)
    assert not canonical(network).forms["relu"].matrices[INPUT].toarray().any()
    assert canonical(network, absolute=True).forms["relu"].matrices[INPUT].toarray().tolist() == [[2, 0], [0, 2]]
    assert canonical(network, absolute=True).forms["relu"].offset.tolist() == [6.0, 6.0]
