"""Recognisers that a user brings: models in folders, and any command that reads recordings and writes text.

And Whisper base, whose folder comes with packages.
"""

import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from e2etts_jax.evaluate.asr import RATE, Recognizer, as_heard, pieces
from e2etts_jax.evaluate.protocol import simplified
from e2etts_jax.evaluate.whisper_base import folder as whisper_base_folder

USAGE = "whisper-base, whisper:FOLDER, faster-whisper:FOLDER, paraformer:FOLDER or command:'COMMAND'"
NAMED = {"en": "english", "zh": "chinese"}  # languages, as Whisper calls them
COMMAND_BATCH = 32  # recordings that a command gets at once
BLOCKS, BLOCK = 64, 1 << 16  # of a model's file, and their bytes, that tell it from another


def make(name: str, language: str) -> Recognizer:
    """`whisper-base` or the recogniser `KIND:PATH` of `KINDS`; its transcripts of Chinese are simplified.

    Raises:
      ImportError: its library is not installed.
      FileNotFoundError, ValueError: no such folder or kind, or a folder that is no model of that kind.
    """
    if name == WhisperBase.kind:
        return WhisperBase(language)
    kind, found, path = name.partition(":")
    if not found or kind not in KINDS or not path:
        raise ValueError(f"no recogniser {name!r}: give whisper, moonshine, {USAGE}")
    if kind != "command" and not Path(path).expanduser().is_dir():
        raise FileNotFoundError(f"recogniser {name}: no folder {path} with its model")
    return KINDS[kind](str(Path(path).expanduser()) if kind != "command" else path, language)


def fingerprint(folder: str) -> str:
    """Of a model's files: names, sizes, and blocks from their beginnings to their ends (all of a small one)."""
    digest = hashlib.sha256()
    for file in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(folder)).encode())
        _add(digest, file)
    return digest.hexdigest()[:12]


