"""Opaque layers: what they compute, what they let through, and what refuses them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from milpcomp import Box, certify, check, compress, load
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.compression.liveness import liveness
from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.errors import NetworkError, UnsupportedOperatorError
from milpcomp.network import (
    INPUT,
    Add,
    Conv2d,
    Dense,
    Gelu,
    Layer,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    Opaque,
    Permute,
    Product,
    Rectifier,
    Reshape,
    Scale,
    Softmax,
    Take,
)
from milpcomp.network.canonical import canonical
from milpcomp.network.from_torch import network_from_module
from milpcomp.network.storage import load_network, save_network
from milpcomp.rotated import RotatedGELU, RotatedReLU
from tests.nets import chain

RNG = np.random.default_rng(7)


class Wrapped(nn.Module):
    """A function as a module, with submodules under the names given."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleDict(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.parts)


def read(function: Callable[..., Tensor], *shape: int, **parts: nn.Module) -> Network:
    """Return the network of a function, after checking that it equals the function in double."""
    module = Wrapped(function, **parts).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    network = network_from_module(module, input_shape=shape)
    x = torch.tensor(RNG.normal(size=(3, *shape)))
    assert np.abs(network.forward(x.numpy()) - module(x).detach().numpy()).max() <= 1e-12
    return network


def kinds(network: Network) -> list[str]:
    """Return the kinds of the network's layers, in order."""
    return [type(node.layer).__name__ for node in network.nodes]


def gated(rng: np.random.Generator) -> Network:
    """Return a network in which every opaque layer has dead inputs, mixes channels, or both.

    input (4, 3) ─ gelu ─ norm ─┬─ softmax ─┐
                                └─ turned ──┴─ product ─ sum with gelu ─ norm of all ─ softmax of channels ─ dense
    """
    silenced = rng.integers(0, 2, size=(4, 1)) * rng.normal(size=(4, 1))
    nodes = [
        Node("scale", Scale(rng.integers(-1, 2, size=(4, 1)), rng.integers(0, 2, size=(4, 1))), (INPUT,)),
        Node("gelu", Gelu(silenced), ("scale",)),
        Node("norm", LayerNorm(1, 1e-5), ("gelu",)),
        Node("softmax", Softmax(1), ("norm",)),
        Node("turned", Permute((1, 0)), ("norm",)),
        Node("product", Product(), ("softmax", "turned")),
        Node("cut", Take([None, [0, 2, -1]]), ("product",)),
        Node("sum", Add(), ("cut", "gelu")),
        Node("all", LayerNorm(2, 1e-5), ("sum",)),
        Node("channels", Softmax(0), ("all",)),
        Node("some", Take([[1, 3], None]), ("channels",)),
        Node("flat", Reshape((6,)), ("some",)),
        Node("out", Dense(rng.integers(-1, 2, size=(2, 6))), ("flat",)),
    ]
    return Network((4, 3), nodes)


# ------------------------------------------------------------------------------------------------------------ semantic


def test_values_by_hand() -> None:
    """GELU by erf, a layer norm of (1, 3), a softmax of (0, log 3), a product of two matrices."""
    x = np.array([[-1.0, 2.0]])
    by_erf = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x[0]]
    assert np.allclose(Gelu([2.0, -3.0]).apply(x), [[2 * by_erf[0], -3 * by_erf[1]]], rtol=0, atol=1e-15)
    assert np.allclose(LayerNorm(1, 3.0).apply(np.array([[1.0, 3.0]])), [[-0.5, 0.5]], rtol=0, atol=1e-15)
    assert np.allclose(Softmax(0).apply(np.array([[0.0, math.log(3)]])), [[0.25, 0.75]], rtol=0, atol=1e-15)
    assert np.allclose(Product().apply(np.array([[[1.0, 2.0]]]), np.array([[[3.0], [4.0]]])), [[[11.0]]])


