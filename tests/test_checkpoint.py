"""Reading checkpoints: chains rebuilt from shapes, architectures filled, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from milpcomp.errors import CheckpointError, NetworkError, SettingsError
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.network.checkpoint import read_checkpoint
from milpcomp.network.checkpoint_architecture import fill_module, make_module
from milpcomp.network.checkpoint_chain import chains, linear_layers
from milpcomp.network.checkpoint_file import read_tensors

File = Callable[[str], Path]
State = dict[str, Tensor]


def mlp(*sizes: int) -> nn.Sequential:
    """Return Linear, ReLU, ..., Linear with drawn weights."""
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def linear(name: str, n: int, m: int) -> State:
    """Return the state of a linear layer called `name` from n to m."""
    return {f"{name}.weight": torch.randn(m, n), f"{name}.bias": torch.randn(m)}


def assert_same(network: Network, module: nn.Module, shape: tuple[int, ...]) -> None:
    """Check that the network equals the module in double within 1e-9 relative."""
    x = np.random.default_rng(0).normal(size=(8, *shape))
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.forward(x), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def names_of(network: Network) -> list[str]:
    """Return the names of all nodes."""
    return [node.name for node in network]


# ------------------------------------------------------------------------------------------------------------- chains


def test_reference_network(shared_file: File) -> None:
    """The published 784-100-100-10 network has accuracy 97.89 % on the MNIST test set, layers named as in the file."""
    network = read_checkpoint(shared_file("nets/serra2021/mnist_100-100_l1_0.tar"))
    assert names_of(network) == ["features.0", "features.0.relu", "features.3", "features.3.relu", "classifier.0"]
    images = gzip.decompress(shared_file("mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress(shared_file("mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784) / 255
    correct = network.forward(x).argmax(axis=1) == np.frombuffer(labels, np.uint8, offset=8)
    assert correct.sum() == 9789


def test_reference_network_equals_torch(shared_file: File) -> None:
    """Rebuilt from shapes, the published network computes what torch computes in double with the same numbers."""
    path = shared_file("nets/serra2021/mnist_100-100_l1_0.tar")
    module = mlp(784, 100, 100, 10)
    module.load_state_dict(dict(zip(module.state_dict(), read_tensors(path).values(), strict=True)))
    assert_same(read_checkpoint(path), module, (784,))


def test_shipped_network() -> None:
    """The shipped safetensors file, whose names are sorted as text, is the chain that its recipe trained."""
    network = read_checkpoint(Path(__file__).parents[1] / "models" / "checkpoints" / "mnist-mlp.safetensors")
    assert network.input_shape == (784,)
    assert [network.width(node.name) for node in network.rectifiers] == [100] * 5


def test_numbers_are_kept_exactly(tmp_path: Path) -> None:
    """float32 weights become the float64 of the same value, and float64 and bfloat16 ones lose nothing either."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        tensor = torch.tensor([[0.1, 0.2]], dtype=dtype)
        torch.save({"weight": tensor}, tmp_path / "net.pt")
        layer = read_checkpoint(tmp_path / "net.pt").nodes[0].layer
        assert isinstance(layer, Dense)
        assert layer.weight.tolist() == tensor.tolist()
        assert layer.bias.tolist() == [0.0]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".tar", ".safetensors"])
def test_every_suffix(suffix: str, tmp_path: Path) -> None:
    """A dense chain comes back from each kind of file."""
    module = mlp(3, 4, 4, 2)
    path = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    assert_same(read_checkpoint(path), module, (3,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {0: state}}},
        lambda state: {"model": {"state_dict": state, "name": "mlp"}},
        lambda state: {"generator": state, "epoch": 1},
        lambda state: {**state, "epoch": 3},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"net": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_wrappers(wrap: Callable[[State], Any], legacy: bool, tmp_path: Path) -> None:
    """The model is found among what training scripts and wrappers of modules add, in both formats of torch.save."""
    module = mlp(3, 4, 2)
    torch.save(wrap(module.state_dict()), tmp_path / "net.pt", _use_new_zipfile_serialization=not legacy)
    network = read_checkpoint(tmp_path / "net.pt")
    assert names_of(network) == ["0", "0.relu", "2"]
    assert_same(network, module, (3,))


