"""Rotated copies of torch modules: every ReLU and GELU gets a slope per channel.

Slopes start at one, so the copy computes the function of the original; that is checked on the example before the copy
is returned. Layers keep their names, so weights of the original load into the copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.rotated.activation import RotatedActivation, RotatedGELU, RotatedReLU, channel_axis
from milpcomp.rotated.axes import axis_of
from milpcomp.rotated.trace import Site, sites, traced


def rotate(
    model: nn.Module, example_input: Tensor, skip: Literal["first"] | Iterable[str] | None = "first"
) -> fx.GraphModule:
    """Return a copy of `model` with rotated activations in place of its ReLUs and GELUs.

    Every call has its own slopes, also where one nn.ReLU is called many times, or a function such as ``F.relu``. Other
    activations stay. Rotating a rotated model again changes nothing.

    Parameters
    ----------
    model : nn.Module
        Takes one batch; it is not changed.
    example_input : Tensor, shape (N, ...)
        A batch that `model` takes; it tells the number of channels.
    skip : "first", iterable of str, or None
        Which calls keep their activation: the first one, as in the paper, which leaves the stem of a convolutional
        network alone; those of these names, which are the names that `slopes` gives; or none. In pre-activation
        networks the paper leaves the one before the classifier alone instead: give its name.

    Returns
    -------
    torch.fx.GraphModule
        On the device and in the mode of `model`. State-dict names are those of `model`, and one `slope` for each
        rotated activation; its parts are reached by their names as before. Where the code of `model` decides by sizes,
        those of the example are fixed in the copy, except N.

    Raises
    ------
    NetworkError
        If the model cannot be traced, has no activation to rotate, does not run on `example_input`, or is not
        reproduced.
    SettingsError
        If `skip` names no activation of the model, or `example_input` is no batch.

    Examples
    --------
    >>> rotated = rotate(model, torch.zeros(1, 3, 224, 224))
    >>> optimizer = torch.optim.SGD(rotated.parameters(), lr=0.1)
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"rotate needs a torch module, got {type(model).__name__}")
    given: Any = example_input
    if not isinstance(given, Tensor) or given.ndim < 1 or not len(given):
        raise SettingsError("example_input must be a tensor with a batch of inputs that the model takes")
    copied = copy.deepcopy(model)
    graph = traced(copied, example_input)
    found = sites(copied, graph)
    kept = _kept(found, skip, type(model).__name__)
    inputs = _Inputs(copy.deepcopy(copied).eval(), graph=graph).of(example_input, found)
    for site in found:
        if site.name not in kept and site.kind != "rotated":
            _replace(copied, site, inputs[site.node])
    built = fx.GraphModule(copied, graph, type(model).__name__)
    _keep_state(built, copied, model)
    _check_same(model, built, example_input)
    return built


def _kept(found: list[Site], skip: Literal["first"] | Iterable[str] | None, title: str) -> set[str]:
    """Return the names of the calls that stay as they are."""
    names = [site.name for site in found]
    if isinstance(skip, str) and skip != "first":
        raise SettingsError(f'skip={skip!r} must be "first", None, or a list of names out of {names}')
    kept = set(names[:1] if skip == "first" else skip or ())
    if kept - set(names):
        raise SettingsError(f"skip names {sorted(kept - set(names))}, but the activations of {title} are {names}")
    if not found:
        raise NetworkError(f"{title} calls no ReLU and no GELU, so there is nothing to rotate")
    if kept == set(names) and all(site.kind != "rotated" for site in found):
        raise NetworkError(f"skip={skip!r} keeps all activations of {title}, {names}; skip=None rotates them")
    return kept


