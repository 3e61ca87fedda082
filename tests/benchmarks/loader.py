"""How fast batches come, beside a plain PyTorch `DataLoader` that does the same work, in the same run.

    python tests/benchmarks/loader.py --manifest=JSONL --prepared=FOLDER [--torch=PYTHON] [--files=wav]

`--prepared` is what `python -m e2etts_jax.prepare --source=JSONL --out=FOLDER --sample_rate=22050` made. The peer reads
the same clips as the files that they are, decodes them with soundfile, resamples them with soxr, sorts them into the
same buckets and pads them. Where augmentation is on, the peer also speeds every clip up or down with soxr; ours does it
on the device, so the compiled resampling counts here, on the CPU, with the transfer.
`--files=wav` and `--files=flac` give the peer copies of the clips that are cheaper to decode, at the rate that is
wanted. PyTorch is no dependency of the project: `--torch` is an interpreter with torch, soundfile, soxr and numpy.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

RATE, SPT, BATCH, SPEED = 22_050, 1024, 16, (0.9, 1.1)
BUCKETS: list[int] = []  # of --buckets


def clock(batches: Iterator[dict[str, Any]], seconds: float) -> dict[str, float]:
    """Clips and seconds of audio that arrive a second, after the first batches."""
    for _ in range(3):
        next(batches)
    begun, clips, audio = time.perf_counter(), 0, 0.0
    while (took := time.perf_counter() - begun) < seconds:
        batch = next(batches)
        clips += len(batch["wav_len"])
        audio += float(batch["wav_len"].sum()) / RATE
    return {"clips": clips / took, "audio": audio / took}


def ours(options: argparse.Namespace, workers: int, speed: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    from absl import flags

    from e2etts_jax.data import pipeline
    from e2etts_jax.data.text import make_both

    if not flags.FLAGS.is_parsed():
        flags.FLAGS([sys.argv[0]])
    pipeline.CACHE_BYTES = 0  # every clip is read and resampled anew, as in a corpus larger than memory
    cfg = SimpleNamespace(
        dataset=str(options.prepared), data_dir="", language="en", prompts=0.0, buckets=options.buckets, max_text=400
    )
    batches = pipeline.make_batches(
        cfg,
        sample_rate=RATE,
        samples_per_token=SPT,
        texts=make_both({}),
        split="train",
        batch_size=BATCH,
        seed=0,
        shuffle=True,
    )
    if workers:
        made = iter(pipeline.stream(batches, workers=workers))
    else:  # as the peer without workers: in the caller's thread
        made = (batches[step] for step in range(10**9))
    return map(sped_up(speed), made) if speed else made


def sped_up(factors: tuple[float, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What stage 2 does to the audio that the RM hears, as the step does it, finished."""
    import jax

    from e2etts_jax import augment, features

    @jax.jit
    def change(wav: jax.Array, wav_len: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        choice = jax.random.randint(key, wav_len.shape, 0, len(factors))
        return augment.speed(features.waveform(wav), wav_len, factors, choice)

    for bucket in BUCKETS:  # compiled before the clock starts
        jax.block_until_ready(
            change(np.zeros((BATCH, bucket * SPT), np.int16), np.zeros(BATCH, np.int32), jax.random.key(0))
        )
    keys = iter(range(10**9))
    return lambda batch: (
        batch | {"rm_wav": jax.block_until_ready(change(batch["wav"], batch["wav_len"], jax.random.key(next(keys))))}
    )


def peer(options: argparse.Namespace, workers: int, speed: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    import soundfile as sf
    import soxr
    import torch

    torch.set_num_threads(1)
    clips = [json.loads(line) for line in Path(options.manifest).read_text().splitlines()]
    clips = [c for c in clips if c.get("split", "train") == "train"]
    folder, cheap = Path(options.manifest).parent, options.files
    bounds = [tokens * SPT for tokens in options.buckets]

    if cheap and not Path(options.copies, f"{len(clips) - 1}.{cheap}").is_file():
        Path(options.copies).mkdir(parents=True, exist_ok=True)
        for i, clip in enumerate(clips):
            wav, rate = sf.read(folder / clip["audio"], dtype="float32")
            sf.write(Path(options.copies, f"{i}.{cheap}"), soxr.resample(wav, rate, RATE), RATE, subtype="PCM_16")

    class Clips(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(clips)

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray | None, str]:
            path = Path(options.copies, f"{i}.{cheap}") if cheap else folder / clips[i]["audio"]
            wav, rate = sf.read(path, dtype="float32", always_2d=True)
            wav = soxr.resample(wav.mean(axis=1), rate, RATE, quality="HQ") if rate != RATE else wav.mean(axis=1)
            heard = soxr.resample(wav, float(np.random.uniform(*speed)), 1.0, quality="MQ") if speed else None
            return wav, heard, clips[i]["text"]

    class Buckets(torch.utils.data.Sampler):
        """Batches of clips of one bucket, in random order."""

        def __iter__(self) -> Iterator[list[int]]:
            which = np.searchsorted(bounds, [c["seconds"] * RATE for c in clips])
            while True:
                batches = []
                for bucket in range(len(bounds)):
                    ids = np.random.permutation(np.flatnonzero(which == bucket))
                    batches += [ids[i : i + BATCH].tolist() for i in range(0, len(ids) - BATCH + 1, BATCH)]
                yield from (batches[i] for i in np.random.permutation(len(batches)))

    def collate(rows: list[tuple[np.ndarray, np.ndarray | None, str]]) -> dict[str, Any]:
        longest = max(len(wav) for wav, _, _ in rows)
        width = bounds[min(int(np.searchsorted(bounds, longest)), len(bounds) - 1)]
        alphabet = " 'abcdefghijklmnopqrstuvwxyz"
        out = {
            "wav": torch.zeros(len(rows), width),
            "wav_len": torch.tensor([min(len(wav), width) for wav, _, _ in rows]),
            "text": torch.zeros(len(rows), 400, dtype=torch.int32),
        }
        if speed:
            out["rm_wav"] = torch.zeros(len(rows), width)
        for r, (wav, heard, text) in enumerate(rows):
            out["wav"][r, : min(len(wav), width)] = torch.from_numpy(wav[:width])
            if heard is not None:
                out["rm_wav"][r, : min(len(heard), width)] = torch.from_numpy(heard[:width])
            ids = [alphabet.index(c) + 1 for c in text.lower() if c in alphabet][:400]
            out["text"][r, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
        return out

    loader = torch.utils.data.DataLoader(
        Clips(),
        batch_sampler=Buckets(),
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    return iter(loader)


MAKERS: dict[str, Callable] = {"ours": ours, "peer": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--torch", default=sys.executable)
    parser.add_argument("--buckets", type=json.loads, default=[96, 160, 256, 320])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--files", choices=("", "wav", "flac"), default="", help="what the peer reads")
    parser.add_argument("--copies", default="/tmp/loader_copies", help="where those lie")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    BUCKETS[:] = options.buckets
    if options.only:
        who, workers, augmented = options.only.split(",")
        batches = MAKERS[who](options, int(workers), SPEED if augmented == "1" else ())
        print(json.dumps(clock(batches, options.seconds)), flush=True)
        return
    print(f"batch {BATCH}, buckets {options.buckets} tokens; audio-seconds and clips a second")
    for workers in (0, 2):
        for augmented in (0, 1):
            found = {}
            for who, python in (("ours", sys.executable), ("peer", options.torch)):
                only = ["--only", f"{who},{workers},{augmented}", "--buckets", json.dumps(options.buckets)]
                flags = {"manifest": options.manifest, "prepared": options.prepared, "seconds": options.seconds}
                flags |= {"files": options.files, "copies": options.copies}
                only += [f"--{name}={value}" for name, value in flags.items()]
                env = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # as the launch scripts set it
                done = subprocess.run([python, __file__, *only], capture_output=True, text=True, env=env)
                if done.returncode:
                    sys.exit(f"{who}: {done.stderr.strip().splitlines()[-1]}")
                found[who] = json.loads(done.stdout.splitlines()[-1])
            what = f"{workers or 'no'} workers, {'speed augmentation' if augmented else 'decode and pad'}"
            a, b = found["ours"], found["peer"]
            print(
                f"{what:32}  ours {a['audio']:7.0f} s/s {a['clips']:6.0f} clips/s   "
                f"peer {b['audio']:7.0f} s/s {b['clips']:6.0f} clips/s   ratio {a['audio'] / b['audio']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
