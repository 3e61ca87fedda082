"""Small corpora to prepare, without speaker vectors and with two processes unless a test says otherwise."""

import fractions
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from e2etts_jax import prepare
from e2etts_jax.data.prepare import layouts
from e2etts_jax.data.prepare.options import Options

RATE = 16_000


def voice(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """f32[W]: a buzz that comes and goes, as loud as speech."""
    t = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    buzz = sum(np.sin(2 * np.pi * 120 * k * t + rng.uniform(0, 6)) / k for k in range(1, 12))
    return (0.1 * buzz * (1.2 + np.sin(2 * np.pi * 4 * t)) + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every file of a prepared folder; the locks, which are empty, left out."""
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and not p.name.startswith("lock-")
    }


def run(source: Path | str, out: Path, workers: int = 2, part: tuple[int, int] = (0, 1), **options: Any) -> str:
    """Prepares `source` into `out`, and returns what the command would print."""
    if str(source).startswith("tfds:"):
        located, layout = str(source), "tfds"
    else:
        path, layout = layouts.locate(Path(source), options.pop("layout", "auto"))
        located = str(path)
    chosen = Options(located, layout, **{"sample_rate": RATE, "speaker": "none"} | options)
    return prepare.prepare(chosen, out, workers, part, fractions.Fraction(22050, 1024))


@pytest.fixture(scope="session")
def tools() -> dict[str, Callable[..., Any]]:
    """The functions above: two folders named tests cannot be imported from."""
    return {"voice": voice, "write_jsonl": write_jsonl, "digests": digests, "run": run}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 120 clips of 0.6 to 1.8 s with three speakers, two languages, a label, and a few that are wrong."""
    root = tmp_path_factory.mktemp("corpus")
    rows = []
    for i in range(120):
        sf.write(root / f"{i:03}.wav", voice(0.6 + 0.01 * i, seed=i), RATE)
        rows.append({"id": f"clip-{i:03}", "audio": f"{i:03}.wav", "text": "ten letters", "speaker": f"s{i % 3}"})
        rows[-1] |= {"emotion": ("glad", "sad")[i % 2]} if i % 5 else {}
        rows[-1] |= {"language": "en"} if i % 2 else {}
    rows[7]["audio"], rows[8]["text"], rows[9]["id"] = "nowhere.wav", "...", "clip-003"
    return write_jsonl(root / "metadata.jsonl", rows)


@pytest.fixture(scope="session")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`corpus`, prepared by two processes."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    run(corpus, out)
    return out