def test_names_are_numbers_not_text(tmp_path: Path) -> None:
    """With equal shapes only the numbers in the names tell the order: "10" comes after "2"."""
    module = mlp(*[3] * 8)
    state = module.state_dict()
    torch.save({name: state[name] for name in sorted(state)}, tmp_path / "net.pt")
    assert sorted(state)[:4] == ["0.bias", "0.weight", "10.bias", "10.weight"]
    assert_same(read_checkpoint(tmp_path / "net.pt"), module, (3,))


def test_shapes_order_what_names_do_not(tmp_path: Path) -> None:
    """Families of names are put in the order in which their shapes follow on each other."""
    state = linear("classifier", 5, 2) | linear("hidden2", 6, 5) | linear("hidden1", 4, 6) | linear("entry", 3, 4)
    save_file(state, tmp_path / "net.safetensors")
    dense = [node.name for node in read_checkpoint(tmp_path / "net.safetensors") if isinstance(node.layer, Dense)]
    assert dense == ["entry", "hidden1", "hidden2", "classifier"]


def test_several_orders_are_refused(tmp_path: Path) -> None:
    """Where shapes and numbers leave a choice, nothing is guessed, and two of the orders are shown."""
    torch.save(linear("first", 3, 3) | linear("second", 3, 3), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"several orders, first -> second and second -> first.*architecture="):
        read_checkpoint(tmp_path / "net.pt")


@given(widths=st.lists(st.integers(0, 4), min_size=2, max_size=8), seed=st.randoms())
def test_numbered_chains_are_found(widths: list[int], seed: Any) -> None:
    """A numbered chain of any widths, zero among them, is put in order however the file is shuffled."""
    names = [f"layers.{3 * i}" for i in range(len(widths) - 1)]
    state: State = {}
    for name, n, m in zip(names, widths[:-1], widths[1:], strict=True):
        state |= linear(name, n, m)
    keys = list(state)
    seed.shuffle(keys)
    layers = linear_layers({key: state[key] for key in keys})
    assert layers is not None
    assert [[name for name, _, _ in order] for order in chains(layers)] == [names]


def test_bare_linear_layer(tmp_path: Path) -> None:
    """The state of a single nn.Linear is a network of one layer, and a layer called "input" gets another name."""
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "net.pt")
    assert names_of(read_checkpoint(tmp_path / "net.pt")) == ["linear"]
    torch.save(linear("input", 3, 2), tmp_path / "net.pt")
    assert names_of(read_checkpoint(tmp_path / "net.pt")) == ["input.linear"]


def test_images_are_flattened(tmp_path: Path) -> None:
    """An input shape with several axes is accepted if it has as many elements as the first layer has inputs."""
    torch.save(mlp(12, 3, 2).state_dict(), tmp_path / "net.pt")
    network = read_checkpoint(tmp_path / "net.pt", input_shape=(3, 2, 2))
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    flat = read_checkpoint(tmp_path / "net.pt", example_input=np.zeros((1, 12)))
    assert network.forward(x).tolist() == flat.forward(x.reshape(4, 12)).tolist()
    assert isinstance(network.rectifiers[0].layer, Rectifier)
    with pytest.raises(NetworkError, match=r"net\.pt: the first layer, '0', takes 12 inputs, but .* is \(13,\)"):
        read_checkpoint(tmp_path / "net.pt", input_shape=(13,))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"0.weight": torch.ones(3, 2, 1, 1)}, "not wholly a chain"),
        (linear("0", 2, 3) | {"1.weight": torch.ones(3)}, "not wholly a chain"),
        (linear("0", 2, 3) | {"0.mask": torch.ones(3, 2)}, "not wholly a chain"),
        ({"0.weight": torch.ones(3, 2), "0.bias": torch.ones(2)}, "not wholly a chain"),
        ({"0.weight": torch.ones(3, 2, dtype=torch.int8)}, "not wholly a chain"),
        (linear("0", 2, 3) | linear("1", 4, 5), "do not follow on each other"),
    ],
)
def test_other_state_dicts_need_an_architecture(state: State, message: str, tmp_path: Path) -> None:
    """What is no chain is refused with what to give, and with the names and shapes that were found."""
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=rf"{message}.*architecture=.*input_shape=.*Found: 0\.weight \(3, 2"):
        read_checkpoint(tmp_path / "net.pt")


def test_long_listings_are_cut(tmp_path: Path) -> None:
    """The error for a large model shows its first tensors and counts the others."""
    torch.save({f"p{i}": torch.ones(1) for i in range(30)}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"p11 \(1,\) and 18 more$"):
        read_checkpoint(tmp_path / "net.pt")


