"""Exact pictures on a plane, against hand arithmetic, against sampling, and before against after compression."""

from __future__ import annotations

import numpy as np
import pytest

import milpcomp as mc
from analyses import slices
from analyses.slices import Plane
from milpcomp.network import INPUT, Dense, Network, Node, Rectifier
from tests.nets import chain, diamond, mlp, planted, residual_cnn

SQUARE = mc.Box(0.0, 1.0)


def whole(network: Network) -> tuple[Plane, slices.Slice]:
    """Return a network with two inputs on the whole of [0, 1]^2, in the coordinates of its inputs."""
    plane = Plane.through(np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    return plane, slices.slice_through(network, plane, [plane.window(SQUARE)])


def areas(found: slices.Slice) -> float:
    """Return the area of all cells together."""
    return sum(slices.area(cell.polygon) for cell in found.cells)


def inside(polygon: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Tell which points (N, 2) lie in a convex polygon, its border left out."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    away = p[:, None] - polygon[None]
    turn = edge[:, 0] * away[..., 1] - edge[:, 1] * away[..., 0]
    return (turn > 1e-9).all(axis=1) | (turn < -1e-9).all(axis=1)


def test_the_diamond_has_two_regions_and_one_crease() -> None:
    """g1 = x1 - x2 switches on the diagonal; g2 is stably inactive and leaves no line; y is x1 - x2 - 1, and -1."""
    _, found = whole(diamond())
    assert sorted(slices.area(cell.polygon) for cell in found.cells) == pytest.approx([0.5, 0.5])
    outputs = {tuple(cell.active.tolist()): cell.output[:, 0].tolist() for cell in found.cells}
    assert outputs[True, False] == pytest.approx([-1.0, 1.0, -1.0])
    assert outputs[False, False] == pytest.approx([-1.0, 0.0, 0.0])
    (crease,) = found.creases
    assert (crease.layer, crease.unit) == (0, 0)
    assert np.sort(crease.segment, axis=0).tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_a_second_layer_bends_where_the_first_does() -> None:
    """With h = |x - 1/2| and k = max(0, h - 1/4) there are creases at 1/2, 1/4 and 3/4, and four regions."""
    network = chain(
        (2,), Dense([[1.0, 0.0]], [-0.5]), Rectifier(1.0, -1.0), Dense([[1.0]], [-0.25]), Rectifier(), Dense([[2.0]])
    )
    _, found = whole(network)
    where = sorted((c.layer, float(c.segment[0, 0]), float(c.segment[1, 0])) for c in found.creases)
    assert where == [(0, 0.5, 0.5), (1, 0.25, 0.25), (1, 0.75, 0.75)]
    slopes = {round(float(c.polygon[:, 0].mean()), 3): c.output[1, 0] for c in found.cells}
    assert slopes == {0.125: -2.0, 0.375: 0.0, 0.625: 0.0, 0.875: 2.0}


def test_rectifiers_without_a_bend_leave_no_line() -> None:
    """Slopes (2, 2) are linear: one region, whatever the sign."""
    network = chain((2,), Dense([[1.0, -1.0]]), Rectifier(2.0, 2.0), Dense([[1.0]]))
    assert len(whole(network)[1].cells) == 1


def test_lines_through_one_point_and_along_borders_make_no_slivers() -> None:
    """Three lines through the middle make six regions, and a neuron that is zero along an edge of the square none."""
    rows = [[1.0, -1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    network = chain((2,), Dense(rows, [0.0, -1.0, -0.5, 0.0]), Rectifier(), Dense(np.ones((1, 4))))
    _, found = whole(network)
    assert len(found.cells) == 6
    assert min(slices.area(cell.polygon) for cell in found.cells) == pytest.approx(0.125)


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_that_a_grid_of_points_finds(seed: int) -> None:
    """Every grid point lies in one region, whose phases and affine function are the network's own there."""
    rng = np.random.default_rng(seed)
    network = mlp([2, 7, 6, 3], rng, positive=None if seed % 2 else 1.0, negative=None if seed > 1 else 0.0)
    plane, found = whole(network)
    steps = (np.arange(150) + 0.5) / 150
    p = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    g = np.concatenate([*network.pre_activations(plane.lift(p)).values()], axis=1)
    y = network.forward(plane.lift(p))
    met = np.zeros(len(p), dtype=int)
    layers = [(node.layer, network.shape(node.name)) for node in network.rectifiers]
    bends = np.concatenate([np.not_equal(*own.slopes(shape)) for own, shape in layers if isinstance(own, Rectifier)])
    for cell in found.cells:
        own = inside(cell.polygon, p)
        met += own
        np.testing.assert_allclose(slices.affine(cell.output, p[own]), y[own], atol=1e-9)
        assert ((g[own] > 0) == cell.active)[:, bends].all()
    assert met.max() == 1
    assert met.mean() > 0.99  # the others lie on borders
    assert areas(found) == pytest.approx(1.0)


def test_the_function_is_continuous_over_creases() -> None:
    """The affine functions on both sides of a crease agree on it."""
    _, found = whole(mlp([2, 8, 8, 2], np.random.default_rng(5)))
    checked = 0
    for crease in found.creases:
        middle = crease.segment.mean(axis=0)
        near = [cell for cell in found.cells if _touches(cell, middle)]
        values = np.array([slices.affine(cell.output, middle[None])[0] for cell in near])
        assert len(near) >= 2
        np.testing.assert_allclose(values, values[:1].repeat(len(values), axis=0), atol=1e-9)
        checked += 1
    assert checked > 10


def _touches(cell: slices.Cell, p: np.ndarray) -> bool:
    """Tell whether a point lies in a cell, its border included."""
    edge = np.roll(cell.polygon, -1, axis=0) - cell.polygon
    turn = edge[:, 0] * (p[1] - cell.polygon[:, 1]) - edge[:, 1] * (p[0] - cell.polygon[:, 0])
    return bool((turn >= -1e-9).all() or (turn <= 1e-9).all())


def test_networks_with_every_kind_of_layer_are_sliced() -> None:
    """A residual network on images is on a plane through three of them what its cells say."""
    rng = np.random.default_rng(1)
    network = residual_cnn(rng)
    x = 0.5 + 0.05 * rng.random((3, 2, 6, 6))
    plane = Plane.through(*x)
    found = slices.slice_through(network, plane, [plane.locate(x)])
    assert len(found.cells) > 3
    for cell in found.cells:
        assert (cell.active.size, cell.output.shape) == (sum(network.width(n.name) for n in network.rectifiers), (3, 4))
        np.testing.assert_allclose(
            slices.affine(cell.output, cell.polygon), network.forward(plane.lift(cell.polygon)), atol=1e-9
        )


def test_planes_meet_boxes_in_the_polygon_of_all_points_inside() -> None:
    """The plane x1 + x2 + x3 = 1.5 meets the unit cube in a regular hexagon; three points of one line are refused."""
    plane = Plane.through(np.full(3, 0.5), np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.0, 1.0]))
    window = plane.window(SQUARE)
    assert len(window) == 6
    assert slices.area(window) == pytest.approx(0.75 * np.sqrt(3))
    np.testing.assert_allclose(plane.locate(plane.lift(window)), window, atol=1e-12)
    with pytest.raises(ValueError, match="one line"):
        Plane.through(np.zeros(3), np.ones(3), np.full(3, 2.0))


def test_the_greatest_output_changes_where_hand_arithmetic_says() -> None:
    """Of -x, x and 1/4 - y/4 on a square around 0, the third wins only inside, and borders are where two are equal."""
    network = chain((2,), Dense([[-1.0, 0.0], [1.0, 0.0], [0.0, -0.25]], [0.5, -0.5, 0.25]))
    _, found = whole(network)
    (cell,) = found.cells
    pieces = slices.decisions(cell)
    assert {i: slices.area(piece) for i, piece in pieces.items()} == pytest.approx({0: 0.375, 1: 0.375, 2: 0.25})
    segments = {(i, j): np.sort(segment, axis=0) for i, j, segment in slices.boundaries(cell, pieces)}
    np.testing.assert_allclose(segments[0, 2], [[0.25, 0.0], [0.5, 1.0]])
    np.testing.assert_allclose(segments[1, 2], [[0.5, 0.0], [0.75, 1.0]])
    assert (0, 1) not in segments  # they meet in one point only


def test_classes_win_where_sampling_sees_them_win() -> None:
    """At random points of every piece the class of the piece has the greatest output."""
    rng = np.random.default_rng(2)
    network = mlp([2, 9, 5], rng)
    plane, found = whole(network)
    won = set()
    for cell in found.cells:
        for i, polygon in slices.decisions(cell).items():
            p = rng.dirichlet(np.ones(len(polygon)), size=20) @ polygon
            y = network.forward(plane.lift(p))
            assert (y[:, i] >= y.max(axis=1) - 1e-9).all()
            won.add(i)
    assert len(won) > 1
    total = sum(slices.area(piece) for cell in found.cells for piece in slices.decisions(cell).values())
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(6))
def test_compression_keeps_the_function_and_adds_no_line(seed: int) -> None:
    """On the cells of the smaller network the first one has its own regions and no more, and equals it throughout."""
    rng = np.random.default_rng(seed)
    network, domain = planted(rng, 2)
    if (domain.lower == domain.upper).any():
        domain = mc.Box(domain.lower, domain.upper + 1.0)
    corner = domain.lower
    plane = Plane.through(corner, *(corner + np.eye(2)))
    window = plane.window(domain)
    result = mc.compress(network, mc.certify(network, domain))
    before, after = (slices.slice_through(net, plane, [window]) for net in (network, result.network))
    joint = slices.slice_through(network, plane, [cell.polygon for cell in after.cells])
    assert len(after.cells) <= len(before.cells) == len(joint.cells)
    assert slices.greatest_difference(network, result.network, joint) <= result.deviation_bound + 1e-9


def test_a_wrong_smaller_network_is_seen() -> None:
    """If a needed neuron is taken away, the greatest difference says by how much: here 1, at a corner."""
    network = diamond()
    wrong = Network((2,), [Node("out", Dense([[0.0, 0.0]], [-1.0]), (INPUT,))])
    plane, after = whole(wrong)
    joint = slices.slice_through(network, plane, [cell.polygon for cell in after.cells])
    assert slices.greatest_difference(network, wrong, joint) == pytest.approx(1.0)
