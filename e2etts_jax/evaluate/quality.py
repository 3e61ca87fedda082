"""How good does it sound? Models that guess what listeners would say, from 1 (bad) to 5 (excellent)."""

import contextlib
import importlib.metadata
import io
import sys
import types
from collections.abc import Callable, Sequence

import numpy as np

from e2etts_jax.evaluate.asr import RATE
from e2etts_jax.evaluate.remembered import Remembered

WORST = 1.0  # said of a clip in which there is nothing
SHORTEST = 0.1  # seconds
LOUDEST = 1.0


class Listener:
    """One model, remembered."""

    def __init__(self, name: str, package: str, score: Callable[[np.ndarray], float]) -> None:
        self.name, self._score = name, score
        self._known = Remembered(f"mos-{name}-{importlib.metadata.version(package)}")

    def __call__(self, wavs: Sequence[np.ndarray]) -> np.ndarray:
        """f64[N], of clips f32[W] at 16 kHz."""
        return np.array(self._known(wavs, RATE, lambda some: [self._one(wav) for wav in some]))

    def _one(self, wav: np.ndarray) -> float:
        if len(wav) < SHORTEST * RATE or not np.any(wav):
            return WORST
        return round(float(self._score(np.clip(wav, -LOUDEST, LOUDEST).astype(np.float32))), 5)


def _distillmos() -> Listener:
    """DistillMOS: tells voices and synthesizers apart as listeners do."""
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # only its command line reads files with it
    import distillmos
    import torch

    with contextlib.redirect_stdout(io.StringIO()):  # where it says which weights it loads
        model = distillmos.ConvTransformerSQAModel().eval()

    def score(wav: np.ndarray) -> float:
        with torch.inference_mode():
            return float(model(torch.from_numpy(wav)[None]).squeeze())

    return Listener("distillmos", "distillmos", score)


def _dnsmos() -> Listener:
    """DNSMOS P.835, overall: hears noise and little else."""
    from speechmos import dnsmos

    return Listener("dnsmos", "speechmos", lambda wav: dnsmos.run(wav, RATE, return_df=False)["ovrl_mos"])


LISTENERS: dict[str, Callable[[], Listener]] = {"distillmos": _distillmos, "dnsmos": _dnsmos}


def make(name: str) -> Listener:
    """The model `distillmos` or `dnsmos`.

    Raises:
      ImportError: it is not installed; says how to get it.
      ValueError: no such model.
    """
    if name not in LISTENERS:
        raise ValueError(f"no model of quality {name!r}: give {' or '.join(LISTENERS)}")
    try:
        return LISTENERS[name]()
    except ImportError as error:
        raise ImportError(f"{name}: pip install 'e2etts_jax[judges]' ({error})") from error


def installed(log: Callable[[str], None]) -> list[Listener]:
    """All models whose libraries are there."""
    found = []
    for name in LISTENERS:
        try:
            found.append(make(name))
        except ImportError as error:
            log(f"without {error}")
    return found
