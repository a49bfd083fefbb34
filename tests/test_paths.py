"""Filter-path lengths: golden numbers, brute-force enumeration, what counts as active, and gradient by length."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp import load
from milpcomp.domain import Box
from milpcomp.errors import DomainError, ResultError, SettingsError, UnsupportedOperatorError
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Add, Concat, Rectifier
from milpcomp.network.opaque import Gelu
from milpcomp.paths import active_filters, block_graph, filter_graph, gradient_flow, path_lengths, seed_graph
from milpcomp.stability.certify import certify

WIDE = [61, 16, 38, 20, 49, 15, 42, 27, 38, 25, 38, 62, 127, 54, 82, 37, 63, 50, 60, 44, 58, 36, 40, 128]
WIDE += [256, 153, 236, 171, 191, 172, 156, 129, 120, 57, 42, 256]
PLAIN = [64] * 12 + [128] * 12 + [256] * 12


@pytest.mark.parametrize(
    ("counts", "preset", "mean", "sd", "longest"),
    [
        (WIDE, "correct", 1574.5, 448.8, 3149),
        (PLAIN, "correct", 2688.0, 718.4, 5376),
        (WIDE, "rrelu-2022", 422.0, 113.9, 844),
        (PLAIN, "rrelu-2022", 768.0, 192.0, 1536),
    ],
)
def test_published_counts(counts: list[int], preset: str, mean: float, sd: float, longest: int) -> None:
    """The distribution of the published WRN-40-4 has its known mean, deviation and maximum, right and as printed."""
    found = path_lengths(seed_graph(counts, preset))
    assert found.mean == mean
    assert round(found.sd, 1) == sd
    assert found.maximum == longest
    assert found.paths == 2**18


def test_the_printed_maximum_is_a_sum_of_slope_widths() -> None:
    """The 1424 of the paper's text is the sum of the first 18 widths of a plain WRN-40-4's slopes."""
    assert sum([16, *[64] * 12, *[128] * 5]) == 1424


def test_hand_made_distribution() -> None:
    """Two blocks of 3 and 5 filters give the four lengths 0, 3, 5 and 8, once each."""
    found = path_lengths(block_graph([1, 2, 5, 0]))
    assert found.counts == {0: 1, 3: 1, 5: 1, 8: 1}
    assert (found.minimum, found.maximum, found.mean) == (0, 8, 4.0)
    assert found.sd == pytest.approx(math.sqrt((16 + 1 + 1 + 16) / 4))
    assert [found.quantile(q) for q in (0.0, 0.25, 0.5, 0.51, 1.0)] == [0, 0, 3, 5, 8]
    assert found.shares() == {0: 0.25, 3: 0.25, 5: 0.25, 8: 0.25}


def test_parallel_edges_count_as_ways() -> None:
    """Two edges of two and three ways make six paths."""
    graph = nx.DiGraph(source="a", sink="c")
    graph.add_node("b", length=4)
    graph.add_edge("a", "b", ways=2)
    graph.add_edge("b", "c", ways=3)
    assert path_lengths(graph).counts == {4: 6}


@st.composite
def graphs(draw: st.DrawFn) -> nx.DiGraph:
    """Random acyclic graphs of up to 8 nodes, nested and multi-branch, with at least one path."""
    count = draw(st.integers(2, 8))
    graph = nx.DiGraph(source=0, sink=count - 1)
    for node in range(count):
        graph.add_node(node, length=draw(st.integers(0, 6)))
    for start, end in itertools.combinations(range(count), 2):
        ways = draw(st.integers(0, 2))
        if ways or end == start + 1:
            graph.add_edge(start, end, ways=max(1, ways))
    return graph


def enumerated(graph: nx.DiGraph) -> Counter[int]:
    """Return the lengths of all paths, one path at a time."""
    found: Counter[int] = Counter()
    for path in nx.all_simple_paths(graph, graph.graph["source"], graph.graph["sink"]):
        ways = math.prod(graph.edges[edge]["ways"] for edge in itertools.pairwise(path))
        found[sum(graph.nodes[node].get("length", 0) for node in path)] += ways
    return found


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_agrees_with_enumeration(graph: nx.DiGraph) -> None:
    """The polynomials count exactly the paths that enumeration finds, on any graph."""
    found = path_lengths(graph)
    assert dict(found.counts) == dict(sorted(enumerated(graph).items()))
    assert found.mean == pytest.approx(np.average(list(found.counts), weights=list(found.counts.values())))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=16))
@settings(max_examples=50, deadline=None)
def test_blocks_agree_with_enumeration(weights: list[int]) -> None:
    """For blocks in a row, lengths are the sums over all subsets of the blocks: up to 2^16 of them."""
    sums = np.zeros(1, dtype=int)
    for weight in weights:
        sums = np.concatenate([sums, sums + weight])
    assert path_lengths(block_graph(weights, per_block=1)).counts == dict(sorted(Counter(sums.tolist()).items()))


def test_counts_beyond_any_float() -> None:
    """A network of 333 blocks has 2^333 paths, each of them counted."""
    found = path_lengths(block_graph([64, 64, 256] * 111 + [128, 128, 512] * 111 + [256, 256, 1024] * 111, 3))
    assert found.paths == 2**333
    assert found.mean == found.maximum / 2
    assert sum(found.shares().values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (nx.DiGraph([(0, 1), (1, 0)]), "acyclic"),
        (nx.MultiDiGraph([(0, 1), (0, 1)], source=0, sink=1), "acyclic"),
        (nx.DiGraph([(0, 1)], source=0), "'source' and 'sink'"),
        (nx.DiGraph([(0, 1)], source=1, sink=0), "path in between"),
    ],
)
def test_unusable_graphs_are_refused(graph: nx.DiGraph, words: str) -> None:
    """A cycle, a missing end, or no path between the ends is one clear error."""
    with pytest.raises(SettingsError, match=words):
        path_lengths(graph)


def test_unusable_numbers_are_refused() -> None:
    """Negative or broken lengths and ways, counts that fill no blocks, unknown presets, bad shares: refused."""
    graph = block_graph([1, 2])
    graph.nodes["block 1"]["length"] = -1
    with pytest.raises(SettingsError, match="whole number >= 0"):
        path_lengths(graph)
    graph = block_graph([1, 2])
    graph.edges[INPUT, "block 1"]["ways"] = 0
    with pytest.raises(SettingsError, match="whole number >= 1"):
        path_lengths(graph)
    for counts in ([1], [1, -2], [1, 2.5], [True, True], []):
        with pytest.raises(SettingsError, match="counts"):
            block_graph(counts)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="preset"):
        seed_graph([1, 2], "wrong")
    with pytest.raises(SettingsError, match="share"):
        path_lengths(block_graph([1, 2])).quantile(1.5)


def residual(slopes_inside: list[float], slopes_after: list[float], pre_activation: bool) -> Network:
    """Return dense stem -> block -> classifier, with the block's second rectifier after or before the addition.

    ::

        after:   stem -> relu -> [a -> inside -> b] + skip -> after -> classify
        before:  stem -> [inside -> a -> after -> b] + skip -> classify
    """
    rng = np.random.default_rng(0)
    dense = [Dense(rng.standard_normal((2, 2)), rng.standard_normal(2)) for _ in range(4)]
    inside, after = Rectifier(slopes_inside, np.zeros(2)), Rectifier(slopes_after, np.zeros(2))
    nodes = [Node("stem", dense[0], (INPUT,))]
    if pre_activation:
        nodes += [
            Node("inside", inside, ("stem",)),
            Node("a", dense[1], ("inside",)),
            Node("after", after, ("a",)),
            Node("b", dense[2], ("after",)),
            Node("add", Add(), ("b", "stem")),
            Node("classify", dense[3], ("add",)),
        ]
    else:
        nodes += [
            Node("relu", Rectifier(), ("stem",)),
            Node("a", dense[1], ("relu",)),
            Node("inside", inside, ("a",)),
            Node("b", dense[2], ("inside",)),
            Node("add", Add(), ("b", "relu")),
            Node("after", after, ("add",)),
            Node("classify", dense[3], ("after",)),
        ]
    return Network((2,), nodes)


def test_a_zero_slope_after_the_addition_kills_the_last_filter() -> None:
    """Behind an addition, a zero slope cuts the stream, so the block's last filter is not active."""
    assert active_filters(residual([1, 1], [0, 1], False)) == {"stem": 2, "a": 2, "b": 1, "classify": 2}


