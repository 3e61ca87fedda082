"""Runs one trained model over test clips and gathers every figure of the report in one JSON-able dict."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from e2etts_jax.data.sources import Example
from e2etts_jax.evaluate.asr import Recognizer, transcribe_all
from e2etts_jax.evaluate.canonical import canonical
from e2etts_jax.evaluate.scoring import Score, score
from e2etts_jax.evaluate.tokens import token_statistics

CONDITIONS = {
    "recording": "recording",
    "copy": "copy synthesis",
    "reconstruction": "reconstruction from true tokens",
    "synthesis": "synthesis from text",
}
FLOOR = "copy"
JUDGED = ("reconstruction", "synthesis")  # the conditions that are the models' doing
READER = "reward_model"
CURVE_POINTS = 300
TOKEN_CLIPS = 1000

Wavs = list[np.ndarray]
Json = dict[str, Any]


class Speaker(Protocol):
    """What is evaluated; `infer.synthesizer.Synthesizer` is one."""

    config: Any
    sample_rate: int

    def synthesize(self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> Wavs: ...
    def reconstruct(self, wavs: Sequence[np.ndarray], seed: int = 0) -> Wavs: ...
    def copy_synthesis(self, wavs: Sequence[np.ndarray]) -> Wavs: ...
    def tokenize(self, wavs: Sequence[np.ndarray]) -> Sequence[Any]: ...
    def recognize(self, wavs: Sequence[np.ndarray]) -> list[str]: ...


@dataclasses.dataclass
class Evaluation:
    """Figures (JSON-able), and the audio they were measured on: condition -> one clip per utterance."""

    figures: Json
    wavs: dict[str, Wavs]


def evaluate(
    speaker: Speaker,
    examples: Sequence[Example],
    recognizers: Sequence[Recognizer],
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> Evaluation:
    """All four conditions, read by all recognisers, and the reward model's own reading of the true tokens.

    Raises:
      ValueError: no examples.
    """
    if not examples:
        raise ValueError("no clips to evaluate: --num must be at least 1")
    texts, recordings = [e.text for e in examples], [e.wav for e in examples]
    make: dict[str, Callable[[], Wavs]] = {
        "recording": lambda: recordings,
        "copy": lambda: speaker.copy_synthesis(recordings),
        "reconstruction": lambda: speaker.reconstruct(recordings, seed=seed),
        "synthesis": lambda: speaker.synthesize(texts, seed=seed, languages=[e.language for e in examples]),
    }
    wavs: dict[str, Wavs] = {}
    transcripts: dict[str, dict[str, list[str]]] = {}
    rows: list[Json] = []
    scores: dict[str, dict[str, Score]] = {}
    for name, label in CONDITIONS.items():
        begun = time.perf_counter()
        wavs[name] = [np.asarray(wav, np.float32) for wav in make[name]()]
        made = time.perf_counter()
        transcripts[name] = transcribe_all(recognizers, wavs[name], speaker.sample_rate)
        heard = time.perf_counter()
        scores[name] = {r: score(texts, t) for r, t in transcripts[name].items()}
        seconds = sum(len(wav) for wav in wavs[name]) / speaker.sample_rate
        rows.append(
            {
                "name": name,
                "label": label,
                "audio_seconds": round(seconds, 1),
                "made_in_seconds": round(made - begun, 1),
                "read_in_seconds": round(heard - made, 1),
                "scores": {r: _figures(s, scores.get(FLOOR, {}).get(r)) for r, s in scores[name].items()},
            }
        )
        rates = "  ".join(f"{r} {s.rate:.3f}" for r, s in scores[name].items())
        times = f"{seconds:.0f} s of audio, made in {made - begun:.0f} s, read in {heard - made:.0f} s"
        log(f"{name}: error {rates}  ({times})")
    read = speaker.recognize(recordings)
    figures: Json = {
        "recognizers": {r.name: r.version for r in recognizers},
        "clips": len(examples),
        "rows": rows,
        READER: _figures(score(texts, read), None),
        "kinds": _kinds(examples, scores),
        "utterances": _utterances(examples, transcripts, scores, read),
    }
    log(f"reward model on the true tokens: error {figures[READER]['rate']:.3f}")
    return Evaluation(figures, wavs)


def stage_figures(
    speaker: Speaker, examples: Sequence[Example], recognizers: Sequence[Recognizer], seed: int = 0
) -> Json:
    """What the per-stage table shows: the reward model, reconstruction and synthesis of one stage."""
    texts, recordings = [e.text for e in examples], [e.wav for e in examples]
    made = {
        "reconstruction": speaker.reconstruct(recordings, seed=seed),
        "synthesis": speaker.synthesize(texts, seed=seed, languages=[e.language for e in examples]),
    }
    out: Json = {READER: _figures(score(texts, speaker.recognize(recordings)), None)}
    for name in JUDGED:
        read = transcribe_all(recognizers, made[name], speaker.sample_rate)
        out[name] = {r: _figures(score(texts, t), None) for r, t in read.items()}
    return out


def same_stage(figures: Json) -> Json:
    """`stage_figures` of the stage that `evaluate` has judged already."""
    return {READER: figures[READER]} | {row["name"]: row["scores"] for row in figures["rows"] if row["name"] in JUDGED}


def token_figures(speaker: Speaker, wavs: Sequence[np.ndarray], codes: int) -> Json:
    """Codebook usage and entropies over the tokens of `wavs`."""
    return {"clips": len(wavs), **dataclasses.asdict(token_statistics(speaker.tokenize(wavs), codes))}


def read_curves(metrics: Path) -> dict[str, dict[str, Json]]:
    """Loss curves by stage and term, out of metrics.jsonl, thinned to at most CURVE_POINTS points each.

    Non-finite values are left out; lines that a kill cut short are skipped. An absent file gives no curves.
    """
    curves: dict[str, dict[str, Json]] = {}
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        stage = curves.setdefault(str(record.get("stage", "")), {})
        for key, value in record.items():
            if key.startswith("loss/") and math.isfinite(float(value)):
                curve = stage.setdefault(key.removeprefix("loss/"), {"step": [], "value": []})
                curve["step"].append(int(record["step"]))
                curve["value"].append(float(value))
    return {stage: {term: _thin(curve) for term, curve in terms.items()} for stage, terms in curves.items() if terms}


def _thin(curve: Json) -> Json:
    """Means over equal spans of points, so that a thinned curve is smoother rather than luckier."""
    count = len(curve["step"])
    edges = np.unique(np.linspace(0, count, min(count, CURVE_POINTS) + 1).astype(int))
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    return {
        "step": [int(curve["step"][end - 1]) for _, end in spans],
        "value": [float(np.mean(curve["value"][start:end])) for start, end in spans],
    }


def _figures(result: Score, floor: Score | None) -> Json:
    low, high = result.interval()
    figures: Json = {
        "rate": result.rate,
        "low": low,
        "high": high,
        "utterance_rate": result.utterance_rate,
        "perfect": int((result.errors == 0).sum()),
        "errors": int(result.errors.sum()),
        "tokens": int(result.tokens.sum()),
    }
    if floor is not None:
        figures["above_floor"] = dict(zip(("difference", "low", "high"), result.above(floor), strict=True))
    return figures


def _kinds(examples: Sequence[Example], scores: dict[str, dict[str, Score]]) -> list[Json]:
    """Error rates by the data set's `kind`; empty where it has none."""
    kinds = sorted({e.kind for e in examples if e.kind})
    out = []
    for kind in kinds:
        rows = np.array([e.kind == kind for e in examples])
        rates = {name: {r: s.of(rows).rate for r, s in by.items()} for name, by in scores.items()}
        out.append({"kind": kind, "clips": int(rows.sum()), "rates": rates})
    return out


def _utterances(
    examples: Sequence[Example],
    transcripts: dict[str, dict[str, list[str]]],
    scores: dict[str, dict[str, Score]],
    read: list[str],
) -> list[Json]:
    out = []
    for i, example in enumerate(examples):
        heard = {
            name: {r: {"text": texts[i], "errors": int(scores[name][r].errors[i])} for r, texts in by.items()}
            for name, by in transcripts.items()
        }
        tokens = len(canonical(example.text).split())
        out.append(
            {
                "key": example.key,
                "kind": example.kind,
                "text": example.text,
                "tokens": tokens,
                "heard": heard,
                READER: read[i],
            }
        )
    return out
