"""TFDS builder `numbers`. See docs/data.md."""

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.data.datasets.numbers import compose, grammar

SEED = 20_26
MAX_SECONDS = 3.7  # 80 speech tokens of 1024 samples at 22.05 kHz
MIN_SECONDS = 1.0


@dataclasses.dataclass(kw_only=True)
class NumbersConfig(tfds.core.BuilderConfig):
    """Clips per split; their strings are disjoint."""

    train: int = 6000
    validation: int = 200
    test: int = 200


def render(utterance: compose.Utterance) -> np.ndarray:
    """int16[W] at 16 kHz; a function of the utterance alone."""
    wav = compose.compose(utterance, np.random.default_rng([SEED, zlib.crc32(utterance.text.encode())]))
    return np.round(wav * 32767).astype(np.int16)


def draw(count: int) -> list[tuple[compose.Utterance, np.ndarray]]:
    """`count` utterances of different texts with their audio, in random order; too long and too short ones left out."""
    rng = np.random.default_rng([SEED, count])
    found: dict[str, tuple[compose.Utterance, np.ndarray]] = {}
    refused: set[str] = set()
    progress = tqdm.tqdm(total=count, desc="composing numbers", unit="clip", leave=False, disable=None)
    while len(found) < count:
        utterance = grammar.utterance(rng)
        text = utterance.text
        if text in found or text in refused:
            continue
        wav = render(utterance)
        if MIN_SECONDS <= len(wav) / prompts.SAMPLE_RATE <= MAX_SECONDS:
            found[text] = (utterance, wav)
            progress.update()
        else:
            refused.add(text)
    progress.close()
    clips = list(found.values())
    # Common strings are drawn early: shuffled, every split has the same mixture.
    return [clips[i] for i in rng.permutation(count)]


class Numbers(tfds.core.GeneratorBasedBuilder):
    """Composed recordings of what people read out."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [NumbersConfig(name="default", description="6000 clips to train on.")]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Amounts, prices, telephone numbers, times, dates, spelled names: composed recordings.",
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
                    "text": tfds.features.Text(),
                    "key": tfds.features.Text(),
                    "speaker": tfds.features.Text(),
                    "kind": tfds.features.ClassLabel(names=list(grammar.KINDS)),
                }
            ),
            license="CC-BY-SA-3.0",
            homepage="http://downloads.asterisk.org/pub/telephony/asterisk/",
            metadata=tfds.core.MetadataDict({"sample_rate": prompts.SAMPLE_RATE}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        sizes = {
            "test": self.builder_config.test,
            "validation": self.builder_config.validation,
            "train": self.builder_config.train,
        }
        clips = iter(draw(sum(sizes.values())))
        taken = {split: [next(clips) for _ in range(size)] for split, size in sizes.items()}
        return {split: self._generate_examples(split, taken[split]) for split in ("train", "validation", "test")}

    def _generate_examples(
        self, split: str, clips: list[tuple[compose.Utterance, np.ndarray]]
    ) -> Iterator[tuple[int, dict]]:
        for i, (utterance, wav) in enumerate(clips):
            yield (
                i,
                {
                    "audio": wav,
                    "text": utterance.text,
                    "key": f"{split}-{i:05d}",
                    "speaker": prompts.SPEAKER,
                    "kind": utterance.kind,
                },
            )
