"""Small data sets, built once per run in a temporary folder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from e2etts_jax.data import catalog
from e2etts_jax.data.datasets.numbers.builder import Numbers, NumbersConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The `data` part of a config."""

    dataset: str
    data_dir: str | Path
    buckets: tuple[int, ...] = (96,)
    max_text: int = 96
    language: str = "en"
    prompts: float = 0.0


def small_numbers(**kwargs: object) -> Numbers:
    return Numbers(config=NumbersConfig(name="small", train=50, validation=13, test=7), **kwargs)


@pytest.fixture(scope="session")
def numbers_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small `numbers` lies."""
    return tmp_path_factory.mktemp("numbers")


@pytest.fixture
def numbers(numbers_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Config of a `numbers` with 50, 13 and 7 clips."""
    monkeypatch.setitem(catalog.BUNDLED, "numbers", small_numbers)
    return Data("numbers", str(numbers_dir))


@pytest.fixture(scope="session")
def data_config() -> Callable[..., Data]:
    """`data_config(dataset, data_dir, buckets=..., max_text=...)`."""
    return Data


@pytest.fixture(scope="session")
def asterisk_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `asterisk_en` lies."""
    return tmp_path_factory.mktemp("asterisk")
