"""Lets TFDS open corpora with `tfds.features.Audio` (LJSpeech, LibriTTS, VCTK, ...) without TensorFlow."""

import functools
from typing import Any

import numpy as np


@functools.cache
def allow_audio_without_tensorflow() -> None:
    """Patches the one line of TFDS that asks TensorFlow for a dtype; calling it again does nothing.

    Reading stored samples and `tfds.testing.mock_data` then work. Encoding audio files and `lazy_decode` still need
    TensorFlow.
    """
    from tensorflow_datasets.core.features import audio_feature

    def init(self: Any, file_format: str | None, np_dtype: Any, shape: tuple) -> None:
        self._file_format = file_format
        self._np_dtype = np_dtype
        self._dtype = np.dtype(np_dtype)  # TFDS: tf.dtypes.as_dtype(np_dtype)
        self._shape = shape
        self._channels = shape[1] if len(shape) > 1 else 1

    audio_feature._AudioDecoder.__init__ = init
