"""Which part of the package may import which. Read from the source with `ast`, so nothing is imported or run."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = "e2etts_jax"

# From the bottom up; a module imports from its own row and the rows before it. A name stands for the module and, if it
# is a package, everything in it; the longest name wins. `e2etts_jax.` is left out.
LAYERS: list[set[str]] = [
    {
        "types",
        "rng",
        "cli",
        "run_flags",
        "trained_flags",
        "bucket",
        "distributed",
        "processes",
        "stopping",
        "models.fsq",
        "models.ode",
        "voices",
    },
    {"models", "data", "features", "stages", "optim", "sharding", "metrics", "interop", "chips", "hlo"},
    {"augment", "system", "vocoding", "trainable", "forward", "losses", "state", "checkpoint", "infer"},
    {"step", "flops"},
    {"rows", "profile", "progress", "samples", "workdir", "weights", "train", "evaluate"},
    {
        "api",
        "demo",
        "main",
        "aot",
        "prepare",
        "synthesize",
        "stream",
        "import_vocoder",
        "import_weights",
        "export_weights",
        "export_voice",
    },
]

# Beyond the order of the rows: (importer, what it may not reach even through other modules of the package).
FORBIDDEN: list[tuple[str, str]] = [
    ("data", f"{PACKAGE}.models"),
    ("data", "jax"),
    ("data", "flax"),
    ("losses", f"{PACKAGE}.models"),
    ("losses", f"{PACKAGE}.forward"),
    ("models.llm", f"{PACKAGE}.models.flow"),
]


def is_in(module: str, name: str) -> bool:
    """Is `module` the module or package `name`, or something inside it?"""
    return module == name or module.startswith(name + ".")


def layer_of(module: str) -> int | None:
    """The row of LAYERS that holds `module` (given without the package's name), or None."""
    matches = [(len(name), row) for row, names in enumerate(LAYERS) for name in names if is_in(module, name)]
    return max(matches)[1] if matches else None


def imports_of(module: str, source: str, known: Iterable[str]) -> set[str]:
    """Absolute names of the modules that `source` imports, wherever in the file the import stands.

    `from e2etts_jax import losses` counts as `e2etts_jax.losses` when that is a module in `known`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module}: write relative imports as absolute ones (line {node.lineno})")
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else node.module)
    return found


def violations(sources: dict[str, str]) -> list[str]:
    """One sentence for each broken rule. `sources` maps full module names to their source text."""
    imports = {module: imports_of(module, source, sources) for module, source in sources.items()}
    problems = []
    for module, imported in sorted(imports.items()):
        short = module.removeprefix(PACKAGE).removeprefix(".")
        if (
            not short
        ):  # the package's own __init__ runs before everything else: it imports `api`, once it is asked for it
            body = [node for node in ast.parse(sources[module]).body if not isinstance(node, ast.FunctionDef)]
            eager = imports_of(module, "\n".join(map(ast.unparse, body)), sources)
            wrong = sorted(eager | (imported - {f"{PACKAGE}.api"}))
            problems += [f"{PACKAGE}/__init__.py imports {name}; it must import nothing" for name in wrong]
            continue
        row = layer_of(short)
        if row is None:
            problems.append(f"{module} is in no row of LAYERS: add {short!r} to the table in tests/test_layers.py")
            continue
        for name in sorted(imported):
            if is_in(name, "configs"):
                problems.append(f"{module} imports {name}; the package never imports configs")
            if not is_in(name, PACKAGE) or name == PACKAGE:
                continue
            target_row = layer_of(name.removeprefix(f"{PACKAGE}."))
            if target_row is not None and target_row > row:
                problems.append(f"{module} imports {name}, which is above it")
        for importer, target in FORBIDDEN:
            if is_in(short, importer):
                path = path_to(module, target, imports)
                if path:
                    problems.append(f"{importer} must not reach {target}: {' -> '.join(path)}")
    return problems


def path_to(start: str, target: str, imports: dict[str, set[str]]) -> list[str] | None:
    """The shortest chain of imports from `start` to something in `target`, or None."""
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop(0)
        for name in sorted(imports.get(path[-1], ())):
            if is_in(name, target):
                return [*path, name]
            if name in imports and name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None


def read_package(root: Path) -> dict[str, str]:
    """Full module name -> source text of every module below `root`/e2etts_jax."""
    sources = {}
    for file in sorted((root / PACKAGE).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return sources


def test_package_keeps_the_import_direction(repo_root: Path) -> None:
    sources = read_package(repo_root)
    assert f"{PACKAGE}.types" in sources
    problems = violations(sources)
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"types": "from e2etts_jax.models import llm", "models.llm": ""}, "which is above it"),
        ({"losses": "def f():\n    import e2etts_jax.step", "step": ""}, "which is above it"),
        ({"types": "from e2etts_jax import train", "train": ""}, "which is above it"),
        ({"models.fsq": "import e2etts_jax.models.layers", "models.layers": ""}, "which is above it"),
        ({"train": "from configs import base"}, "never imports configs"),
        ({"new_thing": ""}, "add 'new_thing' to the table"),
        ({"data.text": "import jax.numpy as jnp"}, "data must not reach jax: e2etts_jax.data.text -> jax.numpy"),
        ({"data.text": "from e2etts_jax import features", "features": "import jax"}, "data must not reach jax"),
        ({"losses": "from e2etts_jax.models.fsq import levels", "models.fsq": ""}, "losses must not reach"),
        ({"models.llm": "from e2etts_jax.models import flow", "models.flow": ""}, "models.llm must not reach"),
        ({"": "import jax"}, "must import nothing"),
        ({"": "from e2etts_jax import api", "api": ""}, "must import nothing"),
        ({"": "def f():\n    from e2etts_jax import types", "types": ""}, "must import nothing"),
    ],
)
def test_each_rule_catches_what_it_names(sources: dict[str, str], expected: str) -> None:
    problems = violations({f"{PACKAGE}.{name}".rstrip("."): source for name, source in sources.items()})
    assert len(problems) == 1 and expected in problems[0], problems


def test_allowed_imports_pass() -> None:
    sources = {
        "step": "import jax\nfrom e2etts_jax import losses\nfrom e2etts_jax.types import Batch",
        "losses": "from e2etts_jax import types",
        "types": "import jax",
        "data.text": "import numpy\nfrom e2etts_jax.data import audio",
        "data.audio": "import soundfile",
        "models.fsq": "from e2etts_jax.models import ode",
        "models.ode": "",
    }
    assert violations({f"{PACKAGE}.{name}": source for name, source in sources.items()}) == []