def test_a_zero_slope_before_a_convolution_spares_the_stream() -> None:
    """In a pre-activation block, a zero slope silences one reader of the stream, not the stream."""
    assert active_filters(residual([0, 1], [1, 1], True)) == {"stem": 2, "a": 2, "b": 2, "classify": 2}
    assert active_filters(residual([1, 1], [0, 1], True)) == {"stem": 2, "a": 1, "b": 2, "classify": 2}


def test_threshold_and_report_silence_channels() -> None:
    """Slopes up to the threshold, and channels proved stably inactive, count as silent."""
    network = residual([0.05, -1], [1, 1], False)
    assert active_filters(network)["a"] == 2
    assert active_filters(network, threshold=0.1)["a"] == 1
    steep = residual([2, 2], [2, 2], False)
    assert active_filters(steep, threshold=1.0)["stem"] == 2  # a plain ReLU has no slope that could be small
    with pytest.raises(SettingsError, match="threshold"):
        active_filters(network, threshold=-1.0)
    stem = Dense(np.eye(2), [0.0, -5.0])
    dead = Network((2,), [Node("stem", stem, (INPUT,)), Node("relu", Rectifier(), ("stem",)), *network.nodes[2:]])
    report = certify(dead, Box(0.0, 1.0).fit((2,)))
    assert active_filters(dead, report=report)["stem"] == 1
    with pytest.raises(ResultError, match="another network"):
        active_filters(network, report=report)


