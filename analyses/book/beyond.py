"""What the papers do not show: planes through networks, ReLUs left, dead neurons, exact zeros, paths, robustness."""

from __future__ import annotations

from analyses import (
    authors_resnet20,
    compression_robustness,
    dead_neurons,
    exact_zeros,
    relu_counts,
    sandwich,
    slice_figures,
)
from analyses.benchmarks import scaling
from analyses.book import paths
from analyses.book.entry import Entry

ENTRIES = (
    Entry(
        "beyond-slice",
        "A plane through the input space, before and after compression",
        "not published",
        "The idea is that of SplineCam (Humayun, Balestriero, Balakrishnan and Baraniuk, CVPR 2023): the exact linear "
        "regions of a network on a plane. The picture before and after exact compression is ours.",
        "The shipped MNIST network on the plane through three test images, cut into its linear regions without "
        "sampling; compression keeps the function, and the picture with it.",
        slice_figures.plane_through_images,
    ),
    Entry(
        "beyond-relus",
        "ReLUs left after compression",
        "not published",
        "Private inference counts ReLUs, as each costs more than all products around it (DeepReDuce and others). They "
        "remove ReLUs and retrain; their numbers are on other networks.",
        "Evaluations for one input, channels times height times width: before, left by exact compression, and of these "
        "the stably active ones, which are linear on the domain by proof and need no protocol. 'Needed' are the rest.",
        relu_counts.relu_table,
        full="All shipped networks of the grid.",
    ),
    Entry(
        "beyond-dead",
        "Neurons that data never switches on, against neurons that are proved dead",
        "not published",
        "AP (Liu, Ghosh, Tan and Motani, TMLR 2023) and others count neurons as dead that data leave at zero.",
        "The share of such neurons as the data set grows, on MNIST training images, against the share that is proved "
        "stably inactive on all of [0, 1]^784: data alone can only suspect.",
        dead_neurons.dead_neurons,
    ),
    Entry(
        "beyond-exact-zeros",
        "Exact zeros by training",
        "not published",
        "The papers set small slopes to 0 after training; network slimming does so with batch-norm scales.",
        "ResNet-20 on CIFAR-10: proximal steps against subgradients, on equal short budgets. An exact zero lets a "
        "channel go without changing the function, a small number does not.",
        exact_zeros.exact_zeros,
        command="python -m models.train RECIPE --data FOLDER --start CHECKPOINT --out RUN (the short recipes)",
    ),
    Entry(
        "beyond-authors",
        "The authors' rotated ResNet-20 taken apart",
        "not published",
        "The checkpoint is public; of it the papers print Table 2 (2024) alone.",
        "Slopes within several bounds, accuracy at several thresholds, and at 0.1 the network without its small "
        "channels: as the papers count it, as it really is, and as torch counts it.",
        authors_resnet20.authors_resnet20,
        command=authors_resnet20.COMMAND,
        full="Measured anew, now, on all 10,000 test images.",
    ),
    Entry(
        "beyond-scaling",
        "How the cost of deciding every neuron grows",
        "not published",
        "The talk has runtimes of two to five layers and of 100 to 800 neurons a layer.",
        "Networks on MNIST, trained alike with l1 = 0.00005: two layers of 100 to 1,600 neurons, and two to eight "
        "layers of 100. Processor seconds of the funnel until every neuron is decided, with fitted curves, and the "
        "largest memory of the process; the line is at 4 GiB. Hollow points would have neurons undecided.",
        scaling.scaling,
        command=scaling.COMMAND,
    ),
    Entry(
        "beyond-paths",
        "Filter-path lengths of the networks at hand",
        "not published",
        "Published are the two distributions of WRN-40-4.",
        "Exact distributions over all paths; the skip is free, the weighted branch costs its active filters. "
        "ResNet-20: slopes of at most 0.1 in magnitude are silent.",
        paths.table,
        full="Full WRN-40-4, ResNet-110 and ResNet-164 too.",
    ),
    Entry(
        "beyond-path-flow",
        "Which paths carry the gradient",
        "not published",
        "Veit, Wilber and Belongie (arXiv 1605.06431): in ResNet-110 only short paths carry gradient, by layers.",
        "By active filters, for ResNet-20 with ReLU and the authors' with rotated ReLU, on 50 CIFAR-10 test images: "
        "what the paths of each length carry, estimated from 40 paths drawn for each bin. Tails are heavy.",
        paths.flow,
        command=paths.FLOW_COMMAND,
        full="Measured anew, now: some minutes.",
    ),
    Entry(
        "beyond-sandwich",
        "Robust accuracy from both sides",
        "not published",
        "The networks are public; the papers measure attacks alone.",
        "The first 100 MNIST test images: share proved robust (verified), share for which no adversarial input was "
        "found (unbroken), share that PGD alone does not break (40 steps, 5 starts), all in %; images left undecided; "
        "mean local Lipschitz constant as found and as proved; seconds an image (median / most); proofs that the "
        "checker rejects.",
        sandwich.sandwich,
        command=sandwich.COMMAND,
    ),
    Entry(
        "beyond-compression-robustness",
        "What compression does to robustness",
        "not published",
        "The talk compresses exactly, the other papers set small slopes to 0; neither measures robustness after it.",
        "Accuracies in % (raw pixels, true labels), mean local Lipschitz constant (KL), and the images on which a "
        "network differs from the one above it that was not compressed: none after exact compression, some after "
        "small slopes of 0.2 are set to 0.",
        compression_robustness.compression_robustness,
        command=compression_robustness.COMMAND,
        full="Ten times as many images, measured anew: hours.",
    ),
)
