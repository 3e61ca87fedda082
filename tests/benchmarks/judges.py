"""Are the judges any good? Recordings, and the same recordings made worse in ways whose order is known.

    python tests/benchmarks/judges.py --clips=FOLDER --out=FOLDER [--num=60] [--speakers=voicefilter,resemblyzer]

FOLDER holds metadata.jsonl, lines with `audio`, `text`, `speaker` and `split`; the first `num` of `--split` are taken.
Writes a list (the prompt of an utterance is another clip of its speaker), a folder of wavs for each condition, and what
`evaluate` makes of them; then says which judge puts which conditions in the right order. `flawed` = worse conditions,
each after the better one that it is compared with.
"""

import argparse
import json
from pathlib import Path

import beside
import numpy as np
import soundfile

from e2etts_jax.data import audio
from e2etts_jax.evaluate import judging
from e2etts_jax.evaluate.judges import Names
from e2etts_jax.features import MelConfig
from e2etts_jax.infer import vocoder
from e2etts_jax.samples import copied

RATE = 22050
HARD = 10.0  # the peak is so many times above where it is clipped
DROPPED = 0.25  # of a clip, cut out of its middle


def noisy(wav: np.ndarray, ratio_db: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(len(wav))
    noise *= np.sqrt(np.square(wav).mean() / np.square(noise).mean()) * 10 ** (-ratio_db / 20)
    mixed = wav + noise
    return mixed / max(1.0, np.abs(mixed).max())


def clipped(wav: np.ndarray) -> np.ndarray:
    limit = np.abs(wav).max() / HARD
    return np.clip(wav, -limit, limit) * 0.5 / limit


def dropped(wav: np.ndarray) -> np.ndarray:
    start, gone = int(len(wav) * (1 - DROPPED) / 2), int(len(wav) * DROPPED)
    return np.concatenate([wav[:start], wav[start + gone :]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--num", type=int, default=60)
    parser.add_argument("--speakers", default="voicefilter", help="models of similarity, with commas between them")
    options = parser.parse_args()
    lines = beside.clips(options.clips, options.split)
    by_voice: dict[str, list[dict]] = {}
    for line in lines:
        by_voice.setdefault(line["speaker"], []).append(line)
    rng, through = np.random.default_rng(0), vocoder.choose("universal", MelConfig())
    conditions = {
        "recording": lambda wav: wav,
        "copy": lambda wav: copied(through, wav, MelConfig()),
        "noise 20 dB": lambda wav: noisy(wav, 20.0, rng),
        "noise 10 dB": lambda wav: noisy(wav, 10.0, rng),
        "noise 0 dB": lambda wav: noisy(wav, 0.0, rng),
        "clipped": clipped,
        "words dropped": dropped,
    }
    listed = []
    for line in lines[: options.num]:
        wav, voice = audio.load(options.clips / line["audio"], RATE), by_voice[line["speaker"]]
        other = (options.clips / voice[(voice.index(line) + 1) % len(voice)]["audio"]).resolve()
        listed.append(f"{line['id']}|{line['text']}|{other}")
        for name, change in conditions.items():
            (options.out / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(options.out / name / f"{line['id']}.wav", change(wav), RATE, subtype="FLOAT")
    (options.out / "meta.lst").write_text("\n".join(listed) + "\n")
    page = judging.run(
        str(options.out / "meta.lst"),
        [f"{name}={options.out / name}" for name in conditions],
        out=str(options.out / "report"),
        names=Names(speakers=options.speakers.split(",")),
    )
    made = json.loads(page.with_name("report.json").read_text())
    order = [
        ("recording", "noise 20 dB"),
        ("noise 20 dB", "noise 10 dB"),
        ("noise 10 dB", "noise 0 dB"),
        ("recording", "clipped"),
        ("recording", "words dropped"),
        ("recording", "copy"),
    ]
    found = {(c["first"], c["second"], c["score"]): c for c in made["comparisons"]}
    scores = list(dict.fromkeys(c["score"] for c in made["comparisons"]))
    table = []
    for better, worse in order:
        row = {"better": better, "worse": worse}
        for score in scores:
            c = found[better, worse, score]
            loss = c["difference"] * (-1 if score.startswith("errors") else 1)  # of the worse one
            row[score] = {
                "loss": round(loss, 4),
                "says": ("right" if loss > 0 else "wrong") if c["low"] * c["high"] > 0 else "can't tell",
            }
        table.append(row)
        print(json.dumps(row), flush=True)
    rows = {
        s["name"]: {
            "errors": {r: round(e["mean"], 4) for r, e in s["errors"].items()},
            "similarity": {n: round(m["mean"], 4) for n, m in s["similarity"].items()},
            "quality": {n: round(m["mean"], 3) for n, m in s["quality"].items()},
            "clipped": round(s["sound"]["clipped"], 5),
        }
        for s in made["systems"]
    }
    beside.keep(options.out / "judges.json", {"clips": len(listed), "systems": rows, "orders": table})


if __name__ == "__main__":
    main()
