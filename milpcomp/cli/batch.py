"""The command for many jobs."""

from __future__ import annotations

import argparse
import sys

from milpcomp.cli.exits import DONE, INTERRUPTED, REJECTED, print_json


def batch(options: argparse.Namespace) -> int:
    """Do the jobs of a file, and gather what they give in one table."""
    from milpcomp.batches.run import batch
    from milpcomp.batches.show import show_batch

    try:
        result = batch(
            options.jobs,
            options.out,
            workers=options.workers,
            scheduler=options.scheduler,
            retry_failed=options.retry_failed,
            progress=not options.quiet,
        )
    except KeyboardInterrupt:
        print("milpcomp: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED
    if options.json:
        print_json({"jobs": list(result.rows), "notices": list(result.notices)})
    else:
        show_batch(result)
    return REJECTED if result.failed or result.rejected else DONE
