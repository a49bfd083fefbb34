"""The tables and figures of the talk on exact compression."""

from __future__ import annotations

from collections.abc import Callable

from analyses import grid_results, talk_figures, talk_tables
from analyses.book.entry import Context, Entry, Made

COMMAND = f"{grid_results.COMMAND}; {talk_tables.DEVIATION_COMMAND}"

REMOVED = (
    "Averages over several networks. A neuron counts as stable when Gurobi, with its tolerances, says so; the smaller "
    "network is then the same up to those."
)
REMOVED_HERE = (
    "One network a shape (models/grid). 'Exactly': the smaller network is the same function on all of [0, 1]^784, by "
    "proof. l1 by subgradient steps leaves rows of 1e-8 to 1e-5 where zeros should be, and in exact arithmetic their "
    "neurons are unstable, so hardly any goes; proximal steps leave exact zeros. 'Within 0.001': neurons that hardly "
    "move are replaced by constants, and no output changes by more than 0.001 on all of [0, 1]^784, by proof. The "
    "accuracy is that on the test set, after compression."
)
LOSS_HERE = (
    " The loss is the squared error over pixels, in place of the accuracy; the mean training image alone has 0.067. "
    "By that, the autoencoders trained here with the recipe of the classifiers have learned hardly more than it, and "
    "at l1 = 0.0002 nothing else: proved, as all their neurons can go."
)
RUNTIME = "Seconds of Gurobi for one solve over all neurons, on the authors' machine; averages over several networks."
RUNTIME_HERE = (
    "Wall-clock seconds on two shared cores, processor seconds in brackets, and how many neurons were open when the "
    "limit was reached. Funnel: the method of milpcomp. One solve: the published method on HiGHS, which has no "
    "callbacks. Other machine, other networks, other solver: compare rows by their shape, not cell by cell."
)


def _table(key: str, title: str, slide: str, published: str, measured: str, make: Callable[[Context], Made]) -> Entry:
    return Entry(f"talk-{key}", title, slide, published, measured, make, command=COMMAND)


ENTRIES = (
    _table(
        "removed-depth",
        "Neurons removed in MNIST classifiers, by depth",
        "Neurons Removed in MNIST Classifiers, first table",
        REMOVED,
        REMOVED_HERE,
        talk_tables.removed_by_depth,
    ),
    _table(
        "removed-width",
        "Neurons removed in MNIST classifiers, by width",
        "Neurons Removed in MNIST Classifiers, second table",
        REMOVED,
        REMOVED_HERE,
        talk_tables.removed_by_width,
    ),
    _table(
        "runtime-depth",
        "Runtimes for MNIST classifiers, by depth",
        "Runtime in MNIST Classifiers, first table",
        RUNTIME,
        RUNTIME_HERE,
        talk_tables.runtime_by_depth,
    ),
    _table(
        "runtime-width",
        "Runtimes for MNIST classifiers, by width",
        "Runtime in MNIST Classifiers, second table",
        RUNTIME,
        RUNTIME_HERE,
        talk_tables.runtime_by_width,
    ),
    _table(
        "removed-autoencoders-middle",
        "Neurons removed in MNIST autoencoders, by the middle layer",
        "Neurons Removed in MNIST Autoencoders, first table",
        REMOVED,
        REMOVED_HERE + LOSS_HERE,
        talk_tables.removed_by_middle,
    ),
    _table(
        "removed-autoencoders-outer",
        "Neurons removed in MNIST autoencoders, by the outer layers",
        "Neurons Removed in MNIST Autoencoders, second table",
        REMOVED,
        REMOVED_HERE + LOSS_HERE,
        talk_tables.removed_by_outer,
    ),
    _table(
        "runtime-autoencoders-middle",
        "Runtimes for MNIST autoencoders, by the middle layer",
        "Runtime in MNIST Autoencoders, first table",
        RUNTIME,
        RUNTIME_HERE,
        talk_tables.runtime_by_middle,
    ),
    _table(
        "runtime-autoencoders-outer",
        "Runtimes for MNIST autoencoders, by the outer layers",
        "Runtime in MNIST Autoencoders, second table",
        RUNTIME,
        RUNTIME_HERE,
        talk_tables.runtime_by_outer,
    ),
    _table(
        "l1",
        "Neurons removed and runtime against the weight of l1",
        "The Impact of l1 Regularization on Runtimes, and on Compression",
        "The averages of the tables: l1 at half the weight makes deciding harder, at the full weight easier again.",
        "Filled marks: neurons that go within 0.001, and processor seconds of the funnel. Open marks: neurons that go "
        "exactly, after proximal l1.",
        talk_figures.against_l1,
    ),
    _table(
        "accuracy",
        "Compression against accuracy",
        "The Impact of l1 Regularization on Compression",
        "R² = 0.64 of neurons removed on accuracy, over single networks with regularisation; on the left the averages "
        "of the tables, as the single networks are not printed.",
        "The networks of models/grid trained with l1.",
        talk_figures.against_accuracy,
    ),
    _table(
        "methods",
        "Time to decide all neurons, by method",
        "Solving two MILPs per neuron is not that cheap; How About the Runtimes Now?",
        "Two MILPs a neuron, Gurobi, with early stops: about 30, 100 and 400 s. The curve of the new method is a "
        "picture without numbers.",
        "Processor seconds for the networks with l1 = 0, half and full weight (small marks) and their geometric mean; "
        "crosses mark runs that left neurons open at their limit. All methods start from the same 2,000 random inputs "
        "and 1,000 test images, which settle most neurons before a solver is asked; MILPs are solved by HiGHS.",
        talk_figures.methods,
    ),
)
