"""Prepares recordings with texts for training:

python -m e2etts_jax.prepare --source=my/metadata.jsonl --out=my/prepared     # JSONL or CSV: audio, text, speaker, ...
python -m e2etts_jax.prepare --source=LJSpeech-1.1 --out=my/prepared          # or LibriTTS, VCTK, wavs beside .txt
python -m e2etts_jax.prepare --source=tfds:ljspeech --out=my/prepared

The same command again continues after a kill. --part=0/4 ... --part=3/4 on four machines prepare one corpus; the last
to end joins it.
"""

import fractions
import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from e2etts_jax import cli
from e2etts_jax.data.cores import cores
from e2etts_jax.data.prepare import layouts
from e2etts_jax.data.prepare.options import Options, parse_part, parse_splits
from e2etts_jax.data.prepare.rows import LAYOUTS

SOURCE = flags.DEFINE_string("source", None, "manifest, folder, or tfds:NAME")
LAYOUT = flags.DEFINE_string("layout", "auto", "auto, " + ", ".join(LAYOUTS))
ROOT = flags.DEFINE_multi_string("root", [], "folder outside the source's that recordings may lie in too")
SAMPLE_RATE = flags.DEFINE_integer("sample_rate", 24_000, "Hz to store; 0 = as recorded, if all have the same")
LOUDNESS = flags.DEFINE_string("loudness", "-23", "LUFS to bring every clip to, or none")
SPEAKER = flags.DEFINE_string("speaker", "voicefilter", "speaker vectors by: voicefilter, none, or a model NAME.onnx")
MIN_SECONDS = flags.DEFINE_float("min_seconds", 0.3, "shorter clips are rejected")
MAX_SECONDS = flags.DEFINE_float("max_seconds", 30.0, "longer clips are rejected, undecoded")
RATES = flags.DEFINE_string("chars_per_second", "1,35", "least and most of a clip; a digit counts 4, a Han character 3")
SPLITS = flags.DEFINE_string("splits", "validation=0.01,test=0.01", "held out where the source has no splits")
WORKERS = flags.DEFINE_integer("workers", 0, "processes; 0 = as many as cores")
PART = flags.DEFINE_string("part", "", "i/n: only every n-th shard, from the i-th (from 0); for n machines")
TOKENS = flags.DEFINE_string("tokens_per_second", "22050/1024", "speech tokens, for the suggested buckets")


def prepare(options: Options, out: Path, workers: int, part: tuple[int, int], token_rate: fractions.Fraction) -> str:
    """Writes the shards of this part that are missing, and the rest of the data set if these were the last.

    Args:
      options: what decides the bytes.
      workers: processes, 1 or more.
      part: (i, n): the shards i, i + n, i + 2n, ...
      token_rate: speech tokens a second, for the suggested buckets.

    Returns:
      What to tell the user.

    Raises:
      ValueError: nothing usable in the source, or `out` belongs to something else.
      OSError: no such file, the disk is full, another run is at work on the same part.
    """
    import fcntl

    from tqdm import tqdm

    from e2etts_jax.data.prepare import finish
    from e2etts_jax.data.prepare import workers as processes
    from e2etts_jax.data.prepare.plan import make

    started = time.perf_counter()
    plan = make(options, out)
    if not plan.shards:
        refused = (out / "prepare" / "rejected.jsonl").read_text().splitlines()
        raise ValueError(f"{options.source} has no usable clip; {len(refused)} were refused" +
                         (f", the first: {refused[0]}" if refused else ""))  # fmt: skip
    with (out / "prepare" / f"lock-{part[0]}-of-{part[1]}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another run is preparing part {part[0]}/{part[1]} of {out}; wait for it") from None
        mine = range(part[0], len(plan.shards), part[1])
        processes.sweep(out, plan, mine)
        todo = finish.missing(plan, out, mine)
        clips = sum(plan.shards[n].clips for n in todo)
        with tqdm(total=clips, desc="preparing", unit="clip", leave=False, disable=None) as bar:
            processes.run(out, plan, todo, workers, lambda done: bar.update(min(done, clips) - bar.n))
        left = finish.missing(plan, out, list(range(len(plan.shards))))
        if left:
            return f"part {part[0]}/{part[1]} is done; {len(left)} of {len(plan.shards)} shards are left to other parts"
        with (out / "prepare" / "lock-finish").open("w") as last:  # two parts may end at once
            fcntl.flock(last, fcntl.LOCK_EX)
            summary = finish.finish(plan, out, token_rate)
    took = time.perf_counter() - started
    return f"{finish.report(summary, out)}\n{clips} clips in {took:.0f} s, {workers} processes"


def require(options: Options) -> None:
    """Fails now, in one line, rather than at the end of the night.

    Raises:
      ImportError: a library of the data extra is missing.
      ValueError, FileNotFoundError: the speaker model is wrong.
    """
    from e2etts_jax.data.prepare import speaker

    install = "pip install 'e2etts_jax[data]'"
    if importlib.util.find_spec("matplotlib") is None:  # found, not imported: only the end of the run needs it
        raise ImportError(f"summary.png needs matplotlib: {install}")
    if options.loudness is not None and importlib.util.find_spec("pyloudnorm") is None:
        raise ImportError(f"--loudness needs pyloudnorm: {install}, or --loudness=none")
    speaker.cached(options.speaker)


def options_from_flags(given: str) -> Options:
    """The `Options` that the flags say, for the source `given`.

    Raises:
      ValueError, FileNotFoundError: a flag is wrong, or there is no such source.
    """

    if given.startswith("tfds:") or LAYOUT.value == "tfds":
        source, layout = "tfds:" + given.removeprefix("tfds:"), "tfds"
    else:
        path, layout = layouts.locate(Path(os.path.abspath(Path(given).expanduser())), LAYOUT.value)
        source = str(path)
    try:
        low, high = map(float, RATES.value.split(","))
        loudness = None if LOUDNESS.value == "none" else float(LOUDNESS.value)
    except ValueError:
        raise ValueError(
            f"--chars_per_second={RATES.value} must be two numbers, --loudness={LOUDNESS.value} one or none"
        ) from None
    return Options(
        source=source,
        layout=layout,
        roots=tuple(os.path.abspath(Path(root).expanduser()) for root in ROOT.value),
        sample_rate=SAMPLE_RATE.value,
        loudness=loudness,
        speaker=str(Path(SPEAKER.value).absolute()) if SPEAKER.value.endswith(".onnx") else SPEAKER.value,
        min_seconds=MIN_SECONDS.value,
        max_seconds=MAX_SECONDS.value,
        min_rate=low,
        max_rate=high,
        splits=parse_splits(SPLITS.value),
    )


def main(argv: Sequence[str]) -> int:
    def command() -> None:
        if not SOURCE.value or not cli.OUT.value:
            raise ValueError(
                "say what to prepare, and the folder to write: --source=my/metadata.jsonl --out=my/prepared"
            )
        options, part = options_from_flags(SOURCE.value), parse_part(PART.value)
        try:
            token_rate = fractions.Fraction(TOKENS.value)
        except (ValueError, ZeroDivisionError):
            token_rate = fractions.Fraction(0)
        if token_rate <= 0:
            raise ValueError(f"--tokens_per_second={TOKENS.value} must be a number or a fraction, as 22050/1024")
        require(options)
        workers = WORKERS.value if WORKERS.value > 0 else cores()
        print(prepare(options, Path(os.path.abspath(Path(cli.OUT.value).expanduser())), workers, part, token_rate))

    return cli.guarded(command, stopped="stopped; the same command continues")


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
