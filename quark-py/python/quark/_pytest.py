"""The pytest plugin, found by its entry point: the fixture ``quark_cluster``."""

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from .testing import Cluster


@pytest.fixture
def quark_cluster() -> "Iterator[Cluster]":
    """A cluster inside this process, with faults on demand: see ``quark.testing.Cluster``."""
    from .testing import Cluster

    with Cluster() as cluster:
        yield cluster
