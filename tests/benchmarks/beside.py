"""What benchmarks share: clips and results; beside PyTorch the options, random models, the clock, the other side."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

sys.path.append(str(Path(__file__).parents[2]))  # where `configs` is: a script sees its own folder alone
from configs import joint  # noqa: E402
from e2etts_jax.data.text import make_both
from e2etts_jax.models.tokenizer import Tokenizer
from e2etts_jax.system import System

RUNS = 3  # that count, after a first one that does not


def options(doc: str, rows: int, tokens: int) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", required=True)
    parser.add_argument("--size", default="small")
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--tokens", type=int, default=tokens)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def models(size: str) -> tuple[Any, System, Any]:
    """The config of configs/joint.py at the size in float32, its models and fresh parameters."""
    config = joint.get_config(f"{size},dtype=float32")
    system = System.from_config(config, *make_both(config.text).sizes)
    return config, system, nn.unbox(system.init(jax.random.key(0)))


def codebook(system: System, params: Any) -> jax.Array:
    return system.tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)


def median(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `run` takes, and what the last run gave."""
    took = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        made = jax.block_until_ready(run())
        took.append(time.perf_counter() - begun)
    return statistics.median(took[1:]), made


def theirs(python: str, script: str, *arguments: Any) -> dict[str, Any]:
    """What a script says in its last line, JSON, in another Python."""
    command = [python, "-c", script, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def clips(folder: Path, split: str) -> list[dict[str, Any]]:
    """The lines of a corpus's metadata.jsonl that are of the split."""
    lines = map(json.loads, (folder / "metadata.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == split]


def keep(out: Path | None, result: Any) -> None:
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
