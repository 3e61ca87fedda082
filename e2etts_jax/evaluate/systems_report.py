"""report.html about systems, one file that needs nothing beside itself, and report.json with the same figures."""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data import audio
from e2etts_jax.evaluate.figures import MEL_RANGE, mel_of, mel_uri, sound_uri
from e2etts_jax.evaluate.lists import Entry
from e2etts_jax.evaluate.pages import render
from e2etts_jax.evaluate.systems import Json, System
from e2etts_jax.features import MelConfig

WORST, RANDOM = 5, 5  # cases of each system; of all together
WIDE, ROW, LEFT, RIGHT, TOP = 720, 22, 170, 60, 26  # of the plot, in SVG units


def write_report(out: Path, figures: Json, systems: Sequence[System], entries: Sequence[Entry]) -> Path:
    """Writes both files into `out`, made if absent, and returns the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    rows = figures["utterances"]
    chosen: list[tuple[str, str, list[int]]] = []
    seen: set[int] = set()
    for system in systems:
        worst = _worst(rows, system.name)
        fresh = [i for i in worst if i not in seen][:WORST]
        above = ", ".join(rows[i]["key"] for i in worst[:WORST] if i in seen)
        why = "Most errors first; of several seeds, the worst one." + (
            f" Shown above already: {above}." if above else ""
        )
        seen.update(fresh)
        chosen.append((f"Worst of {system.name}", why, fresh))
    rest = [i for i in range(len(rows)) if i not in seen]
    random = np.random.default_rng(0).permutation(rest)[:RANDOM].tolist() if rest else []
    chosen.append(("Random cases", "Drawn from the other utterances, good or bad.", random))
    groups = [
        (heading, why, [_case(rows[i], entries[i], systems) for i in picked])
        for heading, why, picked in chosen
        if picked
    ]
    title = f"{', '.join(s.name for s in systems)} on {Path(figures['list']).name}"
    page = render("systems", f=figures, groups=groups, title=title, whiskers=whiskers_svg(figures["systems"]))
    figures_text = json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False)
    (out / "report.json").write_text(figures_text, encoding="utf-8")
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _badness(clip: Json) -> float:
    """Errors of all recognisers; those of a recording that is missing are no case to listen to."""
    return -1.0 if clip["missing"] else float(np.mean([h["rate"] for h in clip["heard"].values()]))


def _worst(rows: Sequence[Json], name: str) -> list[int]:
    """Utterances with errors, worst first."""
    bad = [max(map(_badness, row["systems"][name])) for row in rows]
    return [i for i in sorted(range(len(rows)), key=lambda i: -bad[i]) if bad[i] > 0]


def _case(row: Json, entry: Entry, systems: Sequence[System]) -> dict[str, Any]:
    """One utterance of all systems; the pictures share one scale of frequencies, not of loudness."""
    clips = []
    for system in systems:
        seeds = row["systems"][system.name]
        seed = max(range(len(seeds)), key=lambda k: _badness(seeds[k]))
        clip = {"name": system.name, "seed": seed + 1 if len(seeds) > 1 else 0, **seeds[seed]}
        clip |= {"about": _about(clip), "audio": "", "mel": "", "tokens": ""}
        file = system.file(entry, seed)
        if file and not clip["missing"]:
            wav, rate = audio.decode(file)
            cfg = MelConfig()
            mel = mel_of(audio.resample(wav, rate, cfg.sample_rate), cfg)
            loudest = max(float(mel.max()), math.log(cfg.floor) + MEL_RANGE)  # silence is black
            clip |= {"audio": sound_uri(wav, rate), "mel": mel_uri(mel, loudest)}
        clips.append(clip)
    return {"key": row["key"], "kind": "", "text": row["text"], "clips": clips}


def _about(clip: Json) -> str:
    """What is known of a clip beside its words."""
    if clip["missing"]:
        return ""
    parts = [f"seed {clip['seed']}"] if clip["seed"] else []
    parts += [f"{clip['seconds']:.1f} s", *(f"{name} {value:.2f}" for name, value in clip["scores"].items())]
    parts += [f"{100 * clip['clipped']:.1f} % clipped"] if clip["clipped"] >= 0.001 else []
    faults = {"early": "stops early", "repeats": "repeats itself", "cut": "the file is cut short"}
    return ", ".join([*parts, *(text for name, text in faults.items() if clip[name])])


def whiskers_svg(rows: Sequence[Json]) -> str:
    """Mean error of every system by every recogniser, a dot in its interval, on one axis from 0.

    The axis ends with the intervals, but at 100 % where all means are below: what reaches farther is cut there.
    """
    errors = [e for s in rows for e in s["errors"].values()]
    most = min(max(e["high"] for e in errors), max(1.0, *(e["mean"] for e in errors))) or 0.01
    step = next(s for p in range(-4, 3) for s in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if most / s <= 6)
    end = step * math.ceil(most / step - 1e-9)
    x = lambda value: LEFT + (WIDE - LEFT - RIGHT) * min(max(0.0, value), end) / end  # noqa: E731
    parts, y = [], TOP
    for s in rows:
        y += ROW
        parts.append(f'<text x="0" y="{y - 6}">{html.escape(s["name"])}</text>')
        for reader, e in s["errors"].items():
            y += ROW
            parts.append(f'<text class="soft" x="14" y="{y - 6}">{html.escape(reader)}</text>')
            parts.append(f'<line x1="{x(e["low"]):.1f}" y1="{y - 10}" x2="{x(e["high"]):.1f}" y2="{y - 10}"/>')
            parts.append(f'<circle cx="{x(e["mean"]):.1f}" cy="{y - 10}" r="4"/>')
            parts.append(f'<text x="{WIDE}" y="{y - 6}" text-anchor="end">{100 * e["mean"]:.1f} %</text>')
    height, grid = y + 8, []
    for k in range(round(end / step) + 1):
        at = x(k * step)
        grid.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height}"/>')
        grid.append(f'<text class="soft" x="{at:.1f}" y="{TOP - 11}" text-anchor="middle">{100 * k * step:g} %</text>')
    label, drawn = "mean errors with their intervals", "".join([*grid, *parts])
    return f'<svg class="whisker" viewBox="0 0 {WIDE} {height}" role="img" aria-label="{label}">{drawn}</svg>'
