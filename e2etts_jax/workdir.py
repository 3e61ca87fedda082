"""The small files of a run's folder, on a disk or in a bucket: its config, its voice, what its metrics say."""

import io
import json
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from e2etts_jax.bucket import write
from e2etts_jax.data import sources
from e2etts_jax.infer import vocoder
from e2etts_jax.infer.run_config import ONE_VOICE
from e2etts_jax.infer.synthesizer import VOCODER, VOICE
from e2etts_jax.vocoding import VocoderSystem

# What may differ between two runs of one workdir: nothing here changes a bit of the result.
FREE = (
    "log_every",
    "checkpoint_every",
    "listen_every",
    "keep",
    "max_skipped",
    "infer",
    "data.workers",
    "data.prefetch",
)
VOICE_CLIPS = 100  # clips in which a speaker vector is looked for


def claim(workdir: str, config: ConfigDict) -> None:
    """Writes the resolved config into a workdir; refuses one in which another config has trained."""
    folder = epath.Path(workdir)
    path, metrics = folder / "config.json", folder / "metrics.jsonl"
    mine = json.loads(config.to_json())
    logged = metrics.exists() and metrics.stat().length > 0
    if path.exists() and (logged or any((folder / "checkpoints").glob("*/*"))):
        changed = [key for key in different(json.loads(path.read_text()), mine) if not key.startswith(FREE)]
        if changed:
            raise ValueError(
                f"workdir {workdir} belongs to another config (different: {', '.join(changed[:8])}): "
                "choose another --workdir, or the config it was made with"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"workdir {workdir} is a file: choose another --workdir") from None
    write(path, json.dumps(mine, indent=1, sort_keys=True).encode())


def different(a: Any, b: Any, prefix: str = "") -> list[str]:
    """Dotted names of the leaves in which two JSON trees differ; what one lacks and the other has off does not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [x for k in sorted({*a, *b}) for x in different(a.get(k), b.get(k), f"{prefix}{k}.")]
    return [] if a == b or (None in (a, b) and not a and not b) else [prefix.rstrip(".")]


def keep_voice(workdir: str, config: ConfigDict, source: sources.Source) -> np.ndarray | None:
    """The voice to speak with after training on many: that of the first clip which has one, kept in the workdir."""
    if config.data.dataset in ONE_VOICE:
        return None
    for i in range(min(len(source), VOICE_CLIPS)):
        vector = source.speaker(i)
        if vector is not None:
            file = io.BytesIO()
            np.save(file, vector)
            write(epath.Path(workdir) / VOICE, file.getvalue())
            return vector
    return None


def keep_vocoder(workdir: str, system: VocoderSystem, params: Any) -> None:
    """Writes the file that `infer.vocoder` may name, with these parameters of the vocoder."""
    vocoder.save(epath.Path(workdir) / VOCODER, system.vocoder.config, system.mel, params)
