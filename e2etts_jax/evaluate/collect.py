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
from e2etts_jax.evaluate.asr import transcribe_all
from e2etts_jax.evaluate.judges import Judges, Log, Voices
from e2etts_jax.evaluate.protocol import Form
from e2etts_jax.evaluate.scoring import EDITS, Score, alignment, score
from e2etts_jax.evaluate.sound import faults, sound
from e2etts_jax.evaluate.tokens import token_statistics
from e2etts_jax.infer.probe import TIMES, Probe

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

    def generate_tokens(self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> Sequence[Any]: ...
    def decode_tokens(self, ids: Sequence[Any], seed: int = 0) -> Wavs: ...
    def recognize_tokens(self, ids: Sequence[Any]) -> list[str]: ...
    def synthesize(self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> Wavs: ...
    def reconstruct(self, wavs: Sequence[np.ndarray], seed: int = 0) -> Wavs: ...
    def probe(
        self, wavs: Sequence[np.ndarray], texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()
    ) -> Probe: ...
    def copy_synthesis(self, wavs: Sequence[np.ndarray]) -> Wavs: ...
    def tokenize(self, wavs: Sequence[np.ndarray]) -> Sequence[Any]: ...
    def recognize(self, wavs: Sequence[np.ndarray]) -> list[str]: ...


@dataclasses.dataclass
class Evaluation:
    """Figures (JSON-able), and what they were measured on: condition -> one clip per utterance; and the tokens behind
    the clips that have some."""

    figures: Json
    wavs: dict[str, Wavs]
    tokens: dict[str, Sequence[Any]]


def evaluate(
    speaker: Speaker,
    examples: Sequence[Example],
    judges: Judges,
    seed: int = 0,
    log: Log = print,
) -> Evaluation:
    """All four conditions before all judges, and what the models tell of themselves.

    Raises:
      ValueError: no examples.
    """
    if not examples:
        raise ValueError("no clips to evaluate: --num must be at least 1")
    texts, recordings = [e.text for e in examples], [e.wav for e in examples]
    languages, tokens = [e.language for e in examples], {}
    voices = judges.voices(recordings, speaker.sample_rate)

    def synthesis() -> Wavs:
        tokens["synthesis"] = speaker.generate_tokens(texts, seed=seed, languages=languages)
        return speaker.decode_tokens(tokens["synthesis"], seed=seed)

    make: dict[str, Callable[[], Wavs]] = {
        "recording": lambda: recordings,
        "copy": lambda: speaker.copy_synthesis(recordings),
        "reconstruction": lambda: speaker.reconstruct(recordings, seed=seed),
        "synthesis": synthesis,
    }
    wavs: dict[str, Wavs] = {}
    transcripts: dict[str, dict[str, list[str]]] = {}
    rows: list[Json] = []
    scores: dict[str, dict[str, Score]] = {}
    for name, label in CONDITIONS.items():
        begun = time.perf_counter()
        wavs[name] = [np.asarray(wav, np.float32) for wav in make[name]()]
        made = time.perf_counter()
        transcripts[name] = transcribe_all(judges.recognizers, wavs[name], speaker.sample_rate)
        heard = time.perf_counter()
        first = transcripts[name][judges.recognizers[0].name]
        scores[name] = {r: score(texts, t, judges.form) for r, t in transcripts[name].items()}
        seconds = sum(len(wav) for wav in wavs[name]) / speaker.sample_rate
        rows.append(
            {
                "name": name,
                "label": label,
                "audio_seconds": round(seconds, 1),
                "made_in_seconds": round(made - begun, 1),
                "read_in_seconds": round(heard - made, 1),
                "scores": {r: _figures(s, scores.get(FLOOR, {}).get(r)) for r, s in scores[name].items()},
                "heard_as": _heard_as(wavs[name], recordings, voices, speaker.sample_rate, judges)
                | {k: float(v.mean()) for k, v in faults(texts, first, judges.form).items()},
            }
        )
        rates = "  ".join(f"{r} {s.rate:.3f}" for r, s in scores[name].items())
        times = f"{seconds:.0f} s of audio, made in {made - begun:.0f} s, read in {heard - made:.0f} s"
        log(f"{name}: error {rates}  ({times})")
    probe = speaker.probe(recordings, texts, seed=seed, languages=languages)
    read = probe.read
    figures: Json = {
        "recognizers": {r.name: r.version for r in judges.recognizers},
        "clips": len(examples),
        "rows": rows,
        READER: _figures(score(texts, read, judges.form), None),
        "inside": _inside(speaker, probe, texts, tokens["synthesis"], recordings, judges.form),
        "kinds": _kinds(examples, scores),
        "utterances": _utterances(examples, transcripts, scores, read, judges.form),
    }
    inside = figures["inside"]
    rates = "  ".join(f"{kind} {rate:.3f}" for kind, rate in inside["read"].items())
    log(f"reward model: error {rates}; LLM: {inside['bits_per_token']:.2f} bits a token")
    tokens["recording"] = speaker.tokenize(recordings)
    return Evaluation(figures, wavs, tokens)


def _heard_as(wavs: Wavs, recordings: Wavs, voices: Voices, rate: int, judges: Judges) -> Json:
    """Means over clips: silences, clipping, length beside the recording's; likeness to its voice; quality."""
    sounds = [sound(wav, rate) for wav in wavs]
    made = {name: float(np.mean([getattr(s, name) for s in sounds])) for name in ("lead", "tail", "pause", "clipped")}
    made["ratio"] = float(np.median([len(w) / len(r) for w, r in zip(wavs, recordings, strict=True)]))
    likeness, quality = judges.means(wavs, voices, rate)
    return made | {f"similarity, {name}": value for name, value in likeness.items()} | quality


def _inside(
    speaker: Speaker, probe: Probe, texts: Sequence[str], drawn: Sequence[Any], recordings: Wavs, form: Form
) -> Json:
    """What the models tell of themselves: the LLM's bits, the FM's error at fixed times, and how much the RM misreads
    in true tokens, in such as the LLM draws given the recorded ones (Gumbel), and in those it drew freely."""
    bits = float(probe.nats.sum()) / math.log(2)
    seconds = sum(map(len, recordings)) / speaker.sample_rate
    read = {"true": probe.read, "drawn on the recording": probe.read_drawn, "drawn": speaker.recognize_tokens(drawn)}
    return {
        "bits_per_token": bits / int(probe.tokens.sum()),
        "bits_per_second": bits / seconds,
        "flow": {str(t): float(e) for t, e in zip(TIMES, probe.flow.mean(axis=0), strict=True)},
        "read": {kind: score(texts, said, form).rate for kind, said in read.items()},
    }


def stage_figures(speaker: Speaker, examples: Sequence[Example], judges: Judges, seed: int = 0) -> Json:
    """What the per-stage table shows: the reward model, reconstruction and synthesis of one stage."""
    texts, recordings = [e.text for e in examples], [e.wav for e in examples]
    made = {
        "reconstruction": speaker.reconstruct(recordings, seed=seed),
        "synthesis": speaker.synthesize(texts, seed=seed, languages=[e.language for e in examples]),
    }
    out: Json = {READER: _figures(score(texts, speaker.recognize(recordings), judges.form), None)}
    for name in JUDGED:
        read = transcribe_all(judges.recognizers, made[name], speaker.sample_rate)
        out[name] = {r: _figures(score(texts, t, judges.form), None) for r, t in read.items()}
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
        **{kind: int(getattr(result, kind).sum()) for kind in EDITS},
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
    form: Form,
) -> list[Json]:
    out = []
    for i, example in enumerate(examples):
        heard = {
            name: {
                r: {
                    "text": texts[i],
                    "errors": int(scores[name][r].errors[i]),
                    "edits": [dataclasses.astuple(e) for e in alignment(example.text, texts[i], form)],
                }
                for r, texts in by.items()
            }
            for name, by in transcripts.items()
        }
        tokens = len(form(example.text).split())
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
