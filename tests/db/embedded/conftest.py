"""Folders that the user whom PostgreSQL runs as can reach, with a space in their names."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own; pytest's are closed to other users."""
    with _open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data folder that the tests of a module use in turn: creating one takes a second."""
    with _open_folder() as folder:
        yield folder / "data"


@contextmanager
def _open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dev db ", dir="/tmp" if os.geteuid() == 0 else None) as name:
        Path(name).chmod(0o711)
        yield Path(name)
