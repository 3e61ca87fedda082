"""report.html, one file that needs nothing beside itself, and report.json with the same figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.evaluate.collect import CONDITIONS, JUDGED, Evaluation
from e2etts_jax.evaluate.figures import curve_svg, mel_of, mel_uri, sound_uri, strip_svg
from e2etts_jax.evaluate.pages import render
from e2etts_jax.features import MelConfig
from e2etts_jax.types import config_of

WORST, RANDOM = 6, 6


def write_report(out: Path, evaluation: Evaluation, config: Any, sample_rate: int) -> Path:
    """Writes both files into `out` and returns the page's path.

    Args:
      out: folder, made if absent.
      evaluation: `figures` must also hold `workdir`, `stage`, `split`, `dataset`, `seed`, `tokens`, `stages`, `curves`.
      config: the run's config; its `mel` draws the pictures.
      sample_rate: of the audio.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = evaluation.figures
    mel_config = config_of(MelConfig, {"sample_rate": sample_rate, **config["mel"]})
    worst, random = _choose(figures["utterances"])
    groups = [
        ("Worst cases", "The clips whose synthesis has most errors per word, over both recognisers.", worst),
        ("Random cases", "Drawn from the other clips, good or bad.", random),
    ]
    cases = [
        (heading, why, [_case(evaluation, i, mel_config, sample_rate) for i in rows])
        for heading, why, rows in groups
        if rows
    ]
    curves = {
        stage: [curve_svg(term, curve["step"], curve["value"]) for term, curve in terms.items()]
        for stage, terms in figures["curves"].items()
    }
    title = f"e2etts_jax: {Path(figures['workdir']).name}, stage {figures['stage']}"
    page = render("run", f=figures, curves=curves, groups=cases, title=title, judged=JUDGED)
    (out / "report.json").write_text(json.dumps(figures, indent=1, allow_nan=False))
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _choose(utterances: Sequence[dict]) -> tuple[list[int], list[int]]:
    """Rows of the worst syntheses (only those with errors), worst first, and random ones of the rest."""
    badness = [sum(h["errors"] for h in u["heard"]["synthesis"].values()) / u["tokens"] for u in utterances]
    order = sorted(range(len(utterances)), key=lambda i: -badness[i])
    worst = [i for i in order[:WORST] if badness[i] > 0]
    rest = [i for i in range(len(utterances)) if i not in worst]
    random = np.random.default_rng(0).permutation(rest)[:RANDOM].tolist() if rest else []
    return worst, random


def _case(evaluation: Evaluation, row: int, mel_config: MelConfig, sample_rate: int) -> dict:
    """One utterance under all conditions; its pictures share one colour scale."""
    utterance = evaluation.figures["utterances"][row]
    wavs = {name: evaluation.wavs[name][row] for name in CONDITIONS}
    mels = {name: mel_of(wav, mel_config) for name, wav in wavs.items()}
    loudest = float(mels["recording"].max())
    clips = [
        {
            "name": name,
            "about": "",
            "mel": mel_uri(mels[name], loudest),
            "audio": sound_uri(wav, sample_rate),
            "tokens": strip_svg(ids[row], len(wav) / sample_rate) if (ids := evaluation.tokens.get(name)) else "",
            "heard": utterance["heard"][name],
        }
        for name, wav in wavs.items()
    ]
    return {**utterance, "clips": clips}
