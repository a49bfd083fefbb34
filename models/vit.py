"""Vision transformers (Dosovitskiy et al., ICLR 2021), with plain or rotated GELUs in their perceptrons.

    image -> patches -> [class token, patches] + positions -> depth x block -> norm -> head of the class token
    block:  x = x + attention(norm1(x));  x = x + mlp(norm2(x))

Modules and parameters are named as in common checkpoints of ViT (`blocks.0.attn.qkv.weight`, ...). Rotated GELUs as in
Nayak and Kalyani (TMLR 2024): one slope per hidden unit of a perceptron, `blocks.0.mlp.act.slope`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from milpcomp.rotated import RotatedGELU


class Attention(nn.Module):
    """Self-attention of `heads` heads, over tokens (N, T, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each token gathers from all, (N, T, dim)."""
        n, t, dim = x.shape
        parts = self.qkv(x).reshape(n, t, 3, self.heads, dim // self.heads).unbind(2)  # 3 of (N, T, heads, d)
        q, k, v = (part.transpose(1, 2) for part in parts)  # (N, heads, T, d)
        gathered = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.proj(gathered.transpose(1, 2).reshape(n, t, dim)))


class Mlp(nn.Module):
    """The perceptron of a block, on each token by itself."""

    def __init__(self, dim: int, hidden: int, rotated: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = RotatedGELU(hidden) if rotated else nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the perceptron of each token, (N, T, dim)."""
        return cast(Tensor, self.fc2(self.act(self.fc1(x))))


class Block(nn.Module):
    """Attention and perceptron, each behind a norm and beside a skip."""

    def __init__(self, dim: int, heads: int, hidden: int, rotated: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden, rotated)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after the block, (N, T, dim)."""
        x = x + self.attn(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Images cut into patches, each a token."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches of images (N, 3, H, W) as tokens (N, H W / patch^2, dim)."""
        return cast(Tensor, self.proj(x).flatten(2).transpose(1, 2))


class VisionTransformer(nn.Module):
    """A vision transformer with a class token and learned positions.

    Parameters
    ----------
    image, patch : int
        Side of the images (3, image, image), and of the patches, which divides it.
    dim, depth, heads : int
        Width of the tokens, blocks, and attention heads, which divide the width.
    hidden : int
        Hidden units of each perceptron.
    classes : int
    activation : {"gelu", "rotated"}
        Of the perceptrons.
    """

    def __init__(
        self,
        image: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        classes: int,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        if activation not in ("gelu", "rotated"):
            raise ValueError(f'the activation must be "gelu" or "rotated", got {activation!r}')
        if image % patch or dim % heads:
            raise ValueError(f"patches of {patch} must divide images of {image}, and {heads} heads a width of {dim}")
        self.patch_embed = PatchEmbed(patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, hidden, activation == "rotated") for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, 3, image, image)."""
        tokens = self.patch_embed(x)
        first = self.cls_token.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat([first, tokens], dim=1) + self.pos_embed  # (N, T, dim)
        return cast(Tensor, self.head(self.norm(self.blocks(tokens))[:, 0]))

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith(("embed", "token")) or parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def vit_small_16(activation: str = "gelu", classes: int = 1000) -> VisionTransformer:
    """Build ViT-S/16 for images (3, 224, 224): 22,050,664 parameters for 1000 classes, 18,432 slopes if rotated."""
    return VisionTransformer(224, 16, 384, 12, 6, 1536, classes, activation)


def vit_micro(activation: str = "gelu", classes: int = 10) -> VisionTransformer:
    """Build a vision transformer of two narrow blocks for images (3, 8, 8), to try things on."""
    return VisionTransformer(8, 4, 12, 2, 3, 20, classes, activation)