def test_extreme_values_stay_finite() -> None:
    """Large numbers neither overflow in a softmax nor leave rounding behind in a GELU."""
    assert np.array_equal(Softmax(0).apply(np.array([[1000.0, -1000.0]])), [[1.0, 0.0]])
    assert np.array_equal(Gelu().apply(np.array([[-1e9, 0.0, 1e9]])), [[0.0, 0.0, 1e9]])


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (Gelu([1.0, 2.0]), [(3,)], "slopes"),
        (LayerNorm(2, 1e-5), [(3,)], "over 2 axes"),
        (Softmax(1), [(3,)], "along axis 1"),
        (Product(), [(2, 3), (2, 3)], "cannot be multiplied"),
        (Product(), [(1, 2, 3), (2, 3, 2)], "cannot be multiplied"),
        (Product(), [(2, 3)], "takes 2 inputs, got 1"),
        (Gelu(), [(2,), (2,)], "takes one input, got 2"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(layer: Opaque, shapes: list[tuple[int, ...]], message: str) -> None:
    """Shapes and numbers of inputs are checked when the network is made."""
    total = sum(math.prod(shape) for shape in shapes)
    nodes, start = [], 0
    for i, shape in enumerate(shapes):
        size = math.prod(shape)
        nodes += [
            Node(f"take{i}", Take([np.arange(start, start + size)]), (INPUT,)),
            Node(f"x{i}", Reshape(shape), (f"take{i}",)),
        ]
        start += size
    with pytest.raises(NetworkError, match=f"node 'y'.*{message}"):
        Network((total,), [*nodes, Node("y", layer, tuple(f"x{i}" for i in range(len(shapes))))])


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_a_layer_norm_needs_a_positive_eps(eps: float) -> None:
    """Without a positive eps, equal inputs would be divided by zero."""
    with pytest.raises(NetworkError, match="positive eps"):
        LayerNorm(1, eps)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_masks_enclose_what_depends_on_what(seed: int) -> None:
    """An output that changes with one input is marked as reached by it, and that input as needed by the output."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 3, 4)]
    layers: list[Opaque] = [Gelu(rng.integers(0, 2, size=(2, 1, 1))), LayerNorm(int(rng.integers(1, 4)), 1e-5)]
    layers += [Softmax(int(rng.integers(3))), Product()]
    for layer in layers:
        inputs = shapes + ([(2, 4, 2)] if layer.arity == 2 else [])
        values = [rng.normal(size=(1, *shape)) for shape in inputs]
        which = int(rng.integers(layer.arity))
        place = tuple(int(rng.integers(n)) for n in inputs[which])
        moved = [value.copy() for value in values]
        moved[which][(0, *place)] += 1.0
        changed = (layer.apply(*values) != layer.apply(*moved))[0]
        masks = [np.zeros(shape, dtype=bool) for shape in inputs]
        masks[which][place] = True
        assert not (changed & ~layer.reached(*masks)).any()
        one = np.zeros(changed.shape, dtype=bool)
        if changed.any():
            one[tuple(index[0] for index in np.nonzero(changed))] = True
            assert layer.needed(one, inputs)[which][place]
            assert layer.mixes_channels(changed.shape) or np.flatnonzero(changed.any(axis=(1, 2))).tolist() == [
                place[0]
            ]


# ------------------------------------------------------------------------------------------------------------- reading


def test_functions_of_torch_are_read() -> None:
    """GELU and layer norm with and without numbers of their own equal torch; slopes are joined."""
    assert kinds(read(F.gelu, 5)) == ["Gelu"]
    assert kinds(read(lambda x, act: act(x), 5, act=RotatedGELU(5))) == ["Gelu"]
    assert kinds(read(lambda x: F.layer_norm(x, (3, 4)), 2, 3, 4)) == ["LayerNorm"]
    assert kinds(read(lambda x, norm: norm(x), 3, 4, norm=nn.LayerNorm(4))) == ["LayerNorm", "Scale"]


def test_attention_is_read_in_either_form() -> None:
    """The fused operator and its parts give the same kinds of layers."""

    def parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = x.unbind(2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def fused(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*parts(x))

    def apart(x: Tensor) -> Tensor:
        q, k, v = parts(x)
        return ((q / 2) @ k.transpose(-2, -1)).softmax(dim=-1) @ v

    def front(x: Tensor) -> Tensor:
        q, k, v = x.permute(2, 0, 3, 1, 4).unbind(0)
        first = x.permute(2, 0, 3, 1, 4)[0]
        return F.scaled_dot_product_attention(q, k, v) + 0 * first

    one, other = read(fused, 5, 3, 2, 4), read(apart, 5, 3, 2, 4)
    assert sorted(kinds(one)) == sorted(kinds(other))
    assert kinds(read(front, 5, 3, 2, 4)).count("Product") == 2
    assert kinds(one)[-4:] == ["Permute", "Product", "Softmax", "Product"]
    scaled = read(lambda x: F.scaled_dot_product_attention(*parts(x), scale=0.3), 5, 3, 2, 4)
    assert [node.layer.scale for node in scaled.nodes if isinstance(node.layer, Scale)] == [0.3]


def test_what_is_not_plain_is_refused() -> None:
    """Approximate GELUs, masked attention, broadcast products and a final softmax are refused, each with its reason."""
    mask = torch.ones(4, 4, dtype=torch.bool)

    def everything(x: Tensor) -> Tensor:
        a = F.gelu(x, approximate="tanh") + F.scaled_dot_product_attention(x, x, x, attn_mask=mask)
        b = F.scaled_dot_product_attention(x, x, x, is_causal=True)
        return torch.softmax((x[:, None] @ x[:, None].expand(-1, 2, -1, -1)).sum(1) + a + b, -1)

    with pytest.raises(UnsupportedOperatorError) as caught:
        read(everything, 4, 4)
    lines = [line.strip().partition(": ")[2] for line in str(caught.value).split("\n")[1:]]
    expected = [
        "approximates Phi by tanh",
        "masks attention",
        "masks attention",
        "multiplies samples",
        "a final softmax",
    ]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


# ------------------------------------------------------------------------------- linear layers on the rows of a sample


def token_mlp(rows: tuple[int, ...]) -> Callable[..., Tensor]:
    """Return a two-layer perceptron on the last axis of samples (*rows, 4)."""
    return lambda x, first, act, second: second(act(first(x)))


@pytest.mark.parametrize("rows", [(3,), (2, 3), (2, 1, 3)])
def test_perceptrons_of_rows_keep_hidden_channels_in_front(rows: tuple[int, ...]) -> None:
    """Between two linear layers on rows nothing moves, so the hidden axis is the channel axis."""
    parts = {"first": nn.Linear(4, 6), "act": nn.ReLU(), "second": nn.Linear(6, 2)}
    network = read(token_mlp(rows), *rows, 4, **parts)
    found = kinds(network)
    middle = found.index("Conv2d")
    assert found[middle : middle + 3] == ["Conv2d", "Rectifier", "Conv2d"]
    assert network.shape(network.rectifiers[0].name)[0] == 6
    assert cost(network).flops == 2 * (4 * 6 + 6 * 2) * math.prod(rows)


def test_slopes_move_with_the_channels() -> None:
    """Rotated activations along the last axis become slopes per channel along axis 0, and bare biases are joined."""
    parts = {"first": nn.Linear(4, 6, bias=False), "second": nn.Linear(6, 2)}
    shift = torch.tensor(RNG.normal(size=6))
    for act, kind in ((RotatedReLU(6), Rectifier), (RotatedGELU(6), Gelu)):
        network = read(lambda x, first, act, second: second(act(first(x) + shift)), 3, 4, act=act, **parts)
        (layer,) = (node.layer for node in network.nodes if isinstance(node.layer, kind))
        slope = layer.arrays()["slope" if kind is Gelu else "positive_slope"]
        assert slope.shape == (6, 1, 1)
        assert np.array_equal(slope.reshape(-1), act.slope.detach().numpy())
        (first, *_) = (node.layer for node in network.nodes if isinstance(node.layer, Conv2d))
        assert np.array_equal(first.bias, shift.numpy())


def test_moves_stay_where_something_else_reads_between() -> None:
    """A hidden layer that is read twice keeps its moves, and so do slopes that a reshape spreads."""
    parts = {"first": nn.Linear(4, 6), "second": nn.Linear(6, 2)}

    def twice(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        hidden = F.relu(first(x))
        return second(hidden) + hidden[..., :2]

    assert kinds(read(twice, 3, 4, **parts)).count("Permute") == 4
    uneven = torch.arange(1.0, 7.0).double()
    assert kinds(read(lambda x: (x.reshape(-1, 6) * uneven).reshape(-1, 2, 3), 2, 3)) == ["Reshape", "Scale", "Reshape"]
    assert kinds(read(lambda x: (x.reshape(-1, 6) * 2).reshape(-1, 2, 3), 2, 3)) == ["Scale"]
    assert kinds(read(lambda x: F.relu(x.transpose(1, 2)).transpose(1, 2), 2, 3)) == ["Rectifier"]


def test_rectifier_perceptrons_of_rows_can_be_certified() -> None:
    """A dead hidden unit of a perceptron on rows is proved inactive for each row, removed, and checked."""
    first = nn.Linear(2, 3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, -2.0], [2.0, 1.0]]))
        first.bias.copy_(torch.tensor([0.0, -1.0, -1.0]))
    module = nn.Sequential(first, nn.ReLU(), nn.Linear(3, 1)).double()
    network, domain = load(module, input_shape=(4, 2)), Box(0.0, 1.0)
    report = certify(network, domain)
    assert report.counts() == {"stably_inactive": 4, "stably_active": 0, "unstable": 8, "undecided": 0}
    assert check(network, domain, report).accepted
    smaller = compress(network, report).network
    assert smaller.shape(smaller.rectifiers[0].name) == (2, 4, 1)
    x = RNG.random(size=(50, 4, 2))
    assert np.allclose(smaller.forward(x), network.forward(x), rtol=0, atol=1e-14)
    assert np.allclose(network.forward(x), module(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-14)


# ------------------------------------------------------------------------------------------------- removal and writing


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_shrinking_never_changes_the_function(seed: int) -> None:
    """Around every opaque layer, dead channels go or are filled with zeros, and outputs stay equal."""
    rng = np.random.default_rng(seed)
    network = gated(rng)
    smaller = shrink(network).network
    x = rng.normal(size=(5, 4, 3))
    assert np.abs(smaller.forward(x) - network.forward(x)).max() <= 1e-12
    assert shrink(smaller).network.digest == smaller.digest


def test_a_constant_through_opaque_layers_is_no_zero() -> None:
    """A softmax of zeros is not zero, a layer norm of a constant is kept as it is, a GELU of zero is zero."""
    for layer, zero in ((Softmax(0), False), (Gelu(), True), (LayerNorm(1, 1.0), True)):
        network = chain((3,), Scale(0.0, 0.0), layer)
        assert liveness(network).zero["1"].all() == zero
        assert np.array_equal(shrink(network).network.forward(np.ones(3)), network.forward(np.ones(3)))


def test_silent_channels_go_verbatim() -> None:
    """Rows and columns of channels with slope 0 are cut out of the weights; slopes that remain keep their numbers."""
    first, second = RNG.normal(size=(5, 3)), RNG.normal(size=(2, 5))
    slope = np.array([0.0, 2.0, -0.5, 0.0, 1.0])
    smaller = shrink(chain((3,), Dense(first, np.arange(5.0)), Gelu(slope), Dense(second))).network
    layers: list[Layer] = [node.layer for node in smaller.nodes]
    assert np.array_equal(layers[0].weight, first[[1, 2, 4]])  # type: ignore[attr-defined]
    assert np.array_equal(layers[0].bias, [1.0, 2.0, 4.0])  # type: ignore[attr-defined]
    assert np.array_equal(layers[1].slope, [2.0, -0.5, 1.0])  # type: ignore[attr-defined]
    assert np.array_equal(layers[2].weight, second[:, [1, 2, 4]])  # type: ignore[attr-defined]
    assert cost(smaller).slopes == 3


def test_written_networks_come_back(tmp_path: Path) -> None:
    """A file gives the same network bit by bit; the torch module computes the same and can be read again."""
    network = gated(np.random.default_rng(1))
    save_network(network, tmp_path / "net.npz")
    assert load_network(tmp_path / "net.npz").digest == network.digest
    module = network.to_torch(torch.float64)
    x = RNG.normal(size=(6, 4, 3))
    assert np.abs(module(torch.tensor(x)).detach().numpy() - network.forward(x)).max() <= 1e-12
    again = network_from_module(module, input_shape=(4, 3))
    assert np.abs(again.forward(x) - network.forward(x)).max() <= 1e-12


def test_onnx_models_run_and_are_not_read_back(tmp_path: Path) -> None:
    """A written model computes the same in float32 by onnxruntime; the reader of rectifier networks refuses it."""
    network = gated(np.random.default_rng(1))
    network.to_onnx(tmp_path / "net.onnx")
    x = RNG.normal(size=(6, 4, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x})
    assert np.abs(found - network.forward(x)).max() <= 1e-5
    with pytest.raises(UnsupportedOperatorError, match="Erf"):
        load(tmp_path / "net.onnx")


# ------------------------------------------------------------------------------------------------------------ refusals


def test_proofs_refuse_opaque_layers_and_list_them() -> None:
    """Bounds, certify and the canonical form raise one error that names every opaque layer, and nothing else."""
    network = gated(np.random.default_rng(0))
    domain = Box(0.0, 1.0)
    attempts: dict[str, Callable[[], object]] = {
        "certify": lambda: certify(network, domain),
        "interval arithmetic": lambda: interval_bounds(network, domain),
        "the canonical form": lambda: canonical(network),
    }
    listed = [
        f"  {node.name}: {type(node.layer).__name__}, shape" for node in network if isinstance(node.layer, Opaque)
    ]
    for action, attempt in attempts.items():
        with pytest.raises(UnsupportedOperatorError) as caught:
            attempt()
        first, *lines, last = str(caught.value).split("\n")
        assert first.startswith(f"{action} cannot handle 6 layer(s)")
        assert [line.partition(" (")[0] for line in lines] == listed
        assert "channels removed" in last


def test_compress_and_check_refuse_opaque_layers() -> None:
    """A report about another network does not help: neither compress nor check goes on with opaque layers."""
    plain = chain((3,), Dense(np.eye(3)), Rectifier())
    report = certify(plain, Box(0.0, 1.0))
    with pytest.raises(UnsupportedOperatorError, match="compress cannot handle"):
        compress(chain((3,), Gelu()), report)
    with pytest.raises(NetworkError, match="knows no layer of kind 'Gelu'"):
        check(chain((3,), Gelu()), Box(0.0, 1.0), report)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 2, 1, 1), (2, None, 0, 1), (2, 1, 1, 2)])
def test_max_pooling_is_read_and_written(
    tmp_path: Path, kernel: int, stride: int | None, padding: int, dilation: int
) -> None:
    """A max pooling is torch's, negative borders included; as torch and ONNX again it is the same."""
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(kernel, stride, padding, dilation)).double().eval()
    network = load(module, input_shape=(2, 9, 8))
    x = RNG.standard_normal((4, 2, 9, 8)) - 3.0
    expected = module(torch.from_numpy(x)).detach().numpy()
    assert network.forward(x) == pytest.approx(expected, abs=1e-12)
    assert network.to_torch(torch.float64)(torch.from_numpy(x)).detach().numpy() == pytest.approx(expected, abs=1e-12)
    save_network(network, tmp_path / "n.npz")
    assert load_network(tmp_path / "n.npz").digest == network.digest
    network.to_onnx(tmp_path / "n.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    assert found == pytest.approx(expected, abs=1e-4)


def test_max_pooling_by_hand() -> None:
    """The maximum over 2 x 2 pixels; a window at the border does not see zeros, and uneven padding works."""
    x = -np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    assert MaxPool((2, 2), (2, 2)).apply(x).ravel().tolist() == [-1.0]
    network = Network((1, 3, 3), [Node("pool", MaxPool((2, 2), (2, 2), (0, 1, 1, 0)), (INPUT,))])
    assert network.forward(x[0]).ravel().tolist() == [-1.0, -2.0, -7.0, -8.0]
    assert network.to_torch()(torch.from_numpy(x).float()).ravel().tolist() == [-1.0, -2.0, -7.0, -8.0]
    hollow = MaxPool((2, 2), (1, 1), (1, 1, 1, 1), (3, 3))
    padded, flat = MaxPool((2, 2), (1, 1), (2, 2, 2, 2)), MaxPool((2, 2), (1, 1))
    for layer, shape in ((padded, (1, 3, 3)), (flat, (3,)), (hollow, (1, 2, 2))):
        with pytest.raises(NetworkError, match="max pooling"):
            layer.output_shape(shape)


def test_silent_channels_go_through_max_pooling() -> None:
    """A channel that is zero stays zero through a max pooling, so its filter and its readers' weights go."""
    nodes = [
        Node("a", Conv2d(RNG.standard_normal((4, 1, 3, 3)), RNG.standard_normal(4)), (INPUT,)),
        Node("r", Rectifier(np.array([1.0, 0.0, -2.0, 0.0]).reshape(4, 1, 1), 0.0), ("a",)),
        Node("pool", MaxPool((3, 3), (2, 2), (1, 1, 1, 1)), ("r",)),
        Node("b", Conv2d(RNG.standard_normal((2, 4, 1, 1)), np.zeros(2)), ("pool",)),
    ]
    network = Network((1, 8, 8), nodes)
    smaller = shrink(network).network
    assert [smaller.shape(name)[0] for name in ("a", "r", "pool", "b")] == [2, 2, 2, 2]
    x = RNG.standard_normal((3, 1, 8, 8))
    assert (smaller.forward(x) == network.forward(x)).all()
    with pytest.raises(UnsupportedOperatorError, match="MaxPool"):
        certify(network, Box(0.0, 1.0))
