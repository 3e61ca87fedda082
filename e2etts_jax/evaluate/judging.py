"""Any systems against one list: judged, compared with each other, and written into a report."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from e2etts_jax.data.prepare.manifest import repeated
from e2etts_jax.evaluate import lists, protocol, systems
from e2etts_jax.evaluate.judges import USUAL, Names, begin, made_by, writable
from e2etts_jax.evaluate.statistics import compare
from e2etts_jax.evaluate.systems import REFERENCE, Json, Judged, System


def run(
    path: str,
    wavs: Sequence[str],
    *,
    out: str | None = None,
    language: str = "en",
    compared: str | None = None,
    names: Names = USUAL,
    num: int = 0,
) -> Path:
    """Judges systems and returns the path of the report.html.

    Args:
      path: the list; see `lists.read`.
      wavs: the systems; see `System.parse`.
      out: folder of the report; by default `report` beside the first system's recordings.
      language: of the texts.
      compared: the protocol by which texts are compared; by default `protocol.usual`.
      names: of the judges.
      num: utterances to judge, the first ones; 0 = all.

    Raises:
      ImportError: an extra is missing.
      FileNotFoundError, ValueError: what is wrong with list, folders, or names of judges.
    """
    log = begin()
    from e2etts_jax.evaluate.systems_report import write_report  # which needs what `begin` looks for

    entries = lists.read(path, num)
    made = [System.parse(text) for text in wavs]
    if not made:
        raise ValueError("no system: --wavs=NAME=FOLDER for each")
    if twice := repeated([REFERENCE, *(system.name for system in made)]):
        raise ValueError(f"two systems named {twice!r}: --wavs=NAME=FOLDER gives one of them another name")
    for system in made:
        system.check(entries)
    folder = writable(Path(out).expanduser() if out else made[0].folders[0].parent / "report")
    if all(entry.reference for entry in entries):
        made.append(System(REFERENCE))
    language = protocol.code(language)
    compared = compared or protocol.usual(language)
    form = protocol.form(compared, language)
    for entry in entries:
        if not form(entry.text):
            raise ValueError(f"{path}, {entry.key}: {entry.text!r} has nothing that {compared} compares")
    judges = names.load(language, compared, log)
    wish = systems.Wish.read(entries, judges, log)
    log(f"{len(entries)} utterances of {path}, {len(made)} system{'s'[: len(made) > 1]}")
    judged: dict[str, list[Judged]] = {}
    rows = []
    for system in made:
        seeds = range(max(1, len(system.folders)))
        judged[system.name] = [systems.judge(system, seed, entries, wish, judges, log) for seed in seeds]
        rows.append(systems.figures(system, judged[system.name], entries, judges))
        log(told(rows[-1]))
    figures: Json = {
        "list": str(path),
        "language": language,
        "protocol": compared,
        "unit": protocol.unit(language),
        "entries": len(entries),
        "recognizers": {r.name: r.version for r in judges.recognizers},
        "speakers": {e.name: e.version for e in judges.embedders},
        "made": made_by(),
        "systems": rows,
        "comparisons": comparisons(judged),
        "utterances": systems.utterances(entries, judged, judges),
    }
    for row in figures["comparisons"]:
        log(f"{row['score']}: {row['sentence']}")
    page = write_report(folder, figures, made, entries)
    log(f"wrote {page} and report.json")
    return page


def told(row: Json) -> str:
    """A line about a system."""
    parts = [f"{name} {100 * e['mean']:.2f} % wrong" for name, e in row["errors"].items()]
    others = (row["similarity"] | row["quality"]).items()
    parts += [f"{name} {m['mean']:.3f}" for name, m in others if m["mean"] is not None]
    if row["missing"]:
        others = ((n, e["skipping"]) for n, e in row["errors"].items())
        skipping = ", ".join(f"{name} {100 * rate:.2f} %" for name, rate in others if rate is not None)
        without = f" (without them {skipping})" if skipping else ""
        parts.append(f"{row['missing']} of {row['recordings']} missing, counted as wrong{without}")
    return f"{row['name']}: {'  '.join(parts)}"


def comparisons(judged: dict[str, list[Judged]]) -> list[Json]:
    """Every two systems by every score that both have, score by score."""
    made = []
    for first, second in itertools.combinations(judged, 2):
        ours, theirs = systems.values(judged[first]), systems.values(judged[second])
        for name in (n for n in ours if n in theirs):
            unit, less, a = ours[name]
            b = theirs[name][2]
            known = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
            if not known.any():
                continue
            result = compare(a[:, known], b[:, known])
            sentence = result.sentence(first, second, unit, 100.0 if less else 1.0, less)
            about = {"first": first, "second": second, "score": name, "sentence": sentence}
            made.append(about | dataclasses.asdict(result))
    order = list(dict.fromkeys(row["score"] for row in made))
    return sorted(made, key=lambda row: order.index(row["score"]))