@pytest.mark.parametrize("pre_activation", [False, True])
def test_lengths_of_a_block(pre_activation: bool) -> None:
    """A block of two times two filters has paths of length 0 and 4; the trunk is charged only if asked for."""
    network = residual([1, 1], [1, 1], pre_activation)
    assert path_lengths(filter_graph(network)).counts == {0: 1, 4: 1}
    assert path_lengths(filter_graph(network, trunk=True)).counts == {4: 1, 8: 1}
    assert filter_graph(network).graph["trunk_filters"] == 4


def test_projections_are_shortcuts() -> None:
    """A shortcut with a projection costs nothing unless asked for; a branch beside it with a rectifier is charged."""
    one = np.ones((3, 2))
    nodes = [
        Node("stem", Dense(np.eye(2), [0, 0]), (INPUT,)),
        Node("a", Dense(one, np.zeros(3)), ("stem",)),
        Node("bend", Rectifier(), ("a",)),
        Node("b", Dense(np.eye(3), np.zeros(3)), ("bend",)),
        Node("project", Dense(one, np.zeros(3)), ("stem",)),
        Node("add", Add(), ("b", "project")),
    ]
    network = Network((2,), nodes)
    assert path_lengths(filter_graph(network)).counts == {0: 1, 6: 1}
    assert path_lengths(filter_graph(network, projections=True)).counts == {3: 1, 6: 1}


def test_three_branches_and_a_nested_block() -> None:
    """A concatenation of a copy, a layer, and a nested block of its own has four paths."""

    def dense(count: int, inputs: int = 2) -> Dense:
        return Dense(np.ones((count, inputs)), np.zeros(count))

    nodes = [
        Node("stem", dense(2), (INPUT,)),
        Node("a", dense(3), ("stem",)),
        Node("a.bend", Rectifier(), ("a",)),
        Node("b", dense(2), ("stem",)),
        Node("b.bend", Rectifier(), ("b",)),
        Node("c", dense(2), ("b.bend",)),
        Node("c.bend", Rectifier(), ("c",)),
        Node("nested", Add(), ("c.bend", "b.bend")),
        Node("all", Concat(0), ("stem", "a.bend", "nested")),
        Node("out", dense(1, 7), ("all",)),
    ]
    assert path_lengths(filter_graph(Network((2,), nodes))).counts == {0: 1, 2: 1, 3: 1, 4: 1}


def test_a_chain_has_one_path() -> None:
    """A network without branches has one path, whose length is all its filters if the trunk is charged."""
    nodes = [
        Node("conv", Conv2d(np.ones((4, 1, 3, 3)), np.zeros(4), padding=(1, 1, 1, 1)), (INPUT,)),
        Node("norm", Scale(np.ones((4, 1, 1)), np.zeros((4, 1, 1))), ("conv",)),
        Node("relu", Rectifier(np.array([1.0, 0, 1, 1]).reshape(4, 1, 1), 0.0), ("norm",)),
        Node("last", Conv2d(np.ones((2, 4, 1, 1)), np.zeros(2)), ("relu",)),
    ]
    network = Network((1, 4, 4), nodes)
    assert path_lengths(filter_graph(network, trunk=True)).counts == {5: 1}