def test_nan_in_a_chain(tmp_path: Path) -> None:
    """NaN is refused with the file and the layer."""
    state = linear("0", 2, 3) | linear("1", 3, 1)
    state["1.bias"][0] = float("nan")
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(NetworkError, match=r"net\.pt: 1: a dense layer's bias holds NaN or infinity"):
        read_checkpoint(tmp_path / "net.pt")


# ------------------------------------------------------------------------------------------------------ architectures


class Normed(nn.Module):
    """A module that a state dict alone does not describe."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(4)
        norm.running_var = torch.tensor([0.5, 1.0, 2.0, 3.0])
        self.body: nn.Module = nn.Sequential(nn.Linear(3, 4), norm, nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x)."""
        result: Tensor = self.body(x)
        return result


def make_normed() -> nn.Module:
    """Return a new `Normed`."""
    return Normed()


def test_architectures(tmp_path: Path) -> None:
    """A module, a class, a function and an address are filled alike, in eval mode; a module that is given stays."""
    module = Normed()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "net.pt")
    tensors = read_tensors(tmp_path / "net.pt")
    given = Normed()
    before = next(given.parameters()).clone()
    for architecture in (given, Normed, make_normed, f"{__name__}:make_normed", f"{__name__}:Normed"):
        filled = fill_module(make_module(architecture), tensors, "net.pt")
        assert not any(part.training for part in filled.modules())
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in filled.state_dict().items())
    assert torch.equal(next(given.parameters()), before)
    assert given.training
    assert_same(read_checkpoint(tmp_path / "net.pt", given, input_shape=(3,)), module.eval(), (3,))


