"""Networks on whose numbers complete verifiers err, each with the truth about its last layer by construction.

All have two inputs, so that `tests.oracle.exact_ranges` confirms the truth about every neuron in rational arithmetic.
The target's truth is the pair of signs of its minimum and maximum over the box: (-1, 0) is stably inactive up to a tie,
(-1, 1) unstable, (1, 1) stably active, (0, 0) identically zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.domain import Box
from milpcomp.network import Dense, Network, Rectifier
from tests.nets import chain

UNIT = Box(np.full(2, -1.0), np.full(2, 1.0))


@dataclass(frozen=True)
class Hard:
    """A network, a box, and the signs of the minimum and the maximum of the first neuron of its last layer."""

    name: str
    network: Network
    box: Box
    signs: tuple[int, int]


def layers(*pairs: tuple[ArrayLike, ArrayLike], slopes: tuple[float, float] = (1.0, 0.0)) -> Network:
    """Return dense layers (weight, bias), a rectifier after each."""
    return chain((2,), *(layer for w, b in pairs for layer in (Dense(w, b), Rectifier(*slopes))))


def box(lower: ArrayLike, upper: ArrayLike) -> Box:
    """Return a box."""
    return Box(np.asarray(lower, dtype=float), np.asarray(upper, dtype=float))


def folded(maximum: float, scale: float = 1.0, centre: float = 0.0) -> Network:
    """Return scale * (maximum - |x - centre|), which intervals do not see: |.| is two rectifiers."""
    first = [[1.0, 0.0], [-1.0, 0.0]], [-centre, centre]
    return layers(first, ([[-scale, -scale]], [scale * maximum]))


def covering(cost: list[float], row: list[float], demand: float, level: float) -> Network:
    """Return level - cost @ x - 8 max(0, demand - row @ x): its maximum is level less the covering optimum."""
    first = [[1.0, 0.0], [0.0, 1.0], [-row[0], -row[1]]], [0.0, 0.0, demand]
    return layers(first, ([[-cost[0], -cost[1], -8.0]], [level]))


def switch(size: float, threshold: float, sign: float = 1.0) -> Network:
    """Return sign * ((x + size) - size - threshold): a large weight that floats cannot see x beside."""
    return layers(([[1.0, 0.0]], [size]), ([[sign]], [-sign * size]), ([[1.0]], [-threshold]))


def published() -> Iterator[Hard]:
    """Yield what solvers were seen to get wrong."""
    yield Hard("maximum within a MIP tolerance", folded(1e-6), UNIT, (-1, 1))
    yield Hard("maximum within a MIP tolerance, scaled down", folded(1e-6, 1e-3), UNIT, (-1, 1))
    small = layers(([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0] * 3), ([[9e-10, -1.0, -1.0]], [-0.004]))
    yield Hard("coefficient below 1e-9", small, box([0.0, -1.0], [1e7, 1.0]), (-1, 1))
    for level, most in ((19.25, 1), (19.125, -1)):
        optimum = covering([8.0, 6.0], [5.0, 3.0], 12.0, level)
        yield Hard(f"optimum 19.2 against {level}", optimum, box([0.0, 0.0], [10.0, 10.0]), (-1, most))
    for level, most in ((10.5, 1), (10.0, 0), (9.5, -1)):
        optimum = covering([4.0, 4.0], [1.0, 1.0], 2.5, level)
        yield Hard(f"optimum 10 against {level}", optimum, box([0.0, 0.0], [10.0, 10.0]), (-1, most))
    yield Hard("maximum between whole numbers", folded(0.25, centre=0.5), box([0.0, 0.0], [1.0, 1.0]), (-1, 1))
    yield Hard("a tie at 0 is no witness", folded(0.0), UNIT, (-1, 0))


def switches() -> Iterator[Hard]:
    """Yield planted switches that round-off hides, and such that it makes up."""
    for size in (2.0**53, 1e17, 1e30):
        yield Hard(f"switch behind {size:.3g}", switch(size, 0.25), UNIT, (-1, 1))
        yield Hard(f"no switch behind {size:.3g}", switch(size, 1.0), UNIT, (-1, 0))
        yield Hard(f"falling switch behind {size:.3g}", switch(size, 0.25, -1.0), UNIT, (-1, 1))
        yield Hard(f"switch out of reach behind {size:.3g}", switch(size, 1.25), UNIT, (-1, -1))
    cancel = layers(([[1e16, 0.0], [1e16, 1.0]], [1e16, 1e16]), ([[-1.0, 1.0]], [-0.5]))
    yield Hard("difference of large twins", cancel, UNIT, (-1, 1))
    # 3 fl(0.1) - fl(0.3) is 2^-55 in truth and 2^-54 in floats
    tenth = layers(([[0.1, 0.0]], [0.0]), ([[3.0]], [-0.3]))
    yield Hard("three tenths", tenth, box([0.0, 0.0], [1.0, 1.0]), (-1, 1))
    yield Hard("three tenths less", tenth, box([0.0, 0.0], [1.0 - 2.0**-52, 1.0]), (-1, -1))


def wide_rows() -> Iterator[Hard]:
    """Yield weights from 1e-12 to 1e12 in one row."""
    first = [[1e12, 1e-12], [-1e12, 1e-12], [1e-12, 1.0]], [0.0, 0.0, 0.0]
    yield Hard("1e12 beside 1e-12", layers(([[1e12, 1e-12]], [-1e12])), UNIT, (-1, 1))
    yield Hard("1e12 beside -1e-12", layers(([[1e12, -1e-12]], [-1e12])), box([-1.0, 0.0], [1.0, 1.0]), (-1, 0))
    # h1 + h2 >= 2e-12 max(0, y) up to one corner of the rectifiers; their sum is 1e12 |x| and more
    yield Hard("1e12 in the layer below", layers(first, ([[-1.0, -1.0, 0.0]], [1e-12])), UNIT, (-1, 1))
    yield Hard("1e12 in the layer below, tied", layers(first, ([[-1.0, -1.0, 0.0]], [0.0])), UNIT, (-1, 0))
    yield Hard("1e12 over 1e-12", layers(first, ([[1e-12, 1e-12, 1e12]], [-1e12])), UNIT, (-1, 1))


def denormals() -> Iterator[Hard]:
    """Yield numbers that some hardware flushes to zero."""
    tiny = 5e-324
    yield Hard("smallest bias", layers(([[0.0, 0.0]], [tiny])), UNIT, (1, 1))
    yield Hard("smallest weight", layers(([[tiny, 0.0]], [0.0])), UNIT, (-1, 1))
    yield Hard("smallest weight, half the box", layers(([[-tiny, 0.0]], [0.0])), box([0.0, 0.0], [1.0, 1.0]), (-1, 0))
    yield Hard("denormals cancel", layers(([[1e-310, 1e-310]], [-2e-310])), UNIT, (-1, 0))
    deep = layers(([[1e-310, 0.0], [-1e-310, 0.0]], [0.0, 0.0]), ([[-1.0, -1.0]], [tiny]))
    yield Hard("smallest bias in the second layer", deep, UNIT, (-1, 1))
    product = layers(([[1e-200, 0.0]], [0.0]), ([[1e-200]], [0.0]))
    yield Hard("product that underflows", product, UNIT, (0, 1))
    back = layers(([[1e-300, 0.0]], [0.0]), ([[1e300]], [-0.5]))
    yield Hard("denormal and back", back, UNIT, (-1, 1))


def near_zero() -> Iterator[Hard]:
    """Yield maxima of exactly 0, and a hair beside it."""
    ulp = 2.0**-52
    for gap in (0.0, ulp, -ulp, 1e-9, -1e-9, 1e-6, -1e-6):
        sign = int(np.sign(gap))
        yield Hard(f"maximum {gap:.2g} in layer 1", layers(([[-1.0, -1.0]], [-2.0 + 2.0 * gap])), UNIT, (-1, sign))
        yield Hard(f"maximum {gap:.2g} of a fold", folded(gap, 1.0), UNIT, (-1, sign))
        steep = layers(([[0.7, 0.0], [-0.7, 0.0]], [0.0, 0.0]), ([[0.3, 0.3]], [gap]))
        yield Hard(f"minimum {gap:.2g} of a fold", steep, UNIT, (sign, 1))


def twins() -> Iterator[Hard]:
    """Yield identical rows with opposite signs."""
    rows = [[0.1, 0.7], [-0.1, -0.7]], [0.3, -0.3]
    yield Hard("rows of opposite signs", layers(rows), UNIT, (-1, 1))
    same = [[0.1, 0.7], [0.1, 0.7]], [0.3, 0.3]
    yield Hard("twins cancel", layers(same, ([[1.0, -1.0]], [0.0])), UNIT, (0, 0))
    yield Hard("twins cancel but for a bias", layers(same, ([[1.0, -1.0]], [1e-15])), UNIT, (1, 1))
    yield Hard("twins leave less than nothing", layers(same, ([[1.0, -1.0]], [-1e-15])), UNIT, (-1, -1))
    # relu(g) - relu(-g) = g, so that g - g remains, in three rectifiers
    three = [[0.1, 0.7], [-0.1, -0.7], [0.1, 0.7]], [0.25, -0.25, 8.25]
    yield Hard("opposite rows make their sum", layers(three, ([[1.0, -1.0, -1.0]], [8.0])), UNIT, (0, 0))


def decimals() -> Iterator[Hard]:
    """Yield float32 weights that are not what their decimal text says."""
    tenth, third, seven = (float(np.float32(x)) for x in (0.1, 0.3, 0.7))
    most = int(np.sign(np.sign(tenth + tenth + tenth - third)))  # 0 by the text, and -7e-9 in truth
    three = layers(([[tenth, 0.0]] * 3, [0.0] * 3), ([[1.0, 1.0, 1.0]], [-third]))
    yield Hard("0.1 + 0.1 + 0.1 - 0.3 in float32", three, box([0.0, 0.0], [1.0, 1.0]), (-1, most))
    whole = layers(([[seven, third]], [-1.0]))  # 0.7 + 0.3 - 1 = 0 by the text
    yield Hard("0.7 + 0.3 - 1 in float32", whole, box([0.0, 0.0], [1.0, 1.0]), (-1, int(np.sign(seven + third - 1.0))))
    fold = layers(([[seven, 0.0], [-seven, 0.0]], [0.0, 0.0]), ([[-1.0, -1.0]], [0.0]))
    yield Hard("a tie of float32 weights", fold, UNIT, (-1, 0))


def boxes() -> Iterator[Hard]:
    """Yield huge boxes, and boxes without an inside."""
    for size in (1e15, 1e30, 1e150):
        huge = box([-size, -size], [size, size])
        yield Hard(f"box of {size:.3g}", folded(1e-3), huge, (-1, 1))
        yield Hard(f"box of {size:.3g}, tied", folded(0.0), huge, (-1, 0))
    yield Hard("box up to overflow", layers(([[1.0, 1.0]], [1.0])), box([-1e308, -1e308], [1e308, 1e308]), (-1, 1))
    point = box([0.3, -0.7], [0.3, -0.7])
    # fl(0.3) + fl(0.7) is less than 1, and 1 in floats
    yield Hard("point", layers(([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [1.0])), point, (1, 1))
    yield Hard("point at a kink", folded(0.0, centre=0.3), point, (0, 0))
    face = box([0.5, -1.0], [0.5, 1.0])
    yield Hard("face", folded(0.25), face, (-1, -1))
    yield Hard("face where the maximum is 0", folded(0.5), face, (0, 0))
    yield Hard("sliver", folded(0.5), box([0.5, -1.0], [0.5 + 2.0**-53, 1.0]), (-1, 0))


def all_cases() -> list[Hard]:
    """Return all of them."""
    families = (published, switches, wide_rows, denormals, near_zero, twins, decimals, boxes)
    return [case for family in families for case in family()]
