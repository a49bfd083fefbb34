"""The rotated ReLU seminar of 2024: Tables 1 to 6, Figures 2 to 8 and 10, and the costs behind the tables of both."""

from __future__ import annotations

from functools import partial

from analyses import authors_resnet20, robustness_table, rrelu_costs
from analyses.book import activations, flops, paths, scales, slopes
from analyses.book.entry import Entry
from analyses.book.networks import COARSE, L1BN, L1RRELU
from analyses.book.printed import printed_table

NO_TRAINING = "nothing, as it trains nothing: models/recipes has the published schedules, to be run one by one"

ENTRIES = (
    Entry(
        "rrelu2024-fig-2",
        "Slopes before training",
        "Fig. 2",
        "The density from which slopes are drawn, as in Fig. 3 of 2022.",
        "100,000 slopes drawn by milpcomp.rotated, and the density.",
        slopes.start,
    ),
    Entry(
        "rrelu2024-table-1",
        "ReLU baselines, and more training",
        "Table 1",
        "Accuracy of five ReLU networks on CIFAR-10 after 200 and after 1200 epochs.",
        "Published checkpoints of ResNet-20 and 56, trained by a third party for 200 epochs, evaluated here on all "
        "10,000 test images. Nothing was trained for 1200 epochs here.",
        partial(printed_table, "2024", "1"),
        command=authors_resnet20.COMMAND,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-fig-3",
        "Slopes after training from scratch",
        "Fig. 3",
        "Histograms of the slopes of ResNets on CIFAR-10 and CIFAR-100, trained for 1200 epochs.",
        "The one of ResNet-20 on CIFAR-10, from the authors' own checkpoint, and its slopes activation by activation. "
        "The other networks are not public and were not trained here.",
        slopes.by_layer,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-table-2",
        "Rotated ReLU trained from scratch",
        "Table 2",
        "Five networks on CIFAR-10 after 1200 epochs: accuracy, filters pruned, parameters and FLOPs in millions.",
        "Full networks are counted. The authors' ResNet-20 is evaluated at threshold 0.1 on all 10,000 test images, "
        "and counted as the paper counts: it gives the printed numbers. The other networks are not public.",
        partial(printed_table, "2024", "2"),
        command=f"{authors_resnet20.COMMAND}; {rrelu_costs.COMMAND}",
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-fig-4",
        "Batch-norm scales: l1 on them against l1 on the slopes",
        "Fig. 4",
        "Scales γ of ResNet-164 on CIFAR-10 after l1 on the scales (L1BN, network slimming) and after l1 on the slopes "
        "(L1RReLU). With L1BN many converge to between 0 and 0.1; with L1RReLU they are larger, or close to 0.",
        "ResNet-20 instead of ResNet-164, both from the same ReLU network on the same short budget of 0.75 epochs, "
        "with penalties of the same weight. The shapes can be compared, the published schedules (up to 1200 epochs) "
        "were not run.",
        scales.scales_by_penalty,
        command=f"{L1BN.command}; {L1RRELU.command}",
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-table-3",
        "ResNet-164 against network slimming",
        "Table 3",
        "ResNet-164 on CIFAR-10 with ReLU, by L1BN, RReLU and L1RReLU: accuracy, filters pruned, parameters and FLOPs "
        "in millions.",
        "The full network is counted; no ResNet-164 was trained here. The same penalties on ResNet-20 are in Fig. 4, "
        "in the figure of accuracy against FLOPs, and in the table of exact zeros at the end.",
        partial(printed_table, "2024", "3"),
        command=rrelu_costs.COMMAND,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-fig-5",
        "Slopes against batch-norm scales",
        "Fig. 5",
        "(γ, b) of the channels of ResNet-164 after L1RReLU, in different residual blocks: the deeper the block, the "
        "more pairs close to (0, 0).",
        "ResNet-20 by stages: above after 0.75 epochs with l1 on the slopes, below the authors' network, which was "
        "trained without a penalty. Crosses are slopes of at most 0.1.",
        scales.pairs,
        command=L1RRELU.command,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-fig-6",
        "Accuracy against FLOPs",
        "Fig. 6",
        "ResNet-164: accuracy against the reduction of FLOPs at several thresholds, for RReLU, L1RReLU, L1BN and L1BN "
        "with more training. Of its points only those of Table 3 are printed as numbers.",
        "Left the printed points. Right ResNet-20: channels whose slope, or batch-norm scale, is at most a threshold "
        "are set to 0 and all that is then zero or unread is removed; FLOPs are those of the network that is left, "
        "which is a real network, not an accounting. Nothing is retrained. L1BN is drawn twice: with the shifts of "
        "these channels at 0 too, as network slimming does, and with the shifts kept as constants, which are folded "
        "into what reads them. The first two curves are measured now, those of L1RReLU and L1BN were measured "
        "earlier, on the same images.",
        flops.accuracy_flops,
        command=flops.COMMAND,
        full="All 10,000 test images instead of the first 1,000.",
    ),
    Entry(
        "rrelu2024-table-4",
        "Slopes alone as coarse feature extractor",
        "Table 4",
        "ResNet-20 and 56: accuracy when only the slopes are trained, weights random.",
        "ResNet-20 on CIFAR-10, far shorter than the published 500 epochs; for ReLU published checkpoints.",
        partial(printed_table, "2024", "4"),
        command=f"{COARSE.command}; {authors_resnet20.COMMAND}",
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-fig-7",
        "Filter-path lengths of WRN-40-4",
        "Fig. 7",
        "How many filters features pass, ReLU against rotated ReLU, as in Fig. 6 of 2022.",
        "The exact distribution over all 2^18 paths, from the active filters that the authors' script lists: two "
        "convolutions to a block. Their script sums the first 18 of the 36 counts one by one; below is what that "
        "gives.",
        paths.wide,
    ),
    Entry(
        "rrelu2024-fig-8",
        "The rotated GELU",
        "Fig. 8",
        "A drawing: the GELU multiplied by slopes b.",
        "What milpcomp.rotated.RotatedGELU computes.",
        activations.rotated_gelu,
    ),
    Entry(
        "rrelu2024-table-5",
        "ImageNet: ViT-S/16 and WRN-50-2",
        "Table 5",
        "GELU against rotated GELU in the MLPs of ViT-S/16, ReLU against rotated ReLU in WRN-50-2: filters ignored, "
        "accuracy, parameters and FLOPs in millions; the columns of WRN-50-2 look swapped.",
        "The full networks are counted (of the ViT the MLPs, FLOPs per token). Nothing was trained: ImageNet was not "
        "at hand.",
        partial(printed_table, "2024", "5"),
        command=rrelu_costs.COMMAND,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-table-6",
        "Local Lipschitz constant, FGSM and PGD",
        "Table 6",
        "ResNet-20 and 56 on CIFAR-10 with ReLU and rotated ReLU: local Lipschitz constant (LLC), accuracy under FGSM "
        "and PGD with ε = 0.031.",
        "ResNet-20 with ReLU (a published checkpoint) and with rotated ReLU (the authors'), on the first 1,000 test "
        "images: on raw pixels with true labels, and with the authors' own settings (rrelu-2024: normalised units, own "
        "predictions as labels, no clipping), for which 'unchanged' is the share of images whose prediction no step "
        "changed. No rotated ResNet-56 is public.",
        robustness_table.robustness,
        command=robustness_table.COMMAND,
        full="All 10,000 test images, measured anew: many hours; it goes on where it was interrupted.",
    ),
    Entry(
        "rrelu2024-fig-10",
        "Batch-norm scales with ReLU and with rotated ReLU",
        "Fig. 10",
        "Scales γ of ResNet-56 on CIFAR-10: with ReLU 50 are close to zero after 200 epochs and 270 after 1200, with "
        "rotated ReLU 400 after 1200. What counts as close is not said.",
        "ResNet-56 with ReLU after 200 epochs (a published checkpoint); no network of the two other histograms is "
        "public. Instead ResNet-20: with ReLU after 200 epochs (published), and the authors' with rotated ReLU, epoch "
        "1103 of 1200.",
        scales.scales_by_activation,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2024-costs",
        "Every printed cost of a full network, printed and counted",
        "Tables I, V, VI (2022) and 2, 3, 5 (2024)",
        "Parameters and FLOPs in millions, and numbers of slopes.",
        "Each network is made from models/, read as it is read for everything else, and counted by milpcomp.cost. "
        "Where a printed number is not our count, rounded or with its last digits cut off, the first other way to "
        "count that gives it is named; that the authors counted so is a guess.",
        rrelu_costs.costs,
    ),
)