class _Inputs(fx.Interpreter):
    """Runs a graph and notes the inputs of activations."""

    def of(self, example: Tensor, found: list[Site]) -> dict[fx.Node, Tensor]:
        """Return the input of each call on the batch `example`, without its numbers."""
        self.wanted = {site.node.all_input_nodes[0] for site in found}
        self.values: dict[fx.Node, Tensor] = {}
        try:
            with torch.no_grad():
                self.run(example.clone())
        except Exception as error:  # whatever the layers raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise NetworkError(
                f"the model does not run on an example of shape {tuple(example.shape)}: {reason}. Give a batch on the "
                "model's device and in its number type"
            ) from error
        return {site.node: self.values[site.node.all_input_nodes[0]] for site in found}

    def run_node(self, n: fx.Node) -> Any:
        """Return the value of a node, keeping an empty stand-in of it where it is wanted."""
        value = super().run_node(n)
        if n in self.wanted and isinstance(value, Tensor):
            self.values[n] = value.new_empty(()).expand(value.shape)
        return value


def _replace(model: nn.Module, site: Site, value: Tensor) -> None:
    """Put a rotated activation for `value` into the graph, in place of the call at `site`."""
    if value.ndim < 2:
        raise NetworkError(f"{site.name} acts on a tensor of shape {tuple(value.shape)}, which has no axis of channels")
    node, source = site.node, site.node.all_input_nodes[0]
    axis = axis_of(model, source, value.ndim)
    channels = value.shape[channel_axis(value.ndim) if axis is None else axis]
    rotated: RotatedActivation = RotatedReLU(channels, axis=axis)
    if site.kind == "gelu":
        rotated = RotatedGELU(channels, site.approximate, axis)
    path, _, leaf = site.name.rpartition(".")
    model.get_submodule(path).register_module(leaf, rotated.to(value))
    with node.graph.inserting_after(node):
        new = node.graph.call_module(site.name, (source,))
    node.replace_all_uses_with(new)
    if site.in_place:  # whoever reads the input later would have read what the call wrote
        place = {n: i for i, n in enumerate(node.graph.nodes)}
        source.replace_all_uses_with(new, lambda user: place[user] > place[new])
    node.graph.erase_node(node)


def _keep_state(built: fx.GraphModule, copied: nn.Module, model: nn.Module) -> None:
    """Give `built` the state-dict entries that no call reads, no others that `model` does not have, and its modes."""
    expected, present = model.state_dict(), built.state_dict()
    for name in expected.keys() - present.keys():
        path, _, leaf = name.rpartition(".")
        if path not in dict(built.named_modules()):
            built.add_submodule(path, nn.Module())
        owner, value = built.get_submodule(path), getattr(copied.get_submodule(path), leaf)
        if isinstance(value, nn.Parameter):
            owner.register_parameter(leaf, value)
        else:
            owner.register_buffer(leaf, value)
    modes = dict(model.named_modules())
    for name, part in built.named_modules():
        part.training = modes.get(name, model).training
        for leaf, buffer in part.named_buffers(recurse=False):
            if f"{name}.{leaf}".lstrip(".") not in expected:
                part.register_buffer(leaf, buffer, persistent=False)


def _check_same(model: nn.Module, built: nn.Module, example: Tensor) -> None:
    """Raise `NetworkError` if the copy computes something else than the model, on the example or with one sample more.

    Both are run in evaluation mode.
    """
    before, after = copy.deepcopy(model).eval(), copy.deepcopy(built).eval()
    with torch.no_grad():
        expected = before(example.clone())
        _check_equal(lambda: after(example.clone()), expected, f"{type(model).__name__} on the example")
        longer = torch.cat([example, example[:1]])
        try:
            expected = before(longer.clone())
        except Exception:  # the model takes no other number of samples, so its copy need not
            return
        _check_equal(lambda: after(longer.clone()), expected, f"{type(model).__name__} for another number of samples")


def _check_equal(found: Callable[[], Any], expected: Any, what: str) -> None:
    try:
        torch.testing.assert_close(found(), expected, equal_nan=True)
    except Exception as error:
        raise NetworkError(
            f"the rotated copy does not reproduce {what}: the model overwrites a tensor that is read under another "
            "name, fixes the number of samples, or draws random numbers in evaluation"
        ) from error
