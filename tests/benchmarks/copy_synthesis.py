"""What a vocoder costs the sound: recordings beside the same recordings through their mel and each vocoder.

    python tests/benchmarks/copy_synthesis.py --clips=FOLDER [--num=100] [--out=FILE.json]

FOLDER holds metadata.jsonl, lines with `audio`, `text` and `split`; the first `num` of `--split` are taken. Both
recognisers read all; with the `judges` extra, models of quality listen, too. Vocoders are those of
`config.infer.vocoder`.
"""

import argparse
import json
import time
from pathlib import Path

import beside
import numpy as np

from e2etts_jax.data import audio
from e2etts_jax.evaluate import quality
from e2etts_jax.evaluate.asr import RATE, load_recognizers, transcribe_all
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.evaluate.statistics import compare
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer import vocoder
from e2etts_jax.infer.griffin_lim import in_bucket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--vocoders", nargs="*", default=["universal", "griffin_lim"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = beside.clips(options.clips, options.split)[: options.num]
    mel, texts, recordings = MelConfig(), [line["text"] for line in lines], []
    for line in lines:
        wav = audio.load(options.clips / line["audio"], mel.sample_rate)
        recordings.append(wav[: len(wav) // mel.hop * mel.hop])
    seconds = sum(map(len, recordings)) / mel.sample_rate
    made, speed = {"recording": recordings}, {}
    for name in options.vocoders:
        chosen = vocoder.choose(name, mel)
        mels = [np.asarray(log_mel(w[None], mel)) for w in recordings]
        for frames in {in_bucket(m, mel).shape[1] for m in mels}:  # compiled before the clock starts
            chosen.run(np.zeros((1, frames, mel.n_mels), np.float32))
        begun = time.perf_counter()
        made[name] = [chosen.run(m)[0] for m in mels]
        speed[name] = (time.perf_counter() - begun) / seconds
    listeners = quality.installed(print)
    mos = {
        listener.name: {
            name: listener([audio.resample(w, mel.sample_rate, RATE) for w in wavs]) for name, wavs in made.items()
        }
        for listener in listeners
    }
    recognizers = load_recognizers()
    read = {name: transcribe_all(recognizers, wavs, mel.sample_rate) for name, wavs in made.items()}
    table = []
    for name in made:
        row = {"name": name, "clips": len(lines), "seconds": round(seconds, 1)}
        row |= {"s_per_audio_s": round(speed[name], 3)} if name in speed else {}
        row |= {recognizer: round(score(texts, said).rate, 4) for recognizer, said in read[name].items()}
        for listener, scores in mos.items():
            row[listener] = round(float(scores[name].mean()), 3)
            if name != "recording":
                change = compare(scores[name], scores["recording"])
                row[f"{listener}_change_95"] = [round(change.low, 3), round(change.high, 3)]
        table.append(row)
        print(json.dumps(row), flush=True)
    beside.keep(options.out, table)


if __name__ == "__main__":
    main()