def _add(digest: Any, file: Path) -> None:
    """A file's size and blocks of it, up to its end; all of a small one."""
    size = file.stat().st_size
    digest.update(f" {size} ".encode())
    with file.open("rb") as opened:
        for place in range(0, size, max(BLOCK, size // BLOCKS)):
            opened.seek(place)
            digest.update(opened.read(BLOCK))


def unusable(what: str, error: Exception) -> ValueError:
    """What a library said of a folder, in one line."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ValueError(f"{what}: no model that can be loaded ({said})")


class _Model:
    """What the three kinds of models share; `_hear` gets a piece of mono f32[W] at 16 kHz."""

    kind = ""

    def __init__(self, folder: str, language: str) -> None:
        self.name = f"{self.kind}:{Path(folder).name}"
        self.version = f"{self.kind}-{Path(folder).name}-{fingerprint(folder)}-{language}"
        self._chinese = language == "zh"
        try:
            self._load(folder, language)
        except ImportError:
            raise
        except Exception as error:
            raise unusable(f"recogniser {self.kind}:{folder}", error) from error

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        joint = "" if self._chinese else " "
        texts = [joint.join(self._hear(piece).strip() for piece in pieces(wav, rate)) for wav in wavs]
        return [simplified(text) for text in texts] if self._chinese else texts

    def _load(self, folder: str, language: str) -> None:
        raise NotImplementedError

    def _hear(self, wav: np.ndarray) -> str:
        raise NotImplementedError


class TransformersWhisper(_Model):
    """Whisper of any size in transformers' format, greedy in fp32, as seed-tts-eval runs it."""

    kind = "whisper"

    def _load(self, folder: str, language: str) -> None:
        try:
            import torch
            from transformers import WhisperForConditionalGeneration, WhisperProcessor
        except ImportError as error:
            raise ImportError(f"recogniser whisper:{folder} needs torch and transformers: {error}") from error
        self._torch, device = torch, "cuda" if torch.cuda.is_available() else "cpu"
        self._processor = WhisperProcessor.from_pretrained(folder)
        model = WhisperForConditionalGeneration.from_pretrained(folder)  # in the file's precision from version 5 on
        self._model = model.to(device, torch.float32).eval()
        multilingual = getattr(self._model.generation_config, "is_multilingual", True)
        self._task = {"language": NAMED.get(language, language), "task": "transcribe"} if multilingual else {}
        known = getattr(self._model.generation_config, "lang_to_id", None)
        if known and f"<|{language}|>" not in known:
            raise ValueError(f"the model does not know the language {language!r}")

    def _hear(self, wav: np.ndarray) -> str:
        given = self._processor(wav, sampling_rate=RATE, return_tensors="pt").input_features.to(self._model.device)
        with self._torch.inference_mode():
            ids = self._model.generate(given, num_beams=1, do_sample=False, **self._task)
        return self._processor.batch_decode(ids, skip_special_tokens=True)[0]


class FasterWhisper(_Model):
    """Whisper of any size in CTranslate2's format: beam 5, no sampling, no memory of earlier pieces."""

    kind = "faster-whisper"

    def _load(self, folder: str, language: str) -> None:
        try:
            import ctranslate2
            import faster_whisper
        except ImportError as error:
            raise ImportError("recogniser faster-whisper: pip install 'e2etts_jax[eval]'") from error
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # which tells of every clip
        ctranslate2.set_log_level(logging.ERROR)  # which tells that a CPU computes half-precision weights in fp32
        self._language = language
        self._model = faster_whisper.WhisperModel(folder, local_files_only=True)
        if language not in self._model.supported_languages:
            raise ValueError(f"the model does not know the language {language!r}")

    def _hear(self, wav: np.ndarray) -> str:
        options: dict[str, Any] = {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False}
        segments, _ = self._model.transcribe(wav, language=self._language, **options)
        return "".join(segment.text for segment in segments)


class WhisperBase(FasterWhisper):
    """Whisper base of the `multilingual` extra."""

    kind = "whisper-base"

    def __init__(self, language: str) -> None:
        super().__init__(str(whisper_base_folder()), language)
        self.name = self.kind


class Paraformer(_Model):
    """Paraformer of FunASR, as seed-tts-eval runs it for Chinese."""

    kind = "paraformer"

    def _load(self, folder: str, language: str) -> None:
        try:
            from funasr import AutoModel
        except ImportError as error:
            raise ImportError(f"recogniser paraformer:{folder} needs funasr: {error}") from error
        self._model = AutoModel(model=folder, disable_update=True, disable_pbar=True, disable_log=True)

    def _hear(self, wav: np.ndarray) -> str:
        return self._model.generate(input=wav, batch_size_s=300)[0]["text"]


class Command:
    """A command that is given the paths of some recordings (16 kHz WAV) and prints a line of text for each.

    What it said is remembered until the command or a file that it names, such as a script, changes.
    """

    def __init__(self, command: str, language: str) -> None:
        try:
            self._command, self._chinese = shlex.split(command), language == "zh"
        except ValueError as error:
            raise ValueError(f"recogniser command:{command}: {error}") from None
        if not self._command:
            raise ValueError("recogniser command: says nothing to run")
        self.name = f"command:{Path(self._command[0]).name}"
        digest = hashlib.sha256(f"{language} {command}".encode())
        for word in (shutil.which(self._command[0]) or "", *self._command):
            if os.path.isfile(word):
                _add(digest, Path(word))
        self.version = f"command-{digest.hexdigest()[:12]}"

    def transcribe(self, wavs: Sequence[np.ndarray], rate: int) -> list[str]:
        heard = [as_heard(wav, rate) for wav in wavs]
        texts, asked = [""] * len(wavs), [i for i, wav in enumerate(heard) if wav.any()]  # not of digital silence
        for at in range(0, len(asked), COMMAND_BATCH):
            some = asked[at : at + COMMAND_BATCH]
            for i, text in zip(some, self._hear([heard[i] for i in some]), strict=True):
                texts[i] = text
        return [simplified(text) for text in texts] if self._chinese else texts

    def _hear(self, wavs: Sequence[np.ndarray]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder) / f"{i:04}.wav") for i in range(len(wavs))]
            for file, wav in zip(files, wavs, strict=True):
                soundfile.write(file, wav, RATE)
            try:
                done = subprocess.run([*self._command, *files], capture_output=True, text=True)
            except OSError as error:
                raise ValueError(f"{self.name} can't be started: {error}") from None
        lines = done.stdout.splitlines()
        if done.returncode or len(lines) != len(wavs):
            last = (done.stderr.strip().splitlines() or ["(nothing on stderr)"])[-1]
            raise ValueError(
                f"{self.name} printed {len(lines)} lines for {len(wavs)} recordings, exit {done.returncode}: {last}"
            )
        return [line.strip() for line in lines]


KINDS: dict[str, Callable[[str, str], Recognizer]] = {
    "whisper": TransformersWhisper,
    "faster-whisper": FasterWhisper,
    "paraformer": Paraformer,
    "command": Command,
}
