"""Systems of any make, judged by what they said: a folder of recordings each, and the list of what was to be said."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data import audio
from e2etts_jax.evaluate import sound
from e2etts_jax.evaluate.asr import RATE, transcribe_all
from e2etts_jax.evaluate.judges import Judges, Log, Voices
from e2etts_jax.evaluate.lists import Entry
from e2etts_jax.evaluate.scoring import EDITS, Score, alignment, interval_of_rate, score
from e2etts_jax.evaluate.similarity import cosines
from e2etts_jax.evaluate.sound import Sound
from e2etts_jax.evaluate.statistics import interval

REFERENCE = "reference"  # the system whose recordings the list names
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus")

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class System:
    """A system: its name, and the folder of each of its seeds; the recordings of the list itself have none."""

    name: str
    folders: tuple[Path, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "System":
        """`NAME=FOLDER,FOLDER of another seed`, or a folder, which gives its name.

        Raises:
          FileNotFoundError: no such folder.
        """
        name, found, folders = text.rpartition("=")
        paths = tuple(Path(folder).expanduser() for folder in folders.split(","))
        for path in paths:
            if not path.is_dir():
                raise FileNotFoundError(f"no folder {path} with the recordings of a system")
        return cls(name if found else paths[0].resolve().name, paths)

    def file(self, entry: Entry, seed: int) -> Path | None:
        """Where the recording of an entry is; None if there is none."""
        if not self.folders:
            return entry.reference
        place = self.folders[seed] / entry.key
        return next((path for s in SUFFIXES if (path := place.with_name(place.name + s)).is_file()), None)


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the list says a recording should be like, read once for all systems.

    Attributes:
      voices: vector of each entry's prompt, by speaker model; empty where the list has no prompt at all.
      prompted: bool[N], which entries have one. seconds: f64[N] of the references, NaN where there is none.
    """

    voices: Voices
    prompted: np.ndarray
    seconds: np.ndarray

    @classmethod
    def read(cls, entries: Sequence[Entry], judges: Judges) -> "Wish":
        prompts = [entry.prompt for entry in entries]
        voices: Voices = {}
        if any(prompts) and judges.embedders:
            spoken = [audio.load(path, RATE) if path else np.zeros(0, np.float32) for path in prompts]
            voices = judges.voices(spoken, RATE)
        seconds = [_seconds(entry.reference) for entry in entries]
        return cls(voices, np.array([path is not None for path in prompts]), np.array(seconds))


@dataclasses.dataclass
class Judged:
    """One seed of one system.

    Attributes:
      missing: entries without a recording that can be read; each counts as silence: all words deleted, no voice.
      heard: transcripts, by recogniser. scores: the same, counted.
      similarity: cosine to the entry's prompt, by speaker model; NaN where the list has none.
      quality: by listener. sounds: of each clip. ratio: seconds beside the reference's; NaN where there is none.
    """

    missing: np.ndarray
    heard: dict[str, list[str]]
    scores: dict[str, Score]
    similarity: dict[str, np.ndarray]
    quality: dict[str, np.ndarray]
    sounds: list[Sound]
    ratio: np.ndarray


def judge(system: System, seed: int, entries: Sequence[Entry], wish: Wish, judges: Judges, log: Log = print) -> Judged:
    """Has a system judged.

    Raises:
      FileNotFoundError: it has not a single recording of the list.
      ValueError: it has, but none that can be read.
    """
    files = [system.file(entry, seed) for entry in entries]
    if not any(files):
        where = system.folders[seed] if system.folders else "the list"
        raise FileNotFoundError(
            f"{where} has no recording of {system.name}: {entries[0].key}{SUFFIXES[0]} and so on are looked for"
        )
    wavs, sounds, missing = [], [], np.zeros(len(entries), bool)
    for i, file in enumerate(files):
        wav, rate = np.zeros(0, np.float32), RATE
        try:
            if file:
                wav, rate = audio.decode(file)
        except ValueError as error:  # counted against the system, as a missing one
            log(f"{system.name}: {error}")
        missing[i] = not len(wav)
        sounds.append(sound.sound(wav, rate))
        wavs.append(audio.resample(wav, rate, RATE))
    if missing.all():
        raise ValueError(f"not one recording of {system.name} can be read")
    texts = [entry.text for entry in entries]
    heard = transcribe_all(judges.recognizers, wavs, RATE)
    own = judges.voices(wavs, RATE) if wish.voices else {}
    alike = {name: cosines(vectors, wish.voices[name]) for name, vectors in own.items()}
    return Judged(
        missing=missing,
        heard=heard,
        scores={name: score(texts, said, judges.form) for name, said in heard.items()},
        similarity={name: np.where(wish.prompted, found, np.nan) for name, found in alike.items()},
        quality={listener.name: listener(wavs) for listener in judges.listeners},
        sounds=sounds,
        ratio=np.array([s.seconds for s in sounds]) / wish.seconds,
    )


