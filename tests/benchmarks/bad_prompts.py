"""Prompts of no use: what a trained run answers, and how long what it says is.

    python tests/benchmarks/bad_prompts.py --workdir=RUN --clip=RECORDING --words="..."
        [--other=LANGUAGE:RECORDING:WORDS] [--infer KEY=VALUE ...] [--out=FILE.json]

The recording and its words are a good prompt, said for comparison; the bad ones are made of it, or by arithmetic. Each
is a process of its own, as a user would start it, that is stopped after `LIMIT` seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import beside
import numpy as np
import soundfile

TEXT = "The children walked slowly along the river."
LIMIT = 300


def music(rate: int, seconds: float) -> np.ndarray:
    """Three chords of six harmonics, a new one every second."""
    t = np.arange(int(rate * seconds)) / rate
    roots = np.array([261.6, 349.2, 392.0])[(t.astype(int)) % 3]
    tones = [np.sin(2 * np.pi * roots * step * k * t) / k for step in (1, 1.26, 1.498) for k in range(1, 7)]
    return (0.05 * np.sum(tones, axis=0)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--words", required=True)
    parser.add_argument("--other", default="")
    parser.add_argument("--infer", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    wav, rate = soundfile.read(options.clip, dtype="float32")
    rng, seconds = np.random.default_rng(0), len(wav) / rate
    prompts = {
        "good": (wav, options.words),
        "silence": (np.zeros_like(wav), options.words),
        "near silence": (1e-4 * rng.standard_normal(len(wav)).astype(np.float32), options.words),
        "noise": (0.1 * rng.standard_normal(len(wav)).astype(np.float32), options.words),
        "music": (music(rate, seconds), options.words),
        "0.2 s": (wav[: int(0.2 * rate)], options.words),
        "10 min": (np.tile(wav, int(600 / seconds) + 1)[: 600 * rate], options.words),
        "wrong words": (wav, "Seven hundred sheep ate my grandmother's garden."),
        "no words": (wav, " "),
        "a novel for words": (wav, " ".join([options.words] * 30)),
        "stereo at 8 kHz": (np.stack([wav, wav], axis=1)[:: max(1, rate // 8000)], options.words),
    }
    rates = {"stereo at 8 kHz": rate // max(1, rate // 8000)}
    if options.other:
        language, file, words = options.other.split(":", 2)
        foreign, at = soundfile.read(file, dtype="float32")
        prompts[language], rates[language] = (foreign, words), at
    table = []
    with tempfile.TemporaryDirectory() as folder:
        said, heard = Path(folder) / "said.wav", Path(folder) / "prompt.wav"
        for name, (sound, words) in prompts.items():
            soundfile.write(heard, sound, rates.get(name, rate))
            said.unlink(missing_ok=True)
            flags = [f"--workdir={options.workdir}", f"--text={TEXT}", f"--out={said}"]
            command = [sys.executable, "-m", "e2etts_jax.synthesize", *flags]
            command += [f"--prompt_audio={heard}", f"--prompt_text={words}", *(f"--infer={i}" for i in options.infer)]
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
            lines = [
                line for line in done.stderr.splitlines() if heard.name in line or "prompt" in line or "cut" in line
            ]
            row = {
                "prompt": name,
                "exit": done.returncode,
                "took": round(time.perf_counter() - begun, 1),
                "seconds said": round(soundfile.info(said).duration, 2) if said.exists() else None,
                "message": " | ".join(lines).replace(str(heard), heard.name),
                "traceback": "Traceback" in done.stderr,
            }
            table.append(row)
            print(json.dumps(row), flush=True)
    beside.keep(options.out, table)


if __name__ == "__main__":
    main()
