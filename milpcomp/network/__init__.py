"""Networks as plain data: the graph, its layers, reading and writing."""

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import AveragePool, Conv2d
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import Add, Affine, Concat, Layer, Rectifier
from milpcomp.network.opaque import Gelu, LayerNorm, MaxPool, Opaque, Product, Softmax

__all__ = [
    "INPUT",
    "Add",
    "Affine",
    "AveragePool",
    "Concat",
    "Conv2d",
    "Dense",
    "Gelu",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Network",
    "Node",
    "Opaque",
    "Permute",
    "Product",
    "Rectifier",
    "Reshape",
    "Scale",
    "Softmax",
    "Take",
]
