"""Systems of any make, judged by what they said: a folder of recordings each, and the list of what was to be said."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data import audio
from e2etts_jax.evaluate import sound
from e2etts_jax.evaluate.asr import RATE, transcribe_all
from e2etts_jax.evaluate.judges import Judges, Log, Voices
from e2etts_jax.evaluate.lists import SUFFIXES, Entry, unwritable
from e2etts_jax.evaluate.scoring import EDITS, Score, alignment, interval_of_rate, score
from e2etts_jax.evaluate.similarity import cosines
from e2etts_jax.evaluate.sound import Sound
from e2etts_jax.evaluate.statistics import interval

REFERENCE = "reference"  # the system whose recordings the list names
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
          ValueError: no name, or a folder given twice.
        """
        name, found, folders = text.partition("=")
        if not found or Path(text).expanduser().is_dir():  # a folder's name may hold "=" or ","
            name, folders = Path(text.split(",")[0]).expanduser().resolve().name, text
        listed = [folders] if Path(folders).expanduser().is_dir() else folders.split(",")
        for folder in listed:
            if not folder or not Path(folder).expanduser().is_dir():
                raise FileNotFoundError(f"no folder {folder!r} with the recordings of a system, of --wavs={text}")
        paths = tuple(Path(folder).expanduser() for folder in listed)
        if not name or len({path.resolve() for path in paths}) < len(paths):
            raise ValueError(f"--wavs={text}: {'a folder is given twice' if name else 'no name before the ='}")
        if unwritable(f"{name}{folders}"):
            raise ValueError(f"--wavs={text!r}: a name that is no UTF-8; rename it")
        return cls(name, paths)

    def file(self, entry: Entry, seed: int) -> Path | None:
        """Where the recording of an entry is; None if there is none."""
        if not self.folders:
            return entry.reference
        place = self.folders[seed] / entry.key
        ends = (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))
        return next((path for s in ends if os.path.isfile(path := place.with_name(place.name + s))), None)

    def check(self, entries: Sequence[Entry]) -> None:
        """That each seed has a recording of the list at all.

        Raises:
          FileNotFoundError: one has none.
        """
        for seed, folder in enumerate(self.folders):
            if not any(self.file(entry, seed) for entry in entries):
                raise FileNotFoundError(
                    f"{folder} has no recording of {self.name}: {entries[0].key}.wav (or {', '.join(SUFFIXES[1:])})"
                    " and so on are looked for"
                )


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the list says a recording should be like, read once for all systems.

    Attributes:
      voices: vector of each entry's prompt, by speaker model; empty where the list has no prompt at all, and None
        where there is none or it has no voice. seconds: f64[N] of the references, NaN where there is none.
    """

    voices: Voices
    seconds: np.ndarray

    @classmethod
    def read(cls, entries: Sequence[Entry], judges: Judges, log: Log = print) -> "Wish":
        prompts = [entry.prompt for entry in entries]
        voices: Voices = {}
        if any(prompts) and judges.embedders:
            spoken = [audio.load(path, RATE) if path else np.zeros(0, np.float32) for path in prompts]
            voices = judges.voices(spoken, RATE)
            for entry, *vectors in zip(entries, *voices.values(), strict=True):
                if entry.prompt and any(vector is None for vector in vectors):
                    log(f"{entry.prompt}: no voice in it, so {entry.key} is not compared with it")
        seconds = [_seconds(entry.reference) for entry in entries]
        return cls(voices, np.array(seconds))


@dataclasses.dataclass
class Judged:
    """One seed of one system.

    Attributes:
      why: of each entry, '' or why there is no recording that can be read; it then counts as silence: all words
        deleted, no voice.
      heard: transcripts, by recogniser. scores: the same, counted.
      similarity: cosine to the entry's prompt, by speaker model; NaN where that has no voice.
      quality: by listener. sounds: of each clip. ratio: seconds beside the reference's; NaN where there is none.
      faults: of `sound.faults`, as the first recogniser hears the clips; and which files are `cut` short.
    """

    why: list[str]
    heard: dict[str, list[str]]
    scores: dict[str, Score]
    similarity: dict[str, np.ndarray]
    quality: dict[str, np.ndarray]
    sounds: list[Sound]
    ratio: np.ndarray
    faults: dict[str, np.ndarray]

    @property
    def missing(self) -> np.ndarray:
        """bool[N]: entries that count as silence."""
        return np.array([bool(reason) for reason in self.why])


def judge(system: System, seed: int, entries: Sequence[Entry], wish: Wish, judges: Judges, log: Log = print) -> Judged:
    """Has a seed of a system judged."""
    wavs, sounds, why, cut = [], [], [], []
    for entry in entries:
        file, wav, rate = system.file(entry, seed), np.zeros(0, np.float32), RATE
        why.append("" if file else "no recording")
        cut.append(file is not None and audio.cut_short(file))
        try:
            if file:
                wav, rate = audio.decode(file)
                if cut[-1]:
                    log(f"{system.name}: {file} is cut short: its header tells of more")
        except ValueError as error:  # counted against the system, as a missing one
            why[-1] = str(error)
            log(f"{system.name}: {error}")
        sounds.append(sound.sound(wav, rate))
        wavs.append(audio.resample(wav, rate, RATE))
    texts = [entry.text for entry in entries]
    heard = transcribe_all(judges.recognizers, wavs, RATE)
    own = judges.voices(wavs, RATE) if wish.voices else {}
    alike = {name: cosines(vectors, wish.voices[name]) for name, vectors in own.items()}
    first = heard[judges.recognizers[0].name]
    voiced = {name: np.array([v is not None for v in vectors]) for name, vectors in wish.voices.items()}
    return Judged(
        why=why,
        heard=heard,
        scores={name: score(texts, said, judges.form) for name, said in heard.items()},
        similarity={name: np.where(voiced[name], found, np.nan) for name, found in alike.items()},
        quality={listener.name: listener(wavs) for listener in judges.listeners},
        sounds=sounds,
        ratio=np.array([s.seconds for s in sounds]) / wish.seconds,
        faults=sound.faults(texts, first, judges.form) | {"cut": np.array(cut)},
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
        "recordings": there.size,
        "why": [
            {"key": entry.key, "seed": seed, "why": j.why[i]}
            for seed, j in enumerate(judged)
            for i, entry in enumerate(entries)
            if j.why[i]
        ],
        "seconds": round(sum(s.seconds for j in judged for s in j.sounds), 1),
        "errors": {r.name: _errors([j.scores[r.name] for j in judged], there) for r in judges.recognizers},
        "similarity": {name: _mean([j.similarity[name] for j in judged], there) for name in judged[0].similarity},
        "quality": {name: _mean([j.quality[name] for j in judged], there) for name in judged[0].quality},
        "sound": _sounds(judged, there),
    }


def _mean(values: Sequence[np.ndarray], there: np.ndarray) -> Json:
    rows = np.stack(values)
    known = rows[:, ~np.isnan(rows).any(axis=0)]
    if not known.size:
        return {"mean": None, "low": None, "high": None, "skipping": None}
    low, high = interval(known)
    skipping = rows[there & ~np.isnan(rows)]
    return {
        "mean": float(known.mean()),
        "low": low,
        "high": high,
        "skipping": float(skipping.mean()) if skipping.size else None,
    }


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
        "seeds": rates.mean(axis=1).tolist(),
    }


def _sounds(judged: Sequence[Judged], there: np.ndarray) -> Json:
    """Means over the clips that are there; None where none is."""
    sounds = [s for j, seed in zip(judged, there, strict=True) for s, ok in zip(j.sounds, seed, strict=True) if ok]
    measured = {name: [getattr(s, name) for s in sounds] for name in ("lead", "tail", "pause", "clipped")}
    measured |= {name: np.stack([j.faults[name] for j in judged])[there] for name in judged[0].faults}
    ratio = np.stack([j.ratio for j in judged])[there]
    known = ratio[~np.isnan(ratio)]
    made = {name: float(np.mean(values)) if sounds else None for name, values in measured.items()}
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
    """Every utterance, with what was heard of each system: a list, of each of its seeds."""
    return [
        {
            "key": entry.key,
            "text": entry.text,
            "systems": {name: [_utterance(j, i, entry, judges) for j in seeds] for name, seeds in judged.items()},
        }
        for i, entry in enumerate(entries)
    ]


def _utterance(judged: Judged, i: int, entry: Entry, judges: Judges) -> Json:
    scores = {name: float(values[i]) for name, values in (judged.similarity | judged.quality).items()}
    measured = dataclasses.asdict(judged.sounds[i]) | {"ratio": float(judged.ratio[i])}
    return {
        "missing": judged.why[i],
        "heard": {
            reader: {
                "text": texts[i],
                "rate": float(judged.scores[reader].rates[i]),
                "edits": [dataclasses.astuple(e) for e in alignment(entry.text, texts[i], judges.form)],
            }
            for reader, texts in judged.heard.items()
        },
        "scores": {name: round(value, 4) for name, value in scores.items() if not math.isnan(value)},
        **{name: round(value, 4) for name, value in measured.items() if not math.isnan(value)},
        **{name: bool(values[i]) for name, values in judged.faults.items()},
    }
