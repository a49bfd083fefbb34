"""The talk on exact compression: neurons removed, runtimes, and what both depend on."""

from __future__ import annotations

from analyses import grid_results, talk_figures, talk_tables
from analyses.book.entry import Entry

GRID = f"{grid_results.COMMAND} --networks FOLDER"
BOTH = f"{GRID}; {talk_tables.DEVIATION_COMMAND}"
FULL = "nothing: whatever the results hold of the large shapes is shown; the command above measures them, in hours"
REMOVED = (
    "One network of each shape and regularisation, trained here. Exactly: what compression removes with the function "
    "the same on [0, 1]^784, by proof. Within 0.001: what goes if neurons that hardly move may become constants, with "
    "no output moved by more than 0.001 on [0, 1]^784, by proof. In brackets the test accuracy or loss after it."
)
SUBGRADIENT = (
    "Subgradients leave weights of 1e-8 to 1e-5 where zeros should be, so that hardly a neuron is exactly stable after "
    "them; the last column takes proximal steps instead, which the talk has not."
)
LOSS = (
    "The loss is the squared error over pixels; the mean training image alone has 0.067, and at l1 = 0.0002 hardly "
    "more than that is learnt. Autoencoders are trained here with larger steps than classifiers; with the steps of "
    "these they stay at the mean image whatever l1 is."
)
RUNTIME = (
    "Time until all neurons are decided: by the funnel (bounds, witnesses, branch and bound, every verdict proved), "
    "and by one solve with HiGHS as the talk has it. Wall-clock time, in brackets processor time; 'open' are neurons "
    "undecided at the time limit. Machines and solvers differ, so that only the shapes of both columns compare."
)

ENTRIES = (
    Entry(
        "talk-removed-depth",
        "Neurons removed in MNIST classifiers, by depth",
        "first table of neurons removed",
        "Classifiers of two to five layers of 100: share of neurons removed without changing the network, and "
        "accuracy, at three weights of l1; averages over several networks.",
        f"{REMOVED} {SUBGRADIENT}",
        talk_tables.removed_by_depth,
        command=BOTH,
        full=FULL,
    ),
    Entry(
        "talk-removed-width",
        "Neurons removed in MNIST classifiers, by width",
        "second table of neurons removed",
        "The same for two layers of 100 to 800.",
        f"{REMOVED} {SUBGRADIENT}",
        talk_tables.removed_by_width,
        command=BOTH,
        full=FULL,
    ),
    Entry(
        "talk-runtime-depth",
        "Runtimes for MNIST classifiers, by depth",
        "first table of runtimes",
        "Seconds to identify all stable neurons of the same classifiers by one solve, with Gurobi.",
        RUNTIME,
        talk_tables.runtime_by_depth,
        command=GRID,
        full=FULL,
    ),
    Entry(
        "talk-runtime-width",
        "Runtimes for MNIST classifiers, by width",
        "second table of runtimes",
        "The same for two layers of 100 to 800; 2x800 at half the weight was not finished.",
        RUNTIME,
        talk_tables.runtime_by_width,
        command=GRID,
        full=FULL,
    ),
    Entry(
        "talk-l1",
        "What regularisation does to runtime and compression: 2x100",
        "The impact of l1",
        "Two plots against the weight of l1: runtimes are longest in the middle, and more neurons are removed the "
        "larger it is. Their points are not printed.",
        "One network of 2x100 for each weight (subgradient, seed 0): neurons that go within a proved deviation of "
        "0.001, and exactly; processor time of the funnel, a cross where neurons were open after a minute.",
        talk_figures.over_l1,
        command=talk_figures.SWEEP_COMMAND,
        full="nothing: the command above trains and measures, in some minutes a network on a busy core",
    ),
    Entry(
        "talk-l1-shapes",
        "What regularisation does to runtime and compression: all shapes",
        "The impact of l1",
        "Drawn from the tables: three weights of l1.",
        "The same from our measurements: removed within a proved deviation of 0.001, and exactly after proximal "
        "training (open marks); processor time of the funnel.",
        talk_figures.against_l1,
        command=BOTH,
        full=FULL,
    ),
    Entry(
        "talk-accuracy",
        "Compression against accuracy",
        "The impact of l1 on compression",
        "A plot of neurons removed against accuracy under regularisation, over single networks: R² = 0.64. Its points "
        "are not printed; drawn are the averages in the tables.",
        "Neurons removed within a proved deviation of 0.001: 2x100 over many weights of l1, and the shapes of the "
        "tables at half and full weight; straight lines fitted to each kind.",
        talk_figures.against_accuracy,
        command=f"{BOTH}; {talk_figures.SWEEP_COMMAND}",
        full=FULL,
    ),
    Entry(
        "talk-methods",
        "Two MILPs a neuron, one solve, and the funnel",
        "Solving two MILPs per neuron is not that cheap",
        "Seconds to identify all stable neurons with two MILPs for each, stopped early, with Gurobi: 2x25 30, 2x50 "
        "100, 2x100 400.",
        "The same with HiGHS, one solve a layer, one solve for all, and the funnel, in processor seconds, for three "
        "weights of l1 each; curves join geometric means, crosses mark neurons open at the limit. All methods start "
        "from the same 2,000 random inputs and 1,000 test images, which settle most neurons before a solver is asked.",
        talk_figures.methods,
        command=GRID,
        full=FULL,
    ),
    Entry(
        "talk-autoencoders-middle",
        "Neurons removed in MNIST autoencoders, by middle layer",
        "first table of autoencoders",
        "Autoencoders with 10 to 50 neurons in the middle: share of neurons removed and loss, at three weights of l1.",
        f"{REMOVED} {LOSS}",
        talk_tables.removed_by_middle,
        command=BOTH,
        full=FULL,
    ),
    Entry(
        "talk-autoencoders-outer",
        "Neurons removed in MNIST autoencoders, by outer layers",
        "second table of autoencoders",
        "Autoencoders with 50 to 400 neurons in their outer layers: share of neurons removed and loss.",
        f"{REMOVED} {LOSS}",
        talk_tables.removed_by_outer,
        command=BOTH,
        full=FULL,
    ),
    Entry(
        "talk-autoencoders-runtime-middle",
        "Runtimes for MNIST autoencoders, by middle layer",
        "Runtime in MNIST autoencoders",
        "Seconds to identify all stable neurons by one solve, with Gurobi; they drop abruptly where most neurons go.",
        RUNTIME,
        talk_tables.runtime_by_middle,
        command=GRID,
        full=FULL,
    ),
    Entry(
        "talk-autoencoders-runtime-outer",
        "Runtimes for MNIST autoencoders, by outer layers",
        "Runtime in MNIST autoencoders",
        "The same for 50 to 400 neurons in the outer layers.",
        RUNTIME,
        talk_tables.runtime_by_outer,
        command=GRID,
        full=FULL,
    ),
)
