"""analyses/compression_robustness.py: the table names what changed, and of the first network nothing did."""

from __future__ import annotations

from analyses.compression_robustness import table
from milpcomp.channels import silenced
from milpcomp.robustness import compare, preset
from tests.test_compare import X, Y, classifier


def test_rows_name_the_images_that_change() -> None:
    """The second image is misclassified without the small slope, and the fourth broken in a smaller ball."""
    network = classifier()
    found = compare({"net": network, "net, cut": silenced(network, 0.05)}, X, Y, preset("raw", 0.055))
    first, second = table({0.055: found}).rows
    assert first[:6] == ("net", "0.055", "4", "100.00", "50.00", "50.00")
    assert first[7:] == ("", "", "", "")
    assert second[3:6] == ("75.00", "25.00", "25.00")
    assert second[7:10] == ("1: 1", "1: 3", "1: 3")
