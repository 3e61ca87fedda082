"""What a compiled program sends between devices, read from its text.

`cost_analysis()` counts the body of a loop once; here every instruction counts as often as it runs.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
BYTES |= {"u64": 8, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1}

_INSTRUCTION = re.compile(rf" = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_SHAPE = re.compile(r"\b(\w+)\[([\d,]*)\]")
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply|called_computations|branch_computations)=\{?(%?[\w.\-]+(?:, ?%?[\w.\-]+)*)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of transfer, over one size of group.

    Attributes:
      kind: one of KINDS. group: devices that take part together. across: does it leave the slice?
      count: times a step. bytes: of the results on one device, a step.
    """

    kind: str
    group: int
    across: bool
    count: int
    bytes: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends a step, for rings: what the usual algorithms reach."""
        share = (self.group - 1) / max(self.group, 1)
        factor = {"all-reduce": 2 * share, "reduce-scatter": self.group - 1, "collective-permute": 1.0, "send": 1.0}
        return self.bytes * factor.get(self.kind, share)


def collectives(text: str) -> list[Collective]:
    """All transfers of a compiled program (`compiled.as_text()`), largest first."""
    computations, entry = _computations(text)
    counts: collections.Counter = collections.Counter()
    sizes: collections.Counter = collections.Counter()
    for line, times in _runs(computations, entry):
        found = _INSTRUCTION.search(line)
        across = bool(found) and "_xla_megascale" in line  # how libtpu writes what leaves a slice
        if found and (across or found[2] != "send"):
            key = found[2], 2 if across else _groups(line).shape[1], across
            counts[key] += times
            sizes[key] += times * _bytes(found[1], largest=bool(found[3]) or found[2] in ("collective-permute", "send"))
    made = [
        Collective(kind, group, across, n, sizes[kind, group, across]) for (kind, group, across), n in counts.items()
    ]
    return sorted((c for c in made if c.group > 1), key=lambda c: -c.bytes)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Instruction lines by computation, and the name of the entry."""
    found: dict[str, list[str]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "}")) and line.rstrip().endswith("{"):
            head = re.match(r"(ENTRY )?%?([\w.\-]+) ", line)
            if head:
                name = head[2]
                found[name] = []
                entry = name if head[1] else entry
        elif line.rstrip() == "}":  # not every line that begins with one: what a kernel says of itself takes several
            name = ""
        elif name:
            found[name].append(line)
    return found, entry


def _runs(computations: dict[str, list[str]], entry: str) -> Iterator[tuple[str, int]]:
    """Every instruction that runs, and how often; an asynchronous one once, though it is printed in pieces."""
    seen = set()
    stack = [(entry, 1)]
    while stack:
        name, times = stack.pop()
        for line in computations.get(name, ()):
            channel = re.search(r"channel_id=(\d+)", line)
            if channel and (channel[1], times) in seen:
                continue
            if channel:
                seen.add((channel[1], times))
            yield line, times
            loop = _WHILE.search(line)
            if loop:
                stack.append((loop[2], times * _trips(computations.get(loop[1], []), line)))
                continue
            for called in _CALLS.findall(line):
                stack += [(part.strip(" %"), times) for part in called.split(",")]


def _trips(condition: list[str], line: str) -> int:
    """Rounds of a loop; 1 where the program decides that as it runs (sampling)."""
    known = re.search(r"known_trip_count[^0-9]*(\d+)", line)
    if known:
        return int(known[1])
    text = "\n".join(condition)
    compared = re.search(r"ROOT .*compare\(.*?, %?([\w.\-]+)\), direction=LT", text)
    limit = compared and re.search(r"%?" + re.escape(compared[1]) + r" = .*constant\((\d+)\)", text)
    return int(limit[1]) if limit else 1


def _bytes(shapes: str, largest: bool) -> int:
    """Bytes of a result; of an asynchronous start, which shows operand and result, the larger of both."""
    sizes = [
        BYTES[kind] * int(np.prod([int(n) for n in dims.split(",") if n], dtype=np.int64))
        for kind, dims in _SHAPE.findall(shapes)
        if kind in BYTES
    ]
    return max(sizes, default=0) if largest else sum(sizes)


def _groups(line: str) -> np.ndarray:
    """Devices, by their place in the mesh, i64[groups, members]; one group of one where the line names none."""
    named = re.search(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}", line)
    if named:
        axes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
        sizes, joined = [int(n) for n in axes.values()], re.findall(r"'([^']+)'", named[2])
        kept = [i for i, axis in enumerate(axes) if axis not in joined]
        ids = np.arange(np.prod(sizes)).reshape(sizes)
        moved = ids.transpose(kept + [i for i in range(len(sizes)) if i not in kept])
        return moved.reshape(int(np.prod([sizes[i] for i in kept], dtype=int)), -1)
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    if iota:
        dims = [int(n) for n in iota[3].split(",")]
        ids = np.arange(np.prod(dims)).reshape(dims)
        ids = ids.transpose([int(n) for n in iota[4].split(",")]) if iota[4] else ids
        return ids.reshape(int(iota[1]), int(iota[2]))
    listed = re.search(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}", line)
    if not listed:
        return np.zeros((1, 1), np.int64)
    groups = [[int(n) for n in part.split(",")] for part in re.findall(r"\{([\d, ]+)\}", listed[1])]
    return np.array(groups)
