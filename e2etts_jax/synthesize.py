"""Speaks text with a trained run, or with the voice that comes along:

python -m e2etts_jax.synthesize --text="five two three" --out=x.wav
python -m e2etts_jax.synthesize --workdir=runs/joint --text="five two three" --out=x.wav
python -m e2etts_jax.synthesize --workdir=runs/joint --text_file=sentences.txt --out=x.wav   # x_000.wav, x_001.wav, ...
python -m e2etts_jax.synthesize --workdir=runs/voices --text="..." --prompt_audio=her.wav --prompt_text="what she says"
python -m e2etts_jax.synthesize --workdir=runs/joint --text="..." --stream --infer=vocoder=universal   # as it is made
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
from absl import app, flags

from e2etts_jax import cli, run_flags, trained_flags

TEXT = flags.DEFINE_string("text", None, "what to say")
TEXT_FILE = flags.DEFINE_string(
    "text_file", None, "file with one sentence a line, blank ones skipped; --out=x.wav becomes x_000.wav, x_001.wav ..."
)
LANGUAGE = flags.DEFINE_string("language", "", "of the text, such as en or zh; by default the run's data.language")
PROMPT_AUDIO = flags.DEFINE_string("prompt_audio", None, "recording to go on from, in its voice: a second or more")
PROMPT_TEXT = flags.DEFINE_string("prompt_text", None, "what is said in it")
STREAM = flags.DEFINE_bool("stream", False, "write the sound as it is made, and say when the first came")


def sentences(text: str | None, text_file: str | None, out: Path) -> list[tuple[Path, str]]:
    """What to say, with the file to write it to.

    Raises:
      ValueError: not exactly one of the two, no sentence in the file, or an output that is no WAV file.
      FileNotFoundError: no such file, or no folder to write to.
    """
    if (text is None) == (text_file is None):
        raise ValueError("give one of --text and --text_file")
    if out.suffix.lower() != ".wav":
        raise ValueError(f"--out={out} must end in .wav")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent} to write {out.name} to")
    if text_file is None:
        return [(out, text or "")]
    if not Path(text_file).is_file():
        raise FileNotFoundError(f"no text file {text_file}")
    lines = [line for line in Path(text_file).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{text_file} has no sentence")
    return [(out.with_stem(f"{out.stem}_{i:03}"), line) for i, line in enumerate(lines)]


def speak(workdir: str | None, stage: str | None, seed: int, wanted: list[tuple[Path, str]]) -> None:
    """Writes every sentence to its file and says how long it took."""
    from e2etts_jax.infer import voice
    from e2etts_jax.infer.prompt import Prompt
    from e2etts_jax.infer.synthesizer import Synthesizer

    heard, words = PROMPT_AUDIO.value, PROMPT_TEXT.value
    if (heard is None) != (words is None):
        raise ValueError("a prompt is a recording and its words: give both --prompt_audio and --prompt_text")
    prompt = Prompt.read(heard, words or "") if heard is not None else None
    synthesizer = Synthesizer.load(workdir or voice.packaged(), stage, infer=trained_flags.INFER.value)
    synthesizer.progress = len(wanted) > 1
    synthesizer.language = LANGUAGE.value or synthesizer.language
    if STREAM.value:
        streams = synthesizer.stream([text for _, text in wanted], seed, prompt=prompt)
        for (path, text), parts in zip(wanted, streams, strict=True):
            write_as_it_comes(path, parts, synthesizer.sample_rate, text)
        return
    start, rate = time.perf_counter(), synthesizer.sample_rate
    wavs = synthesizer.say([text for _, text in wanted], seed, prompt=prompt)
    took, spoken = time.perf_counter() - start, sum(map(len, wavs)) / rate
    for (path, text), wav in zip(wanted, wavs, strict=True):
        sf.write(path, wav, rate)
        print(f"{path}  {len(wav) / rate:.2f} s  {text}")
    print(f"{spoken:.2f} s of speech in {took:.2f} s, compilation included: real-time factor {took / spoken:.2f}")


def write_as_it_comes(path: Path, parts: Iterator[np.ndarray], rate: int, text: str) -> None:
    """Writes a stream, and says after how long there was something to hear, compilation included."""
    start, first, size = time.perf_counter(), 0.0, 0
    with sf.SoundFile(path, "w", rate, 1) as out:
        for part in parts:
            first = first or time.perf_counter() - start
            out.write(part)
            out.flush()
            size += len(part)
    took, spoken = time.perf_counter() - start, size / rate
    print(f"{path}  {spoken:.2f} s  {text}")
    print(f"first sound after {first:.2f} s, all after {took:.2f} s: real-time factor {took / spoken:.2f}")


def main(argv: Sequence[str]) -> int:
    cli.prepare()

    def command() -> None:
        wanted = sentences(TEXT.value, TEXT_FILE.value, Path(cli.OUT.value or "out.wav").expanduser())
        speak(run_flags.WORKDIR.value, trained_flags.STAGE.value, trained_flags.SEED.value, wanted)

    return cli.guarded(command)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