def _seconds(file: Path | None) -> float:
    if file is None:
        return math.nan
    wav, rate = audio.decode(file)
    return len(wav) / rate


# --- figures ----------------------------------------------------------------------------------------------------------


def figures(system: System, judged: Sequence[Judged], entries: Sequence[Entry], judges: Judges) -> Json:
    """The row of a system: means over its seeds and utterances, with their intervals."""
    there = ~np.stack([j.missing for j in judged])
    return {
        "name": system.name,
        "folders": [str(folder) for folder in system.folders],
        "seeds": len(judged),
        "missing": int((~there).sum()),
        "seconds": round(sum(s.seconds for j in judged for s in j.sounds), 1),
        "errors": {r.name: _errors([j.scores[r.name] for j in judged], there) for r in judges.recognizers},
        "similarity": {name: _mean([j.similarity[name] for j in judged]) for name in judged[0].similarity},
        "quality": {name: _mean([j.quality[name] for j in judged]) for name in judged[0].quality},
        "sound": _sounds(judged, entries, judges, there),
    }


def _mean(values: Sequence[np.ndarray]) -> Json:
    rows = np.stack(values)
    known = rows[:, ~np.isnan(rows).any(axis=0)]
    if not known.size:
        return {"mean": None, "low": None, "high": None}
    low, high = interval(known)
    return {"mean": float(known.mean()), "low": low, "high": high}


def _errors(scores: Sequence[Score], there: np.ndarray) -> Json:
    rates, tokens = np.stack([s.rates for s in scores]), scores[0].tokens
    errors = np.stack([s.errors for s in scores])
    low, high = interval_of_rate(rates)
    corpus_low, corpus_high = interval_of_rate(errors, tokens)
    total = tokens.sum() * len(scores)
    return {
        "mean": float(rates.mean()),
        "low": low,
        "high": high,
        "skipping": float(rates[there].mean()) if there.any() else None,
        "corpus": float(errors.sum() / total),
        "corpus_low": corpus_low,
        "corpus_high": corpus_high,
        **{kind: float(sum(getattr(s, kind).sum() for s in scores) / total) for kind in EDITS},
        "perfect": float((rates == 0).mean()),
        "above_half": float((rates > 0.5).mean()),
        "tokens": int(tokens.sum()),
    }


def _sounds(judged: Sequence[Judged], entries: Sequence[Entry], judges: Judges, there: np.ndarray) -> Json:
    """Means over the clips that are there; early ends and repeats by the first recogniser."""
    sounds = [s for j, seed in zip(judged, there, strict=True) for s, ok in zip(j.sounds, seed, strict=True) if ok]
    made = {name: float(np.mean([getattr(s, name) for s in sounds])) for name in ("lead", "tail", "pause", "clipped")}
    first = judges.recognizers[0].name
    spoken = [(entry.text, j.heard[first][i]) for j in judged for i, entry in enumerate(entries) if not j.missing[i]]
    ratio = np.concatenate([j.ratio[~j.missing] for j in judged])
    known = ratio[~np.isnan(ratio)]
    made |= sound.faults([text for text, _ in spoken], [heard for _, heard in spoken], judges.form)
    return made | {"ratio": float(np.median(known)) if len(known) else None}


def values(judged: Sequence[Judged]) -> dict[str, tuple[str, bool, np.ndarray]]:
    """What two systems are compared by: name of the score -> unit, whether less is better, f64[seeds, utterances]."""
    first = judged[0]
    made: dict[str, tuple[str, bool, np.ndarray]] = {}
    for name in first.scores:
        made[f"errors, {name}"] = ("points", True, np.stack([j.scores[name].rates for j in judged]))
    for name in first.similarity:
        made[f"similarity, {name}"] = ("of similarity", False, np.stack([j.similarity[name] for j in judged]))
    for name in first.quality:
        made[name] = (f"of {name}", False, np.stack([j.quality[name] for j in judged]))
    return made


def utterances(entries: Sequence[Entry], judged: Mapping[str, Sequence[Judged]], judges: Judges) -> list[Json]:
    """Every utterance, with what was heard of each system's first seed."""
    made = []
    for i, entry in enumerate(entries):
        row: Json = {"key": entry.key, "text": entry.text, "systems": {}}
        for name, (first, *_) in judged.items():
            row["systems"][name] = {
                "missing": bool(first.missing[i]),
                "heard": {
                    reader: {
                        "text": said[i],
                        "rate": float(first.scores[reader].rates[i]),
                        "edits": [dataclasses.astuple(e) for e in alignment(entry.text, said[i], judges.form)],
                    }
                    for reader, said in first.heard.items()
                },
                **{
                    judge: float(scores[i])
                    for judge, scores in (first.similarity | first.quality).items()
                    if not math.isnan(scores[i])
                },
                **{key: round(value, 4) for key, value in dataclasses.asdict(first.sounds[i]).items()},
            }
        made.append(row)
    return made
