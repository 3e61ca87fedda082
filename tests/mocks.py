"""TFDS without its data."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from e2etts_jax.data import sources


@contextlib.contextmanager
def mocked(num_examples: int = 20) -> Iterator[None]:
    """Every set of TFDS has random clips in each split; what is asked for counts as prepared."""
    sources._open.cache_clear()
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        tfds.testing.mock_data(num_examples=num_examples, data_dir=folder),
    ):
        patch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda self: True)
        # a mock whose own folder exists looks for files in it
        patch.setattr(sources.index, "path_of", lambda where, split: Path(folder) / f"{Path(where).parts[-3]}-{split}")
        yield
    sources._open.cache_clear()
