"""Voices that training has not heard: is what goes on from a prompt in the voice of the prompt, and understood?

    python tests/benchmarks/other_voices.py --workdir=RUN --clips=FOLDER [--num=10] [--second=PYTHON] [--out=FILE.json]

FOLDER holds metadata.jsonl, lines with `audio`, `text`, `speaker` and `split`. Of each speaker of `--split` one clip is
the prompt, `ENROLLED` others are what the voice is known by, and `num` give sentences to say. A sentence counts as
right where it is nearer to the mean vector of its own voice than to that of every other one. Beside the synthesis:
the recordings of the same sentences, their tokens decoded behind the prompt (no LLM), and their tokens decoded behind
the prompt of the next voice, which should then sound like that one. The first judge is the speaker model that the FM is
conditioned on, the second (PYTHON has resemblyzer) has no part in it.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import beside
import numpy as np
import soundfile

from e2etts_jax.data import audio
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.evaluate.asr import load_recognizers, transcribe_all
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.infer.prompt import Prompt
from e2etts_jax.infer.synthesizer import Synthesizer

ENROLLED = 10  # clips that a voice is known by
PROMPT_SECONDS = (2.5, 5.0)
SECOND = """
import json, pathlib, sys
from resemblyzer import VoiceEncoder, preprocess_wav
encoder = VoiceEncoder("cpu", verbose=False)
files = sorted(pathlib.Path(sys.argv[1]).glob("*.wav"))
print(json.dumps([encoder.embed_utterance(preprocess_wav(file)).tolist() for file in files]))
"""


def first_judge(wavs: list[np.ndarray], rate: int) -> np.ndarray:
    extractor = speakers.make("voicefilter")
    return np.stack([speakers.vector(extractor, audio.resample(wav, rate, speakers.RATE)) for wav in wavs])


def second_judge(python: str, wavs: list[np.ndarray], rate: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        for i, wav in enumerate(wavs):
            soundfile.write(Path(folder) / f"{i:05}.wav", wav, rate)
        run = subprocess.run([python, "-c", SECOND, folder], check=True, capture_output=True, text=True)
    return np.array(json.loads(run.stdout.splitlines()[-1]))


def nearest(vectors: np.ndarray, voices: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """How often the own voice is nearer than all others, and than each; the cosines."""
    cosine = vectors @ voices.T / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(voices, axis=1)
    right = cosine[np.arange(len(own)), own]
    wrong = np.stack([np.delete(row, voice) for row, voice in zip(cosine, own, strict=True)])
    numbers = {"nearest": (right > wrong.max(axis=1)).mean(), "pairs": (right[:, None] > wrong).mean()}
    numbers |= {"right": right.mean(), "wrong": wrong.mean()}
    return {name: round(float(value), 3) for name, value in numbers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--stage")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--num", type=int, default=10)
    parser.add_argument("--second", default="")
    parser.add_argument("--infer", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, help="folder to write the sounds to")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.second:  # now, not after an hour
        subprocess.run([options.second, "-c", "import resemblyzer"], check=True)
    model = Synthesizer.load(options.workdir, options.stage, infer=options.infer)
    rate = model.sample_rate
    by_voice: dict[str, list[dict]] = {}
    for line in beside.clips(options.clips, options.split):
        by_voice.setdefault(line["speaker"], []).append(line)

    def load(line: dict) -> np.ndarray:
        return audio.load(options.clips / line["audio"], rate)

    made: dict[str, list[np.ndarray]] = {name: [] for name in ("recording", "synthesis", "tokens", "moved")}
    enrolled, texts, leads = [], [], []
    names = sorted(by_voice)
    for clips in (by_voice[name] for name in names):
        fitting = [c for c in clips if PROMPT_SECONDS[0] <= c["seconds"] <= PROMPT_SECONDS[1]]
        prompt, rest = fitting[0], [c for c in clips if c is not fitting[0]]
        enrolled.append([load(c) for c in rest[:ENROLLED]])
        said = rest[ENROLLED : ENROLLED + options.num]
        leads.append(Prompt(load(prompt), rate, prompt["text"], prompt["audio"]))
        texts.append([c["text"] for c in said])
        made["recording"] += [load(c) for c in said]
        made["synthesis"] += model.synthesize(texts[-1], prompt=leads[-1])
    size = len(texts[0])
    own = np.repeat(np.arange(len(names)), size)
    for voice in range(len(names)):
        recorded = made["recording"][voice * size : (voice + 1) * size]
        ids = model.tokenize(recorded)
        made["tokens"] += model.decode_tokens(ids, lead=model.lead(leads[voice]))
        made["moved"] += model.decode_tokens(ids, lead=model.lead(leads[(voice + 1) % len(names)]))
    target = {name: own for name in made} | {"moved": (own + 1) % len(names)}
    judges = {"voicefilter": first_judge}
    if options.second:
        judges["resemblyzer"] = lambda wavs, hz: second_judge(options.second, wavs, hz)
    table = {name: {"sentences": len(wavs)} for name, wavs in made.items()}
    for judge, embed in judges.items():
        voices = np.stack([embed(wavs, rate).mean(axis=0) for wavs in enrolled])
        for name, wavs in made.items():
            table[name][judge] = nearest(embed(wavs, rate), voices, target[name])
    recognizers, whole = load_recognizers(), [text for group in texts for text in group]
    for name, wavs in made.items():
        for recognizer, heard in transcribe_all(recognizers, wavs, rate).items():
            table[name][f"{recognizer} wer"] = round(score(whole, heard).rate, 4)
        table[name]["seconds"] = round(sum(map(len, wavs)) / rate, 1)
        print(name, json.dumps(table[name]), flush=True)
        for i, wav in enumerate(wavs if options.keep else ()):
            options.keep.mkdir(parents=True, exist_ok=True)
            soundfile.write(options.keep / f"{name}_{names[target[name][i]]}_{i:03}.wav", wav, rate)
    beside.keep(options.out, {"voices": names, **table})


if __name__ == "__main__":
    main()
