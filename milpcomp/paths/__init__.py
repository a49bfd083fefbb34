"""Filter-path lengths: through how many active filters a feature passes on its way through a residual network."""

from milpcomp.paths.counts import read_counts as read_counts
from milpcomp.paths.distribution import Distribution as Distribution
from milpcomp.paths.distribution import path_lengths as path_lengths
from milpcomp.paths.flow import Flow as Flow
from milpcomp.paths.flow import gradient_flow as gradient_flow
from milpcomp.paths.graph import active_filters as active_filters
from milpcomp.paths.graph import block_graph as block_graph
from milpcomp.paths.graph import filter_graph as filter_graph
from milpcomp.paths.published import PRESETS as PRESETS
from milpcomp.paths.published import seed_graph as seed_graph
