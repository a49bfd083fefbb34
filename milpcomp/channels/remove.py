"""`remove_channels`: channels whose slope is zero, or nearly so, go, with filters, batch norms and readers' inputs.

    threshold 0     slopes that are exactly 0: the smaller network is the same function, whatever the input
    threshold gamma slopes |b| <= gamma are set to 0 first, which is another function; then as above
    "auto"          the largest gamma without loss on one half of labelled images (Nayak and Kalyani, appendix C)

The surgery is compression (`milpcomp.compression`) on a report that knows which pre-activations are constants, and of
all others nothing. What is zero or unread by structure is cut off, and all other numbers are copied.

Batch-norm channels with gamma = 0 are constants. A constant that the activation makes zero goes like a zero slope. The
others do not cross zero padding (DESIGN: trap 1): they go into the next bias where no padding is between, else those of
a layer share one channel, and where readers allow neither (a residual addition) the constant stays and only its filter
goes. Folding and sharing round; they are done only if the proved deviation stays within the tolerance.

Where one side of an addition, or one reader of a stream, has lost channels that another still uses, an index map
gathers or scatters them. It moves numbers and costs no FLOPs; what it makes possible is at least a filter or a
sub-filter less. So in parameters and FLOPs, which are what is minimised here, it always pays. In time it need not: on
the published ResNet-20 (three index maps for 26 channels, 3 % fewer FLOPs) speed is the same with and without them,
within noise.

**Domain.** That a zero slope makes a zero does not depend on the domain. A domain has to be stated all the same, as
every claim of a compression is about one: it is the one given, else the smallest interval that holds all images, else
`DOMAIN`. It enters the bounds of what rounds, and the checker's bounds.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from milpcomp.channels.accounting import masked_accounting
from milpcomp.channels.measure import Images, check_images, measure
from milpcomp.channels.removal import Removal
from milpcomp.channels.slopes import channel_slopes, check_threshold, silenced
from milpcomp.channels.surgery import cut, structural_report
from milpcomp.compression.compress import check_tolerance
from milpcomp.domain import Box
from milpcomp.errors import SettingsError
from milpcomp.network.graph import Network, require_network

AUTO = "auto"

DOMAIN = (-1.0, 1.0)
"""Range of every input where neither a domain nor images are given."""

GAP_IMAGES = 64
"""On how many images at most the float32 gap of the compression is measured; `Measured` is about all of them."""


def remove_channels(
    network: Network,
    threshold: float | str = 0.0,
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    domain: Box | None = None,
    tolerance: float | str = "rounding",
) -> Removal:
    """Return `network` without the channels whose slopes are at most `threshold`, and without all that goes with them.

    Parameters
    ----------
    network : Network
    threshold : float or "auto"
        With 0, slopes that are exactly 0: the result is the same function. With "auto", images and labels are needed.
    images : array_like, shape (N, *input_shape), optional
        To measure on, as the network takes them (normalised if it expects that).
    labels : array_like of int, shape (N,), optional
        The class of each image.
    domain : Box, optional
        The inputs that the claim of equality is about; see the module for the default.
    tolerance : "rounding" or float
        What the edits that round may change, as in `milpcomp.compress`; 0 makes only edits that do not.

    Returns
    -------
    Removal

    Raises
    ------
    NetworkError
        If `network` is none.
    SettingsError
        If the threshold, the images, the labels or the tolerance cannot be used.
    DomainError
        If the domain does not fit the network.

    Notes
    -----
    **Trusts** what `milpcomp.compress` trusts. ``removal.check()`` has the independent checker relate the two networks.
    """
    require_network(network, "remove_channels")
    check_tolerance(tolerance)
    if isinstance(threshold, str) and threshold != AUTO:
        raise SettingsError(f'the threshold must be "auto" or a number >= 0, got {threshold!r}')
    if images is None and (threshold == AUTO or labels is not None):
        raise SettingsError('labels, and the threshold "auto", need images')
    given, known = (None, None) if images is None else check_images(network, images, labels)
    selection = None
    if not isinstance(threshold, str):
        check_threshold(threshold)
        gamma = float(threshold)
    else:
        from milpcomp.channels.select import select_gamma

        if given is None or known is None:
            raise SettingsError('the threshold "auto" is selected by accuracy; give labels with the images')
        selection = select_gamma(network, given, known)
        gamma = selection.gamma
    masked = silenced(network, gamma)
    report = structural_report(masked, _domain(network, domain, given))
    some = None if given is None else given[:GAP_IMAGES]
    compression = cut(masked, report, tolerance, some)
    return Removal(
        original_digest=network.digest,
        gamma=gamma,
        slopes=channel_slopes(network),
        masked=masked,
        report=report,
        compression=compression,
        accounting=masked_accounting(masked),
        selection=selection,
        measured=None if given is None else measure(network, masked, compression.network, given, known),
    )


def _domain(network: Network, domain: Box | None, images: Images | None) -> Box:
    if domain is not None:
        return domain.fit(network.input_shape)
    low, high = DOMAIN if images is None else (float(images.min()), float(images.max()))
    return Box(low, high).fit(network.input_shape)
