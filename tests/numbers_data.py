"""A `numbers` of two dozen short clips, for runs that take seconds."""

from pathlib import Path
from typing import Any

import pytest

from e2etts_jax.data.datasets.numbers import compose, grammar
from e2etts_jax.data.datasets.numbers.builder import Numbers


def make_numbers(root: Path) -> Path:
    """Builds it where programs find it without being told; `root` is their `data.data_dir`."""

    def short(rng: Any) -> compose.Utterance:
        return compose.Utterance("amount", (grammar.cardinal(int(rng.integers(100))),))

    with pytest.MonkeyPatch.context() as patch:
        for split, clips in (("train", 24), ("validation", 5), ("test", 2)):
            patch.setattr(Numbers.BUILDER_CONFIGS[0], split, clips)
        patch.setattr(grammar, "utterance", short)
        Numbers(data_dir=root, file_format="array_record").download_and_prepare()
    return root
