"""Rotated activations: training that finds channels which are not needed, and the threshold that ignores them."""

from milpcomp.rotated.activation import RotatedActivation, RotatedGELU, RotatedReLU, batch_norm_gammas, slopes
from milpcomp.rotated.initialise import draw_slopes, initialise_type1, initialise_type2
from milpcomp.rotated.masking import (
    apply_threshold_,
    hold_at_zero_,
    small_slopes,
    thresholded,
    train_everything,
    train_slopes_only,
)
from milpcomp.rotated.penalties import l1_penalty, proximal_l1_
from milpcomp.rotated.replace import rotate
from milpcomp.rotated.threshold import Threshold, random_half, select_threshold

__all__ = [
    "RotatedActivation",
    "RotatedGELU",
    "RotatedReLU",
    "Threshold",
    "apply_threshold_",
    "batch_norm_gammas",
    "draw_slopes",
    "hold_at_zero_",
    "initialise_type1",
    "initialise_type2",
    "l1_penalty",
    "proximal_l1_",
    "random_half",
    "rotate",
    "select_threshold",
    "slopes",
    "small_slopes",
    "thresholded",
    "train_everything",
    "train_slopes_only",
]
