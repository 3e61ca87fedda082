"""What a vocoder costs the sound: recordings beside the same recordings through their mel and each vocoder.

    python tests/benchmarks/copy_synthesis.py --clips=FOLDER [--num=100] [--mos_python=PYTHON] [--out=FILE.json]

FOLDER holds metadata.jsonl, lines with `audio`, `text` and `split`; the first `num` of `--split` are taken. Both
recognisers read all; PYTHON, one that has torch and distillmos, also scores how it sounds. Vocoders are those of
`config.infer.vocoder`.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import beside
import numpy as np
import soundfile

from e2etts_jax.data import audio
from e2etts_jax.evaluate.asr import load_recognizers, transcribe_all
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer import vocoder
from e2etts_jax.infer.griffin_lim import in_bucket

MOS = """
import sys, types, json, pathlib
stub = types.ModuleType("torchaudio")  # only its command line reads files with it
sys.modules["torchaudio"] = stub
import soundfile, soxr, torch, distillmos
model = distillmos.ConvTransformerSQAModel().eval()
out = {}
for file in sorted(pathlib.Path(sys.argv[1]).rglob("*.wav")):
    wav, rate = soundfile.read(file, dtype="float32")
    with torch.no_grad():
        score = model(torch.from_numpy(soxr.resample(wav, rate, 16000))[None])
    out.setdefault(file.parent.name, []).append(float(score.squeeze()))
print(json.dumps(out))
"""


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % of the mean, by 2000 bootstrap draws over clips."""
    draws = np.random.default_rng(0).integers(0, len(differences), (2000, len(differences)))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--vocoders", nargs="*", default=["universal", "griffin_lim"])
    parser.add_argument("--mos_python", default="")
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
    mos = {}
    if options.mos_python:
        with tempfile.TemporaryDirectory() as folder:
            for name, wavs in made.items():
                (Path(folder) / name).mkdir()
                for i, wav in enumerate(wavs):
                    soundfile.write(Path(folder) / name / f"{i:04}.wav", wav, mel.sample_rate, subtype="FLOAT")
            run = subprocess.run([options.mos_python, "-c", MOS, folder], check=True, capture_output=True, text=True)
        mos = {name: np.array(scores) for name, scores in json.loads(run.stdout.splitlines()[-1]).items()}
    recognizers = load_recognizers()
    read = {name: transcribe_all(recognizers, wavs, mel.sample_rate) for name, wavs in made.items()}
    table = []
    for name in made:
        row = {"name": name, "clips": len(lines), "seconds": round(seconds, 1)}
        row |= {"s_per_audio_s": round(speed[name], 3)} if name in speed else {}
        row |= {recognizer: round(score(texts, said).rate, 4) for recognizer, said in read[name].items()}
        if mos:
            row["distillmos"] = round(float(mos[name].mean()), 3)
            row["distillmos_change_95"] = [round(x, 3) for x in interval(mos[name] - mos["recording"])]
        table.append(row)
        print(json.dumps(row), flush=True)
    beside.keep(options.out, table)


if __name__ == "__main__":
    main()
