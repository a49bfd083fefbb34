"""The examples in docstrings, which the reference shows, run in a folder that holds what they name."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import milpcomp as mc
from milpcomp.rotated import slopes
from tests.docs_pages import ROOT, matches

NOT_RUN = {
    "milpcomp.batches.blocks.certify_in_blocks": "needs a cluster; tests of blocks start one",
    "milpcomp.batches.run.batch": "docs/batch.md runs the same",
}
"""Examples that are only parsed, and why."""

FACTORY = """
from torch import nn

def resnet20():
    return nn.Sequential(nn.Conv2d(3, 2, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
"""


def _examples() -> dict[str, doctest.DocTest]:
    """Return the examples of every docstring of the package, by the name of what it describes."""
    found = {}
    for info in pkgutil.walk_packages(mc.__path__, "milpcomp."):
        if not info.name.endswith(("__main__", "ortools_worker")):
            for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(info.name)):
                if test.examples:
                    found[test.name] = test
    return found


class _Checker(doctest.OutputChecker):
    """An example that shows no output may have any."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or matches(got, want)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what examples take for granted, in a folder with the files that they read."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "my_models").mkdir()
    (tmp_path / "my_models" / "resnet.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(784, 3), nn.ReLU(), nn.Linear(3, 2))
    model: nn.Module = nn.Sequential(
        nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    model = mc.rotate(model, torch.zeros(1, 3, 224, 224))
    mc.load(module, input_shape=784).to_onnx("model.onnx")
    torch.save(importlib.import_module("my_models.resnet").resnet20().state_dict(), "resnet.th")
    images = torch.rand(2, 3, 224, 224)
    given = {"x": images, "images": images, "y": torch.tensor([0, 1]), "slopes": slopes, "module": module}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return given | {"mc": mc, "torch": torch, "cross_entropy": F.cross_entropy, "model": model, "optimizer": optimizer}


@pytest.mark.slow
def test_examples_in_docstrings_run(names: dict[str, Any]) -> None:
    """Every example runs and prints what it shows, except those listed."""
    examples = _examples()
    assert set(NOT_RUN) < set(examples)
    for name in set(examples) - set(NOT_RUN):
        test = examples[name]
        test.globs = dict(test.globs) | names
        report: list[str] = []
        runner = doctest.DocTestRunner(checker=_Checker())
        assert runner.run(test, out=report.append).failed == 0, "".join(report)
