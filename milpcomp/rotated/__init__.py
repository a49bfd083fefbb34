"""Rotated activations: training that finds channels which are not needed, and the threshold that ignores them."""

from milpcomp.rotated.activation import RotatedActivation, RotatedGELU, RotatedReLU, batch_norm_gammas, slopes

__all__ = ["RotatedActivation", "RotatedGELU", "RotatedReLU", "batch_norm_gammas", "slopes"]
