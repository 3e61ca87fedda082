"""report.html about systems, one file that needs nothing beside itself, and report.json with the same figures."""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data import audio
from e2etts_jax.evaluate.figures import mel_of, mel_uri, wav_uri
from e2etts_jax.evaluate.lists import Entry
from e2etts_jax.evaluate.pages import render
from e2etts_jax.evaluate.systems import Json, System
from e2etts_jax.features import MelConfig

WORST, RANDOM = 5, 5  # cases of each system; of all together
WIDE, ROW, LEFT, TOP = 720, 24, 210, 26  # of the plot, in SVG units


def write_report(out: Path, figures: Json, systems: Sequence[System], entries: Sequence[Entry]) -> Path:
    """Writes both files into `out`, made if absent, and returns the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    rows = figures["utterances"]
    chosen: list[tuple[str, str, list[int]]] = []
    seen: set[int] = set()
    for system in systems:
        worst = [i for i in _worst(rows, system.name) if i not in seen][:WORST]
        seen.update(worst)
        chosen.append((f"Worst of {system.name}", "Most errors first; none is shown twice.", worst))
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


def _worst(rows: Sequence[Json], name: str) -> list[int]:
    """Utterances with errors, worst first."""
    bad = [float(np.mean([h["rate"] for h in row["systems"][name]["heard"].values()])) for row in rows]
    return [i for i in sorted(range(len(rows)), key=lambda i: -bad[i]) if bad[i] > 0]


def _case(row: Json, entry: Entry, systems: Sequence[System]) -> dict[str, Any]:
    """One utterance of all systems; the pictures share one scale of frequencies, not of loudness."""
    clips = []
    for system in systems:
        about, file = row["systems"][system.name], system.file(entry, 0)
        clip = {"name": system.name, "heard": about["heard"], "about": "", "audio": "", "mel": "", "tokens": ""}
        if file and not about["missing"]:
            wav, rate = audio.decode(file)
            cfg = MelConfig()
            mel = mel_of(audio.resample(wav, rate, cfg.sample_rate), cfg)
            clip |= {
                "audio": wav_uri(wav, rate),
                "mel": mel_uri(mel, float(mel.max())),
                "about": f"{len(wav) / rate:.1f} s",
            }
        clips.append(clip)
    return {"key": row["key"], "kind": "", "text": row["text"], "clips": clips}


def whiskers_svg(rows: Sequence[Json]) -> str:
    """Mean error of every system by every recogniser, a dot in its interval, on one axis from 0."""
    lines = [(s["name"] if not i else "", r, e) for s in rows for i, (r, e) in enumerate(s["errors"].items())]
    most = max(e["high"] for _, _, e in lines) or 0.01
    step = next(s for p in range(-4, 3) for s in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if most / s <= 6)
    end, height = step * math.ceil(most / step), TOP + ROW * len(lines) + 8
    x = lambda value: LEFT + (WIDE - LEFT - 60) * max(0.0, value) / end  # noqa: E731
    parts = []
    for k in range(round(end / step) + 1):
        at = x(k * step)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height}"/>')
        parts.append(f'<text class="soft" x="{at:.1f}" y="{TOP - 11}" text-anchor="middle">{100 * k * step:g} %</text>')
    for i, (name, reader, e) in enumerate(lines):
        y = TOP + ROW * i + 12
        label = f"{name[:18]} " if name else ""
        parts.append(f'<text x="0" y="{y + 4}">{html.escape(label)}</text>')
        parts.append(
            f'<text class="soft" x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{html.escape(reader[:14])}</text>'
        )
        parts.append(f'<line x1="{x(e["low"]):.1f}" y1="{y}" x2="{x(e["high"]):.1f}" y2="{y}"/>')
        parts.append(f'<circle cx="{x(e["mean"]):.1f}" cy="{y}" r="4"/>')
        parts.append(f'<text class="soft" x="{x(e["high"]) + 8:.1f}" y="{y + 4}">{100 * e["mean"]:.1f}</text>')
    label = "mean errors with their intervals"
    return f'<svg class="whisker" viewBox="0 0 {WIDE} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
