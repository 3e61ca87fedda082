"""Streamed speech beside offline speech of the same run: first sound, speed, errors, and whether the joints are heard.

    python tests/benchmarks/streaming.py --workdir=runs/joint_tiny [--num=100] [--timed=20] [--infer=vocoder=universal]
        [--out=FILE]

Sentences of the run's test split, one at a time. Times are of `--timed` of them, after a first round that compiles. A
joint's jump is the step between the samples on its two sides, and the most that 2 ms around it rise above 4 kHz (a
click has all frequencies); both beside the largest within chunks, of the same sentence.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import beside
import jax
import numpy as np
import scipy.ndimage
import scipy.signal

from e2etts_jax.data import sources
from e2etts_jax.evaluate.asr import load_recognizers, transcribe_all
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.infer.synthesizer import Synthesizer

AROUND = 0.001  # seconds on each side of a joint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--timed", type=int, default=20)
    parser.add_argument("--infer", action="append", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    s = Synthesizer.load(options.workdir, infer=options.infer)
    texts = [e.text for e in sources.load_examples(s.config.data, "test", options.num, s.sample_rate, keep=s.can_say)]
    rate, timed = s.sample_rate, texts[: options.timed]
    table = {"clips": len(texts), "timed": len(timed), "vocoder": s._vocoder.name, "infer": dict(s.config.infer)}
    table["jax"] = jax.__version__
    recognizers = load_recognizers()

    def errors(wavs: list[np.ndarray]) -> dict[str, float]:
        return {r: round(score(texts, said).rate, 4) for r, said in transcribe_all(recognizers, wavs, rate).items()}

    begun = time.perf_counter()
    offline = [s.say([text])[0] for text in texts]
    print(f"offline: {time.perf_counter() - begun:.0f} s", flush=True)
    table["offline"] = {**clock(lambda text: iter([s.say([text])[0]]), timed, rate), **errors(offline)}
    print(json.dumps(table["offline"]), flush=True)
    for candidates in sorted({1, s.config.infer.candidates}):
        s.config.infer.candidates = candidates
        streamed = [list(parts) for text in texts for parts in s.stream([text])]
        row = clock(lambda text: s.stream([text])[0], timed, rate)
        row |= errors([np.concatenate(parts) for parts in streamed]) | joints(streamed, rate)
        table[f"streamed, best of {candidates}"] = row
        print(json.dumps({"candidates": candidates, **row}), flush=True)
    beside.keep(options.out, table)


def clock(speak, texts: list[str], rate: int) -> dict[str, float]:
    """Medians of the seconds to the first sound, and all seconds for a second of sound."""
    first, whole, sound = [], 0.0, 0.0
    for text in texts:
        begun, heard = time.perf_counter(), 0.0
        for part in speak(text):
            heard = heard or time.perf_counter() - begun
            sound += len(part) / rate
        whole += time.perf_counter() - begun
        first.append(heard)
    return {"first_sound_s": round(statistics.median(first), 3), "real_time_factor": round(whole / sound, 3)}


def joints(streamed: list[list[np.ndarray]], rate: int) -> dict[str, float]:
    """Largest step and largest high-frequency rise at joints, and within chunks."""
    high = scipy.signal.butter(4, 4000, "high", fs=rate, output="sos")
    size, most = int(AROUND * rate), {"joint": [0.0, 0.0], "within": [0.0, 0.0]}
    ratios = []
    for parts in streamed:
        wav, at = np.concatenate(parts), np.cumsum([len(part) for part in parts])[:-1]
        step = np.abs(np.diff(wav, prepend=0.0))
        rise = np.sqrt(scipy.ndimage.uniform_filter1d(scipy.signal.sosfiltfilt(high, wav) ** 2, 2 * size))
        near = np.zeros(len(wav), bool)
        near[at] = True
        if not len(at):
            continue
        ratios.append(step[near].max() / step[~near].max())
        for kind, where in (("joint", near), ("within", ~near)):
            most[kind] = [max(most[kind][0], float(step[where].max())), max(most[kind][1], float(rise[where].max()))]
    made = {
        f"largest_{what}_{kind}": round(most[kind][i], 4) for kind in most for i, what in enumerate(("step", "rise"))
    }
    return made | {
        "joints": sum(len(parts) - 1 for parts in streamed),
        "worst_sentence_ratio": round(max(ratios, default=0.0), 3),
    }


if __name__ == "__main__":
    main()
