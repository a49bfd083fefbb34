"""From options to the things they name: the network, the domain, arrays of inputs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from milpcomp.domain import Box, FloatArray
from milpcomp.errors import DomainError, ResultError, SettingsError

if TYPE_CHECKING:
    from milpcomp.network import Network
    from milpcomp.stability.report import Report

ONE_OF = "give --domain LOWER UPPER, --around FILE.npy RADIUS or --vnnlib FILE"


def network(options: argparse.Namespace) -> Network:
    """Load the network that the options name."""
    from milpcomp.network.load import load

    return load(options.network, architecture=options.architecture, input_shape=options.input_shape)


def networks(options: argparse.Namespace) -> dict[str, Network]:
    """Load several networks, by the names of their files; checkpoints take the architectures in turn, or share one.

    Raises
    ------
    SettingsError
        If the architectures are more than one and not as many as checkpoints.
    """
    from milpcomp.network.load import CHECKPOINTS, load

    checkpoints = [path for path in options.networks if Path(path).suffix.lower() in CHECKPOINTS]
    given = options.architecture or [None]
    if len(given) not in (1, len(checkpoints)) or (options.architecture and not checkpoints):
        raise SettingsError(
            f"{len(checkpoints)} of the networks are checkpoints; give --architecture once, or once for each, "
            f"not {len(given)} times"
        )
    architectures = iter(given * len(checkpoints) if len(given) == 1 else given)
    found: dict[str, Network] = {}
    for path in options.networks:
        name, number = Path(path).stem, 2
        while name in found:
            name, number = f"{Path(path).stem} ({number})", number + 1
        if path in checkpoints:
            found[name] = load(path, architecture=next(architectures), input_shape=options.input_shape)
        else:
            found[name] = load(path)
    return found


def check_settings(options: argparse.Namespace) -> None:
    """Refuse options of the certification that cannot be used, before anything large is read for nothing.

    Raises
    ------
    SettingsError, SolverError
        See `milpcomp.certify`.
    """
    from milpcomp.milp.backends import backend
    from milpcomp.stability.settings import Settings

    Settings(
        options.method, backend(options.backend).name, options.time_limit, device=options.device, seed=options.seed
    )


def domain(options: argparse.Namespace, default: Box | None = None) -> Box:
    """Return the domain that the options describe, or `default` if they describe none.

    Raises
    ------
    SettingsError
        If they describe two, or none and there is no default.
    DomainError
        If what they describe is no box, or one of several.
    """
    if options.box is not None and options.vnnlib is None:
        raise SettingsError("--box chooses among the boxes of a --vnnlib file; give that file too")
    if options.vnnlib is not None:
        if options.domain is not None or options.around is not None:
            raise SettingsError(f"--vnnlib describes the whole domain; {ONE_OF}, not two of them")
        return _vnnlib_box(options.vnnlib, options.box)
    if options.around is not None:
        return _around(options)
    if options.domain is not None:
        return Box(*options.domain)
    if default is None:
        raise SettingsError(f"no domain: {ONE_OF}")
    return default


def stated_domain(options: argparse.Namespace) -> Box | None:
    """Return the domain that the options describe, or None if they describe none; see `domain`."""
    described = (options.domain, options.around, options.vnnlib, options.box)
    return None if all(option is None for option in described) else domain(options)


def require_result(path: str, what: str, command: str) -> None:
    """Refuse a file that is no .json, such as a network, where the folder of a result is asked for."""
    given = Path(path)
    if given.is_file() and given.suffix != ".json":
        raise ResultError(
            f"{path} is no {what}; give the folder (or the .json file in it) that analyze or {command} wrote, "
            f"such as {given.parent}"
        )


def start(options: argparse.Namespace) -> Report | None:
    """Read the certificate to go on from; None if the options name none.

    Raises
    ------
    ResultError
        If there is no whole certificate.
    """
    if options.start is None:
        return None
    from milpcomp.stability.storage import load_report

    require_result(options.start, "certificate", "certify")
    try:
        return load_report(options.start)
    except ResultError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ResultError(f"{error}; give a certificate.json or the folder that certify or analyze wrote") from error


def array(path: str, option: str) -> FloatArray:
    """Read the numbers of an .npy file.

    Raises
    ------
    SettingsError
        If the file is missing, no .npy file, wants to run code, or holds no numbers; the message names `option`.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.ndarray):
            raise ValueError("it is an archive of several arrays; save the one array with numpy.save")
        return content.astype(np.float64)
    except OSError as error:
        raise SettingsError(f"{option}: cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError) as error:
        raise SettingsError(f"{option}: {path} is no .npy file of numbers: {error}") from error


def _around(options: argparse.Namespace) -> Box:
    path, text = options.around
    try:
        radius = float(text)
    except ValueError:
        raise SettingsError(f"--around: the radius must be a number, got {text!r}") from None
    return Box.around(array(path, "--around"), radius, clip=None if options.domain is None else tuple(options.domain))


def _vnnlib_box(path: str, number: int | None) -> Box:
    from milpcomp.vnnlib import read_vnnlib

    boxes = read_vnnlib(path)
    if number is None and len(boxes) > 1:
        raise DomainError(f"{path} describes {len(boxes)} boxes; choose one with --box N, N from 1 to {len(boxes)}")
    chosen = 1 if number is None else number
    if not 1 <= chosen <= len(boxes):
        raise DomainError(f"{path} describes {len(boxes)} boxes and none is number {chosen}; choose 1 to {len(boxes)}")
    return boxes[chosen - 1]
