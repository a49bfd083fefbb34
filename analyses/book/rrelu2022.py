"""The rotated ReLU paper of 2022: Tables I, II, V, VI and VII, Figures 1 to 6, in the order of the paper."""

from __future__ import annotations

from functools import partial

from analyses import authors_resnet20, rrelu_costs
from analyses.book import activations, paths, slopes
from analyses.book.entry import Entry
from analyses.book.networks import COARSE, RELU20
from analyses.book.printed import printed_table

TRAIN = "python -m models.train {} --data FOLDER --out RUN"
RELU_COMMAND = f"{authors_resnet20.COMMAND} && {rrelu_costs.COMMAND}"
MNIST = TRAIN.format("mnist-fcnn-relu") + "; the same with mnist-fcnn-rotated"
TYPE2 = TRAIN.format("short-type2-proximal") + f" --start ../shared/data/{RELU20}"
MNIST_TRAINING = (
    "The two MNIST networks are trained anew, 300 epochs: the better part of an hour each. Nothing else is trained."
)
NO_TRAINING = "nothing, as it trains nothing: models/recipes has the published schedules, to be run one by one"

ENTRIES = (
    Entry(
        "rrelu2022-fig-1",
        "The rotated ReLU, and the weights that a zero slope frees",
        "Fig. 1",
        "Drawings: the activation with a = ±1 and b > 0 or b < 0 (a), with a in the weights (b), and which weights of "
        "a dense (c) and a convolutional layer (d) can be ignored when a slope is 0.",
        "The curves are what milpcomp.rotated.RotatedReLU computes. (c) and (d) are two networks of the drawn shapes "
        "with random weights (darker is larger); grey is what a zero slope makes superfluous, and how many weights "
        "remove_channels really keeps is counted.",
        activations.rotated_relu,
    ),
    Entry(
        "rrelu2022-table-i",
        "Type I: trained from scratch, slopes from the truncated mixture",
        "Table I",
        "Ten networks with ReLU and with rotated ReLU on MNIST, CIFAR-10, CIFAR-100 and SVHN: parameters, FLOPs, "
        "filters ignored, accuracy after ignoring them. Parameters and FLOPs are in millions.",
        "Full networks of all ten are counted. The MNIST network is trained by the published schedule, once with ReLU "
        "and once with rotated ReLU. For CIFAR-10 and ReLU the accuracies of published checkpoints stand in. A dash "
        "was not trained here.",
        partial(printed_table, "2022", "I"),
        command=f"{MNIST}; {RELU_COMMAND}",
        full=MNIST_TRAINING,
    ),
    Entry(
        "rrelu2022-fig-2",
        "Slopes of ResNets after training, by how they start",
        "Fig. 2",
        "Histograms of the slopes of ResNet-20, 56 and 110 on CIFAR-10 and CIFAR-100: type I (from scratch) above, "
        "type II (from a ReLU network, slopes 1) below. The deeper the network, the more slopes gather at 0: by the "
        "text 24, 171 and 1438 filters are superfluous for CIFAR-10.",
        "Slopes of ResNet-20 on CIFAR-10: by type I those of the authors' own checkpoint of 2024, by type II those of "
        "a short run of ours with proximal l1. The networks of the other histograms are not public and were not "
        "trained here; below stands what Table V prints of all of them.",
        slopes.by_start,
        command=TYPE2,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2022-table-ii",
        "Type II: from a trained ReLU network, slopes 1, retrained",
        "Table II",
        "Nine networks after 300 more epochs: filters ignored, parameters and FLOPs in millions, accuracy after "
        "ignoring.",
        "ResNet-20 on CIFAR-10: 1.75 epochs from a published ReLU network, with proximal l1 on the slopes, which the "
        "paper has not; so its accuracy is no reproduction of the printed one. A dash was not trained here.",
        partial(printed_table, "2022", "II"),
        command=TYPE2,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2022-fig-3",
        "Slopes before training (type I)",
        "Fig. 3",
        "The density from which slopes are drawn: two Gaussians around ±1 with variance 3, truncated to slopes of 35 "
        "to 55 degrees.",
        "100,000 slopes drawn by milpcomp.rotated, and the density.",
        slopes.start,
    ),
    Entry(
        "rrelu2022-fig-4",
        "Slopes of wide networks, by how they start",
        "Fig. 4",
        "Histograms of the slopes of WRN-40-4 (CIFAR-10, CIFAR-100) and WRN-16-4 (SVHN) by type I and type II: many "
        "are close to 0.",
        "No wide network was trained here, and none is public, so there is no histogram. Shown is what is printed: the "
        "shares of ignored filters (Table V), and the active filters of each convolution as the authors' script lists "
        "them for WRN-40-4.",
        slopes.wide,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2022-table-v",
        "Thresholds, and the filters that they ignore",
        "Table V",
        "The threshold γ of each experiment and how many of its slopes are below, for type I, type II and the two-step "
        "training.",
        "Slopes in all are counted for every network. The thresholds are those that milpcomp.rotated.select_threshold "
        "finds for the networks trained here: the largest that loses no accuracy on one half of the test set.",
        partial(printed_table, "2022", "V"),
        command=f"{TRAIN.format('mnist-fcnn-rotated')}; {TYPE2}; {rrelu_costs.COMMAND}",
        full=MNIST_TRAINING,
    ),
    Entry(
        "rrelu2022-table-vi",
        "Two steps: slopes alone, then everything",
        "Table VI",
        "ResNet-20 and 56: slopes trained alone on random weights, then, without the filters whose slopes are small, "
        "everything. Parameters and FLOPs in millions.",
        "Full networks are counted; for ReLU and CIFAR-10 the accuracies of published checkpoints stand in. The first "
        "step was run for ResNet-20 on CIFAR-10, far shorter than the published 500 epochs; the second was not run.",
        partial(printed_table, "2022", "VI"),
        command=f"{COARSE.command}; {RELU_COMMAND}",
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2022-fig-5",
        "Slopes trained alone on random weights",
        "Fig. 5",
        "The 2,016 slopes of ResNet-56 before (a) and after 500 epochs in which only they are trained: 309 are below "
        "0.1 on CIFAR-10 (b), and 373 below 0.11 on CIFAR-100 (c).",
        "Before: 2,016 slopes drawn by milpcomp.rotated. After: the 672 slopes of ResNet-20 on CIFAR-10, trained far "
        "shorter than the published 500 epochs, so that this shows the way, not where it leads.",
        slopes.coarse,
        command=COARSE.command,
        full=NO_TRAINING,
    ),
    Entry(
        "rrelu2022-fig-6",
        "Filter-path lengths of WRN-40-4",
        "Fig. 6",
        "How many filters features pass, ReLU against rotated ReLU, CIFAR-100. The text: at most 1424; most paths "
        "between 300 and 1100 with ReLU, between 100 and 500 with rotated ReLU.",
        "The exact distribution over all 2^18 paths, from the active filters that the authors' script lists: two "
        "convolutions to a block. Their script sums the first 18 of the 36 counts one by one; below is what that "
        "gives.",
        paths.wide,
    ),
    Entry(
        "rrelu2022-table-vii",
        "Generalisation: the better of both starts against ReLU",
        "Table VII",
        "Accuracies with ReLU and with rotated ReLU on ten networks.",
        "MNIST by the published schedule; ResNet-20 by a short type II run; ReLU on CIFAR-10 by published "
        "checkpoints. A dash was not trained here.",
        partial(printed_table, "2022", "VII"),
        command=f"{MNIST}; {TYPE2}; {authors_resnet20.COMMAND}",
        full=MNIST_TRAINING,
    ),
)
