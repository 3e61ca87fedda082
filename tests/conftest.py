"""What every test runs under: eight virtual CPU devices, strict shapes and a compile cache kept between runs.

The settings are environment variables so that the processes that tests start inherit them; they only count when they
are set before JAX is imported.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if "jax" in sys.modules:
    raise RuntimeError("jax was imported before tests/conftest.py could configure it: run pytest without that plugin")

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "e2etts_jax" / "compiled_tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

REPO_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs() -> Iterator[None]:
    """Forgets compiled programs before their mappings reach the kernel's limit, where compiling crashes."""
    yield
    maps, limit = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
    if "jax" in sys.modules and maps.exists() and 2 * maps.read_bytes().count(b"\n") > int(limit.read_text()):
        sys.modules["jax"].clear_caches()


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """No implicit dtype promotion. Not for every test, because optax's own schedules and Adam promote."""
    import jax  # here and not above: the settings come first

    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout, for tests that read files or start processes in it."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def load_config() -> Callable[..., object]:
    """`load_config("joint", "tiny")` is the ConfigDict of `--config=configs/joint.py:tiny`."""

    def load(name: str, *args: str) -> object:
        path = REPO_ROOT / "configs" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"config_under_test_{name}", path)
        if spec is None or spec.loader is None or not path.exists():
            raise FileNotFoundError(f"no config {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.get_config(*args)

    return load