def test_architecture_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is looked for in the working directory, and the path of imports is left as it was."""
    (tmp_path / "private_nets.py").write_text("from torch import nn\n\ndef small():\n    return nn.PReLU(3)\n")
    torch.save({"weight": torch.tensor([0.1, 0.2, 0.3])}, tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry not in {"", str(tmp_path)}])
    network = read_checkpoint("net.pt", architecture="private_nets:small", input_shape=(3,))
    assert network.forward([[-1.0, -1.0, 2.0]]).tolist() == [[-np.float32(0.1), -np.float32(0.2), 2.0]]
    assert str(tmp_path) not in sys.path


def test_double_checkpoints_are_not_rounded(tmp_path: Path) -> None:
    """Weights saved in double stay exact although the architecture is made in single precision."""
    torch.save(Normed().double().state_dict(), tmp_path / "net.pt")
    network = read_checkpoint(tmp_path / "net.pt", architecture=Normed, input_shape=(3,))
    layer = network["body.0"].layer
    assert isinstance(layer, Dense)
    assert layer.weight.tolist() == read_tensors(tmp_path / "net.pt")["body.0.weight"].tolist()


def test_wrappers_inside_an_architecture(tmp_path: Path) -> None:
    """DataParallel inside the module, the file, or both makes no difference."""
    plain = Normed()
    wrapped = Normed()
    wrapped.body = nn.DataParallel(plain.body)
    for module in (plain, wrapped):
        torch.save(module.state_dict(), tmp_path / "net.pt")
        tensors = read_tensors(tmp_path / "net.pt")
        for architecture in (plain, wrapped):
            filled = fill_module(make_module(architecture), tensors, "net.pt")
            assert list(filled.state_dict()) == list(architecture.state_dict())
            assert torch.equal(next(filled.parameters()), next(plain.parameters()))


def test_old_files_without_counters(tmp_path: Path) -> None:
    """Files of before torch 0.4.1 lack the counters of batch norms, which change nothing."""
    module = Normed()
    state = {name: tensor for name, tensor in module.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "net.pt")
    assert_same(read_checkpoint(tmp_path / "net.pt", Normed, input_shape=(3,)), module.eval(), (3,))


def test_architecture_that_does_not_fit(tmp_path: Path) -> None:
    """Names and shapes that differ are all named in one error."""
    torch.save(linear("0", 3, 4) | linear("9", 4, 2), tmp_path / "net.pt")
    expected = (
        r"does not belong to the architecture Sequential: the file lacks 2\.weight, 2\.bias; the module does not have "
        r"9\.weight, 9\.bias; the file has 0\.weight \(4, 3\) instead of \(5, 3\), 0\.bias \(4,\) instead of \(5,\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        read_checkpoint(tmp_path / "net.pt", mlp(3, 5, 2), input_shape=(3,))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("models.mlp", 'is no address; write "package.module:factory"'),
        ("no_such_module:factory", "importing no_such_module failed: ModuleNotFoundError"),
        ("models.mlp:nothing", "models.mlp has no nothing"),
        ("models.mlp:mlp", "failed when called without arguments: TypeError"),
        ("torch:float32", "is no module and cannot be called"),
        (dict, "returned a dict, not a torch.nn.Module"),
    ],
)
def test_bad_architectures(architecture: Any, message: str, tmp_path: Path) -> None:
    """An architecture that cannot be found or made is an error that says what happened."""
    torch.save(linear("0", 2, 2), tmp_path / "net.pt")
    with pytest.raises(SettingsError, match=message):
        read_checkpoint(tmp_path / "net.pt", architecture=architecture, input_shape=(2,))


def test_architecture_without_input_shape(tmp_path: Path) -> None:
    """With an architecture the input shape must be given; the error names the file and the two ways."""
    torch.save(Normed().state_dict(), tmp_path / "net.pt")
    with pytest.raises(NetworkError, match=r"net\.pt: .*input_shape=.*example_input="):
        read_checkpoint(tmp_path / "net.pt", architecture=Normed)


# ---------------------------------------------------------------------------------------------------------- bad files


class RunsCode:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def _bad_files(folder: Path) -> dict[str, str]:
    """Write one file of every bad kind into `folder`; return what the error of each must say."""
    state = linear("0", 20, 30)
    save: Callable[[object, str], None] = lambda content, name: torch.save(content, folder / name)  # noqa: E731
    save({"state_dict": state, "hook": RunsCode(folder / "owned")}, "code.pt")
    (folder / "code.tar").write_bytes(pickle.dumps(RunsCode(folder / "owned"), protocol=0))
    save(nn.Linear(2, 3), "module.pt")
    (folder / "pickle.pt").write_bytes(pickle.dumps(RunsCode(folder / "owned")))
    (folder / "text.pt").write_text("this is no network\n" * 10)
    (folder / "empty.pth").write_bytes(b"")
    (folder / "folder.pt").mkdir()
    save(state, "half.pt")
    _cut(folder / "half.pt", 0.5)
    save(state, "nearly.pt")
    _cut(folder / "nearly.pt", 0.97)
    torch.save(state, folder / "legacy.th", _use_new_zipfile_serialization=False)
    _cut(folder / "legacy.th", 0.9)
    save_file(state, folder / "half.safetensors")
    _cut(folder / "half.safetensors", 0.5)
    (folder / "text.safetensors").write_text("this is no network\n" * 10)
    save(3, "number.pt")
    save([torch.ones(2)], "list.pt")
    save({"epoch": 3}, "no_tensors.pt")
    save({}, "nothing.pt")
    save({"teacher": state, "student": state}, "two.pt")
    code = "holds more than numbers.*import and run {}.*state_dict"
    broken = "cannot be read as a {}.*truncated, corrupt"
    return {
        "code.pt": code.format("posix.mkdir|nt.mkdir"),
        "code.tar": code.format("posix.mkdir|nt.mkdir"),
        "module.pt": code.format("torch.nn.modules.linear.Linear"),
        "pickle.pt": broken.format("checkpoint of torch"),
        "text.pt": broken.format("checkpoint of torch"),
        "empty.pth": "is empty; save or fetch it again",
        "folder.pt": "is a folder; give the checkpoint file in it",
        "missing.pt": "does not exist; check the path",
        "half.pt": broken.format("checkpoint of torch"),
        "nearly.pt": broken.format("checkpoint of torch"),
        "legacy.th": broken.format("checkpoint of torch"),
        "half.safetensors": broken.format("safetensors file"),
        "text.safetensors": broken.format("safetensors file"),
        "number.pt": "holds a int, not a state dict; save one with",
        "list.pt": "holds a list, not a state dict; save one with",
        "no_tensors.pt": "holds no tensors by name, but epoch; they are looked for at the top and under",
        "nothing.pt": "holds no tensors by name, but nothing",
        "two.pt": "holds several state dicts, teacher, student",
    }


def test_bad_files(tmp_path: Path) -> None:
    """Each bad file is one CheckpointError that begins with its name, says what is wrong, and runs nothing."""
    for name, message in _bad_files(tmp_path).items():
        with pytest.raises(CheckpointError, match=f"^{tmp_path / name} ({message})"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "owned").exists()
