"""The benchmarks are run by hand, months apart: what they import must still be there."""

import importlib

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_can_be_started(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
