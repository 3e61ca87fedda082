"""TFDS builder `asterisk_en`: the embedded prompts as they were recorded."""

import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from e2etts_jax.data.datasets.asterisk_en import prompts


def split_of(key: str) -> str:
    """The split of a prompt: by a stable hash of its key, 90 / 5 / 5 per cent."""
    bucket = zlib.crc32(key.encode()) % 100
    return "test" if bucket < 5 else "validation" if bucket < 10 else "train"


class AsteriskEn(tfds.core.GeneratorBasedBuilder):
    """The English Asterisk core sounds, one professional voice."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="551 telephone prompts, read by Allison Smith.",
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
                    "text": tfds.features.Text(),
                    "key": tfds.features.Text(),
                    "speaker": tfds.features.Text(),
                }
            ),
            license="CC-BY-SA-3.0",
            homepage="http://downloads.asterisk.org/pub/telephony/asterisk/",
            metadata=tfds.core.MetadataDict({"sample_rate": prompts.SAMPLE_RATE}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        keys = [key for key in sorted(prompts.metadata()) if split_of(key) == split]
        for i, key in enumerate(keys):
            wav = np.round(np.clip(prompts.read(key), -1, 1) * 32767).astype(np.int16)
            yield i, {"audio": wav, "text": prompts.metadata()[key]["text"], "key": key, "speaker": prompts.SPEAKER}