def test_gradient_flow_by_hand() -> None:
    """With two paths of known Jacobians, the flow is their gradient norms."""
    nodes = [
        Node("double", Dense(2 * np.eye(2), np.zeros(2)), (INPUT,)),
        Node("bend", Rectifier([1.0, 1.0], 0.0), ("double",)),
        Node("half", Dense(0.5 * np.eye(2), np.zeros(2)), ("bend",)),
        Node("add", Add(), ("half", INPUT)),
    ]
    network = Network((2,), nodes)
    graph = filter_graph(network)
    x = np.array([[1.0, -1.0]])
    flow = gradient_flow(network, graph, x, labels=[0], bins=2, draws=3)
    logits = network.forward(x)[0]
    p = np.exp(logits - logits.max())
    start = p / p.sum() - np.array([1.0, 0.0])
    assert flow.paths == (1, 1)
    assert flow.norm == pytest.approx(
        [np.linalg.norm(start), abs(start[0])]
    )  # the second unit is off: 2 * 0.5 * [1, 0]
    assert flow.share == pytest.approx(flow.norm / flow.norm.sum())
    assert flow.drawn.tolist() == [3, 3]


def test_gradients_of_all_paths_add_up() -> None:
    """Along the only path of a chain, the gradient is the gradient of the loss by finite differences."""
    rng = np.random.default_rng(3)
    nodes = [
        Node("a", Dense(rng.standard_normal((5, 3)), rng.standard_normal(5)), (INPUT,)),
        Node("r", Rectifier(rng.standard_normal(5), rng.standard_normal(5)), ("a",)),
        Node("b", Dense(rng.standard_normal((4, 5)), np.zeros(4)), ("r",)),
    ]
    network, x = Network((3,), nodes), rng.standard_normal((1, 3))

    def loss(point: np.ndarray) -> float:
        logits = network.forward(point)[0]
        return float(np.log(np.exp(logits).sum()) - logits[2])

    steps = 1e-6 * np.eye(3)
    numeric = np.array([(loss(x + step) - loss(x - step)) / 2e-6 for step in steps])
    flow = gradient_flow(network, filter_graph(network), x, labels=[2], bins=1, draws=1)
    assert flow.norm[0] == pytest.approx(np.linalg.norm(numeric), rel=1e-5)


def test_gradient_flow_refuses_what_does_not_fit() -> None:
    """Inputs, labels, bins and graphs that do not fit are refused."""
    network = residual([1, 1], [1, 1], False)
    graph = filter_graph(network)
    with pytest.raises(DomainError, match="shape"):
        gradient_flow(network, graph, np.zeros((1, 3)))
    with pytest.raises(DomainError, match="labels"):
        gradient_flow(network, graph, np.zeros((1, 2)), labels=[7])
    with pytest.raises(SettingsError, match="bins"):
        gradient_flow(network, graph, np.zeros((1, 2)), bins=0)
    with pytest.raises(SettingsError, match="filter_graph"):
        gradient_flow(network, block_graph([1, 2]), np.zeros((1, 2)))


def test_published_checkpoint(shared_data: Path) -> None:
    """The authors' ResNet-20 has 512 paths; at threshold 0.1 its last block has 40 of 64 filters left."""
    network = load(
        shared_data / "nets/rrelu2024/resnet20_rrelu_cifar10.th",
        architecture="models.resnet:rotated_resnet20",
        input_shape=(3, 32, 32),
    )
    whole, cut = (path_lengths(filter_graph(network, threshold)) for threshold in (0.0, 0.1))
    assert (whole.paths, whole.maximum, whole.mean) == (512, 672, 336.0)
    assert (cut.paths, cut.maximum) == (512, 672 - 26)
    assert active_filters(network, 0.1)["layer3.2.conv2"] == 40


def test_gradient_flow_refuses_opaque_layers() -> None:
    """What is neither affine nor a rectifier has derivatives that are not known here; nothing is made up."""
    nodes = [
        Node("a", Dense(np.eye(2), np.zeros(2)), (INPUT,)),
        Node("gelu", Gelu(np.ones(2)), ("a",)),
        Node("b", Dense(np.eye(2), np.zeros(2)), ("gelu",)),
    ]
    network = Network((2,), nodes)
    with pytest.raises(UnsupportedOperatorError, match="gradient flow cannot handle 1 layer"):
        gradient_flow(network, filter_graph(network), np.ones((1, 2)))
