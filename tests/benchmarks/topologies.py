"""Compiles the stages of `:base` for TPU slices, and makes the table of docs/scaling.md from what came out.

    python tests/benchmarks/topologies.py [--only=v5e:4x4] [--table]

What docs/results/aot/steps.jsonl holds is not compiled again; delete lines to have them anew. Two to fourteen minutes
each on two cores, a third of that with JAX_OPTIMIZATION_LEVEL=O1, which the table then says.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "docs" / "results" / "aot" / "steps.jsonl"
RECIPES = {"joint": ("joint", "tune", "chain"), "cascaded": ("tok", "parts")}  # the cascade's third is joint's second
# name -> topology, slices, mesh, and the parts a batch of 1024 rows is split into, by stage
PLACES: dict[str, tuple[str, int, str, dict[str, int]]] = {
    "v5e:4x4": ("v5e:4x4", 1, "(1,-1,1)", {"chain": 8, "": 4}),
    "v6e:4x4": ("v6e:4x4", 1, "(1,-1,1)", {"chain": 4, "": 2}),
    "v5p:2x2x4": ("v5p:2x2x4", 1, "(1,-1,1)", {"chain": 2, "": 1}),
    "2 x v5e:4x4": ("v5e:4x4", 2, "(0,-1,1)", {"chain": 4, "": 2}),
    "v5e:16x16": ("v5e:16x16", 1, "(16,16,1)", {"": 1}),
}

LEVELS = {"UNKNOWN": "", "O1": "O1"}  # of the compiler's optimisation, '' = its own


def known() -> dict[tuple[str, str], dict[str, Any]]:
    """What was compiled, by place and stage."""
    lines = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    return {(f"{n['slices']} x {n['topology']}" if n["slices"] > 1 else n["topology"], n["stage"]): n for n in lines}


def compile_all(only: str) -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    for recipe, stages in RECIPES.items():
        for stage in stages:
            for place, (topology, slices, mesh, parts) in PLACES.items():
                if (place, stage) in known() or only not in ("", place):
                    continue
                command = [sys.executable, "-m", "e2etts_jax.aot", f"--config=configs/{recipe}.py:base"]
                command += [f"--config.mesh.shape={mesh}", f"--topology={topology}", f"--slices={slices}"]
                command += [f"--config.stages.{stage}.accumulate={parts.get(stage, parts[''])}", f"--stage={stage}"]
                print("$", " ".join(command[1:]), flush=True)
                subprocess.run([*command, f"--json={FILE}"], check=False)


def table() -> str:
    head = (
        "slice",
        "mesh",
        "stage",
        "parts",
        "compiler",
        "memory a chip",
        "weights, optimizer",
        "sent a chip",
        "a step",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    places, stages = list(PLACES), [stage for names in RECIPES.values() for stage in names]
    for (place, stage), n in sorted(known().items(), key=lambda k: (places.index(k[0][0]), stages.index(k[0][1]))):
        gib = lambda b: f"{b / 2**30:.2f}"  # noqa: E731
        sent = gib(sum(c["sent"] for c in n["collectives"])) + " GiB" if "collectives" in n else ""
        lines.append(
            f"| {place} | {'x'.join(map(str, n['mesh']))} | {stage} | {n['accumulate']} | {LEVELS[n['level']]} | "
            f"{gib(n['memory'])} of {n['limit'] / 2**30:.0f} GiB | {gib(n['weights'] + n['optimizer'])} | "
            f"{sent} | {max(n['seconds'].values()):.2f} s or more, MFU {n['mfu']:.0%} or less |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"one of {', '.join(PLACES)}")
    parser.add_argument("--table", action="store_true", help="print the table and compile nothing")
    options = parser.parse_args()
    if not options.table:
        compile_all(options.only)
    print(table())
