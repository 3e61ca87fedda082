"""Trained models as one object: text, waveforms or token ids in; waveforms, ids or text out.

Everything runs in a few compiled shapes (`batching`). A row is seeded by its index in the call and padded by its own
length, so its neighbours change nothing but the last digit of its samples.
"""

import dataclasses
import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
from etils import epath
from flax import linen as nn
from jaxtyping import Array, Float, Int

from e2etts_jax import checkpoint
from e2etts_jax.data.text import Tokenizer, joined, make_both, read, rm_limit
from e2etts_jax.infer import long_text, probe, programs, run_config, streaming, vocoder, voice
from e2etts_jax.infer.batching import collapse, in_batches, padded, row_streams, stack
from e2etts_jax.infer.prompt import Lead, Prompt
from e2etts_jax.models import generate
from e2etts_jax.models.generate import Sampling
from e2etts_jax.system import System
from e2etts_jax.types import GROUPS, Batch, Params

PROMPT_SHARE = 0.6  # of the longest clip in training that a prompt may take: the rest is for what follows
MISHEARD = 0.5  # character error rate above which a prompt's words are not what is heard
SILENCE = 0.2  # seconds returned where the model says nothing
CUT = "%d of %d texts reached their limit of tokens and may be cut: %r ..."
VOCODER = "vocoder.safetensors"  # in the workdir of a vocoder: its last parameters, a file for `infer.vocoder`
VOICE = "voice.npy"  # in a workdir: the speaker vector of a training clip, where the data has many voices

Wavs = list[Float[np.ndarray, " W"]]
Ids = list[Int[np.ndarray, " T"]]
GivenWavs = Sequence[Float[np.ndarray, " W"]]
GivenIds = Sequence[Sequence[int] | Int[np.ndarray, " T"]]

logger = logging.getLogger(__name__)


class TooLong(ValueError):
    """A text of more ids than the models take."""


class Synthesizer:
    """The four models of a configuration with their parameters.

    Attributes:
      config: the run's configuration.
      params: the four groups.
      stage: name of the stage that the parameters come from ('' if they were given).
      sample_rate: Hz of every waveform, given and returned (f32[W] in [-1, 1]).
      language: of the texts to say, for their reading and their tag; at first the run's `data.language`.
      progress: show bars while many sentences are made.
    """

    def __init__(
        self,
        config: Any,
        params: Params,
        *,
        stage: str = "",
        speaker: Float[np.ndarray, " E"] | None = None,
        chosen: vocoder.Chosen | None = None,
        words: frozenset[str] = frozenset(),
    ) -> None:
        """Args:
          config: ConfigDict or nested mapping, as configs/ make it or config.json holds it.
          params: parameters of the four groups, not boxed.
          speaker: x-vector of the voice; by default the data set's own, zeros if it has more than one.
          chosen: the vocoder; by default that of `config.infer.vocoder`.
          words: all that the models have learnt to say, so that others are warned of; empty = any.

        Raises:
          ValueError: a speaker vector of another size than the FM's, or models that need more than tokens.
        """
        self.config = run_config.as_config(config)
        self._texts = make_both(self.config.text)
        self._system = System.from_config(self.config, *self._texts.sizes)
        self.params, self.stage, self.sample_rate = params, stage, int(self.config.audio.sample_rate)
        self.language, self.progress = self.config.data.get("language", "en"), False
        if stage in self.config.stages and self.config.stages[stage].plan.tokens_to_fm == "llm_hidden":
            raise ValueError(f"stage {stage!r} trained its FM on llm_hidden; only an FM that reads tokens can be used")
        self.speaker = np.asarray(run_config.own_voice(self.config) if speaker is None else speaker, np.float32)
        wanted = (self._system.fm.config.speaker,)
        self._vocoder = chosen or vocoder.choose(self.config.infer.vocoder, self._system.mel)
        self._words = words
        if self.speaker.shape != wanted:
            raise ValueError(f"the speaker vector has shape {self.speaker.shape}, model.fm.speaker wants {wanted}")

    @classmethod
    def load(
        cls,
        workdir: str | Path,
        stage: str | None = None,
        speaker: Float[np.ndarray, " E"] | None = None,
        infer: Sequence[str] = (),
    ) -> "Synthesizer":
        """Reads the newest good checkpoint of a run, or a voice in a file.

        Args:
          workdir: of `e2etts_jax.main`, or a file of `e2etts_jax.export_voice`.
          stage: by default the last stage of `config.run` that has a usable checkpoint.
          speaker: see the constructor; by default the voice that the training kept in the workdir, if it did.
          infer: `key=value` for `config.infer`, in place of what the run was configured with.

        Raises:
          FileNotFoundError: no such workdir, or no usable checkpoint in it.
          ValueError: no such stage, `infer` key or value, or a checkpoint of other models than config.json describes.
        """
        folder = epath.Path(workdir).expanduser()
        if folder.suffix == ".zip":
            return cls._of_file(folder, stage, speaker, infer)
        if not (folder / "config.json").is_file():
            missing = "config.json in workdir" if folder.is_dir() else "workdir"
            raise FileNotFoundError(f"no {missing} {folder}: give the --workdir of a training run")
        config = run_config.read(folder / "config.json")
        if "vocoder" in config.model:
            raise ValueError(
                f"{folder} trained a vocoder and speaks no text: speak with --infer=vocoder={folder / VOCODER}"
            )
        run_config.set_decoding(config.infer, infer)
        system = System.from_config(config, *make_both(config.text).sizes)
        if speaker is None and (folder / VOICE).is_file():
            speaker = np.load(io.BytesIO((folder / VOICE).read_bytes()))
        name, params = checkpoint.load_last(folder, config.run, GROUPS, nn.unbox(system.abstract()), stage)
        return cls(config, params, stage=name, speaker=speaker)

    @classmethod
    def _of_file(
        cls, path: Any, stage: str | None, speaker: Float[np.ndarray, " E"] | None, infer: Sequence[str]
    ) -> "Synthesizer":
        held = voice.load(path)
        if stage not in (None, held.stage):
            raise ValueError(f"{path} holds stage {held.stage!r} alone, not {stage!r}")
        config, chosen = run_config.completed(run_config.as_config(held.config), path), None
        run_config.set_decoding(config.infer, infer)
        system = System.from_config(config, *make_both(config.text).sizes)
        shapes = nn.unbox(system.abstract())
        if jax.tree.map(np.shape, held.params) != jax.tree.map(np.shape, shapes):
            raise ValueError(f"{path} holds other models than its config describes")
        if config.infer.vocoder == voice.INCLUDED:
            shape, _, generator = held.vocoder
            chosen = vocoder.generator(voice.INCLUDED, shape, system.mel, generator)
        speaker = held.speaker if speaker is None else speaker
        params = jax.device_put(held.params)
        return cls(config, params, stage=held.stage, speaker=speaker, chosen=chosen, words=held.words)

    # --- whole ways --------------------------------------------------------------------------------------------------

    def synthesize(
        self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = (), prompt: Prompt | None = None
    ) -> Wavs:
        """Speaks each text. A text for which the model makes no token becomes a short silence, with a warning.

        Args:
          languages: of each text, '' = `self.language`; empty = that for all.
          prompt: a recording to go on from, in its voice.

        Raises:
          ValueError: a text that is empty, too long, or has characters outside the alphabet; a prompt of no use.
        """
        lead = self.lead(prompt) if prompt else None
        return self.decode_tokens(self.generate_tokens(texts, seed, languages, lead), seed, lead)

    def say(
        self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = (), prompt: Prompt | None = None
    ) -> Wavs:
        """As `synthesize`, for texts of any length: what is too long is cut at sentence ends and joined with pauses."""
        lead, spoken, cut = self._cut(texts, languages, prompt)
        flat = [(piece, language) for parts, language in zip(cut, spoken, strict=True) for piece, _ in parts]
        ids = self.generate_tokens([piece for piece, _ in flat], seed, [language for _, language in flat], lead)
        made = iter(self.decode_tokens(ids, seed, lead))
        return [
            long_text.join([next(made) for _ in parts], [pause for _, pause in parts], self.sample_rate)
            for parts in cut
        ]

    def stream(
        self, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = (), prompt: Prompt | None = None
    ) -> list[Iterator[Float[np.ndarray, " W"]]]:
        """Speaks texts of any length, each in parts that can be heard as they come: `infer.chunk` tokens each.

        The tokens are those of `say`. With several `infer.candidates` a sentence's tokens are all drawn before its
        first sound; a vocoder that must hear the whole mel (Griffin-Lim) gives a sentence at once.

        Raises:
          ValueError: as `synthesize`, before anything is said.
        """
        if not any(self.config.infer.chunk in s.plan.get("fm_chunks", ()) for s in self.config.stages.values()):
            logger.warning(
                "this run has not learnt chunks of %d tokens (plan.fm_chunks): it may sound worse than offline",
                self.config.infer.chunk,
            )
        lead, spoken, cut = self._cut(texts, languages, prompt)
        for pieces, language in zip(cut, spoken, strict=True):
            for piece, _ in pieces:
                self._encode(piece, language, prompt.text if prompt else "")

        def parts(pieces: list[tuple[str, float]], language: str, first: int) -> Iterator[Float[np.ndarray, " W"]]:
            for row, (piece, pause) in enumerate(pieces, first):
                yield from self._stream_piece(piece, seed, row, language, lead)
                if pause:
                    yield np.zeros(int(pause * self.sample_rate), np.float32)

        first = [sum(map(len, cut[:i])) for i in range(len(cut))]  # rows of `say` before those of the text
        return list(map(parts, cut, spoken, first))

    def reconstruct(self, wavs: GivenWavs, seed: int = 0) -> Wavs:
        """What the tokens of each recording sound like, as long as the recording."""
        decoded = self.decode_tokens(self.tokenize(wavs), seed)
        return [out[: len(wav)] for out, wav in zip(decoded, wavs, strict=True)]

    def copy_synthesis(self, wavs: GivenWavs) -> Wavs:
        """Each recording through its own mel and the vocoder: the best that any model can sound with it."""

        def run(rows: list[int], size: int, length: int) -> Wavs:
            wav, wav_len = self._pad(wavs, rows, size, length)
            return self._vocode(programs.mel(self._system, wav, wav_len)[: len(rows)])

        made = in_batches(self._token_lens(wavs), run)
        return [out[: len(wav)] for out, wav in zip(made, wavs, strict=True)]

    def recognize(self, wavs: GivenWavs) -> list[str]:
        """What the reward model hears in the recordings' tokens."""
        return self.recognize_tokens(self.tokenize(wavs))

    def probe(self, wavs: GivenWavs, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> probe.Probe:
        """What the models make of recordings whose words are known; errors as in `tokenize` and `synthesize`."""
        spoken = self._languages(texts, languages)
        ids = [self._encode(text, language).ids for text, language in zip(texts, spoken, strict=True)]
        lengths = self._token_lens(wavs)

        def run(rows: list[int], size: int, length: int) -> list[tuple]:
            wav, wav_len = self._pad(wavs, rows, size, length)
            text, text_len = stack([ids[row] for row in rows], size, self.config.data.max_text)
            batch = Batch(
                wav=jnp.asarray(wav),
                wav_len=jnp.asarray(wav_len),
                prompt_len=jnp.zeros(size, jnp.int32),
                text=jnp.asarray(text),
                text_len=jnp.asarray(text_len),
                speaker=jnp.tile(self.speaker, (size, 1)),
                speaker_mask=jnp.ones(size, bool),
                labels={},
                row=jnp.arange(size),
            )
            nats, tokens, flow, heard = jax.device_get(
                probe.program(self._system, self.params, batch, row_streams(seed, rows, size))
            )
            read = [[self._read(best[i], lengths[row]) for best in heard] for i, row in enumerate(rows)]
            return [(nats[i], tokens[i], flow[i], *read[i]) for i in range(len(rows))]

        nats, tokens, flow, read, drawn = zip(*in_batches(lengths, run), strict=True)
        return probe.Probe(np.array(nats), np.array(tokens), np.stack(flow), list(read), list(drawn))

    # --- single steps ------------------------------------------------------------------------------------------------

    def tokenize(self, wavs: GivenWavs) -> Ids:
        """Token ids of each recording, ceil(W / samples_per_token) of them.

        Raises:
          ValueError: a recording that is not mono, empty, or not finite.
        """
        lengths = self._token_lens(wavs)

        def run(rows: list[int], size: int, length: int) -> Ids:
            ids = programs.tokenize(self._system, self.params, *self._pad(wavs, rows, size, length))
            return [np.asarray(ids)[i, : lengths[row]] for i, row in enumerate(rows)]

        return in_batches(lengths, run)

    def generate_tokens(
        self,
        texts: Sequence[str],
        seed: int = 0,
        languages: Sequence[str] = (),
        lead: Lead | None = None,
        first_row: int = 0,
    ) -> Ids:
        """Token ids that the language model draws for each text: of `infer.candidates` draws the one that the reward
        model reads best. They follow those of `lead`. Errors as in `synthesize`.

        Args:
          first_row: seeds the first text, as if so many others were before it.
        """
        spoken, data, infer = self._languages(texts, languages), self.config.data, self.config.infer
        before = lead.text if lead else ""
        encoded = [self._encode(text, language, before) for text, language in zip(texts, spoken, strict=True)]
        self._warn_of_words(texts, spoken)
        sampling = self._sampling

        def run(rows: list[int], size: int, length: int) -> Ids:
            given = [encoded[row] for row in rows]
            text = stack([e.ids for e in given], size, length)
            written = stack([e.written for e in given], size, data[rm_limit(data)]) if given[0].written else None
            said = _said(lead, [len(e.ids) - e.to_say for e in given], size) if lead else None
            fixed = (self._system, sampling, infer.max_tokens, infer.candidates)
            streams = row_streams(seed, [first_row + row for row in rows], size)
            drawn = programs.speak(*fixed, self.params, *text, streams, written, said)
            ids, count = (np.asarray(a) for a in drawn)
            return [ids[i, : count[i]] for i in range(len(rows))]

        bar = "tokens" if self.progress else ""
        made = in_batches([len(e.ids) for e in encoded], run, pad=lambda _: data.max_text, bar=bar)
        cut = [text for text, ids, e in zip(texts, made, encoded, strict=True) if len(ids) >= self._most(e)]
        if cut:
            logger.warning(CUT, len(cut), len(made), cut[0])
        return made

    def decode_tokens(self, ids: GivenIds, seed: int = 0, lead: Lead | None = None) -> Wavs:
        """Speech of given token ids, samples_per_token samples each, as it goes on from `lead`.

        Raises:
          ValueError: an id outside the vocabulary.
        """
        self._check_ids(ids)
        infer, system = self.config.infer, self._system
        before = lead.ids if lead else np.zeros(0, np.int32)
        speaker = lead.speaker if lead else self.speaker
        whole = [np.concatenate([before, np.asarray(row, np.int32)]) for row in ids]

        def run(rows: list[int], size: int, length: int) -> Wavs:
            tokens, token_len = stack([whole[row] for row in rows], size, length)
            heard = None
            if lead:
                mel = np.zeros((size, length * system.frames_per_token, system.mel.n_mels), np.float32)
                mel[:, : len(lead.log_mel)] = lead.log_mel
                heard = mel, np.full(size, len(before), np.int32)
            guided = (infer.ode_steps, infer.guidance)
            made = programs.flow(
                system, *guided, self.params, tokens, token_len, speaker, row_streams(seed, rows, size), heard
            )
            reach, hop = self._vocoder.reach, system.mel.hop
            unheard = 0 if reach is None else max(0, len(before) * system.frames_per_token - reach)
            longest = max(1, *(len(whole[row]) for row in rows)) * system.frames_per_token
            wavs = self._vocode(made[: len(rows), unheard:longest])
            start, ends = len(before) * system.samples_per_token, [len(whole[row]) for row in rows]
            spans = [slice(start - unheard * hop, end * system.samples_per_token - unheard * hop) for end in ends]
            return [wav[span] for wav, span in zip(wavs, spans, strict=True)]

        wavs = in_batches([len(row) for row in whole], run, bar="sound" if self.progress else "")
        empty = sum(not len(wav) for wav in wavs)
        if empty:
            logger.warning("%d of %d sentences have no tokens and become silence", empty, len(wavs))
        silence = np.zeros(int(SILENCE * self.sample_rate), np.float32)
        return [wav if len(wav) else silence.copy() for wav in wavs]

    def _stream_piece(
        self, text: str, seed: int, row: int, language: str, lead: Lead | None
    ) -> Iterator[Float[np.ndarray, " W"]]:
        """Speech of a text that fits, part after part; `row` is its place among those that `say` would batch."""
        infer, system, per_token = self.config.infer, self._system, self._system.frames_per_token
        streams, before = row_streams(seed, [row], 1), len(lead.ids) if lead else 0
        room, so_far, most = padded(before + infer.max_tokens), 0, infer.max_tokens
        if infer.candidates > 1:
            (ids,) = self.generate_tokens([text], seed, [language], lead, first_row=row)
            tokens: streaming.Tokens = lambda _: (ids, True)  # noqa: E731
        else:
            e = self._encode(text, language, lead.text if lead else "")
            self._warn_of_words([text], [language])
            given, said = stack([e.ids], 1, self.config.data.max_text), None
            if lead:
                said = _said(lead, [len(e.ids) - e.to_say], 1)
            draw = streaming.drawn(system, self.params, self._sampling, infer.max_tokens, given, streams, said)

            def counted(count: int) -> tuple[Int[np.ndarray, " T"], bool]:
                nonlocal so_far
                ids, ended = draw(count)
                so_far = len(ids)
                return ids, ended

            tokens, most = counted, self._most(e)
        speaker = lead.speaker if lead else self.speaker
        chunks = streaming.mels(system, self.params, infer, tokens, room, streams, speaker, lead)
        size, hop, silent = infer.chunk * per_token, system.mel.hop, True
        for part in streaming.sound(self._vocoder, chunks, before * per_token, size, hop):
            silent = False
            yield part
        if so_far >= most:
            logger.warning(CUT, 1, 1, text)
        if silent:
            logger.warning("%r has no tokens and becomes silence", text)
            yield np.zeros(int(SILENCE * self.sample_rate), np.float32)

    def recognize_tokens(self, ids: GivenIds) -> list[str]:
        """What the reward model reads in token ids (greedy CTC)."""
        self._check_ids(ids)

        def run(rows: list[int], size: int, length: int) -> list[str]:
            tokens, token_len = stack([ids[row] for row in rows], size, length)
            best = np.asarray(programs.recognize(self._system, self.params, tokens, token_len))
            return [self._read(best[i], len(ids[row])) for i, row in enumerate(rows)]

        return in_batches([len(row) for row in ids], run)

    # --- shapes ------------------------------------------------------------------------------------------------------

    def can_say(self, text: str, language: str = "") -> bool:
        """Whether `synthesize` takes the text."""
        try:
            return bool(self._encode(text, language))
        except ValueError:
            return False

    @property
    def _sampling(self) -> Sampling:
        return Sampling(**{name: self.config.infer[name] for name in run_config.SAMPLING})

    def words_of(self, text: str, language: str) -> list[str]:
        """The words of a text as the models get them; none for `bpe`, which needs none to be written apart."""
        return [] if self.config.text.tokenizer == "bpe" else self._texts.llm.prepare(text, language).split()

    def _languages(self, texts: Sequence[str], languages: Sequence[str]) -> list[str]:
        """Of each text, where `languages` may be empty or name none."""
        return [language or self.language for language in languages or [""] * len(texts)]

    def _most(self, encoded: "_Encoded") -> int:
        """Tokens that a text may take."""
        return min(math.ceil(self.config.infer.max_ratio * encoded.to_say), self.config.infer.max_tokens)

    def _warn_of_words(self, texts: Sequence[str], languages: Sequence[str]) -> None:
        if not self._words:
            return
        found = (word for pair in zip(texts, languages, strict=True) for word in self.words_of(*pair))
        other = [word for word in found if word not in self._words]
        if other:
            logger.warning(
                "this voice knows %d words, such as %s, and can't say others as they are written: %s",
                len(self._words),
                ", ".join(sorted(self._words, key=len)[-3:]),
                ", ".join(dict.fromkeys(other)),
            )

    def _cut(
        self, texts: Sequence[str], languages: Sequence[str], prompt: Prompt | None
    ) -> tuple[Lead | None, list[str], list[list[tuple[str, float]]]]:
        """What texts of any length begin with: the prompt as the models have it, languages, and pieces of each text."""
        lead, spoken = self.lead(prompt) if prompt else None, self._languages(texts, languages)
        before = prompt.text if prompt else ""
        return (
            lead,
            spoken,
            [self._pieces(text, language, before) for text, language in zip(texts, spoken, strict=True)],
        )

    def _read(self, best: Int[np.ndarray, " N"], tokens: int) -> str:
        """What the RM writes of so many tokens, of the best character of each CTC frame."""
        return self._texts.rm.decode(collapse(best[: tokens * self._system.rm.config.ctc_upsample]))

    def _pieces(self, text: str, language: str, before: str) -> list[tuple[str, float]]:
        """The parts of a text that can be said at once, with the pauses behind them."""

        def has_words(piece: str) -> bool:
            return any(c.isalnum() for c in piece) and bool(self._texts.llm.prepare(piece, language))

        def fits(piece: str) -> bool:
            try:
                return not has_words(piece) or bool(self._encode(piece, language, before))
            except TooLong:
                return False

        if fits(text):
            return [(text, 0.0)]
        cfg_text = self.config.text
        if cfg_text.get("reading", True) and cfg_text.get("tokenizer", "characters") != "bpe":  # which reads as written
            # the full stop of an abbreviation is no end of a sentence
            text = "\n\n".join(read(paragraph, language) for paragraph in re.split(r"\n\s*\n", text))
        made = [(piece, pause) for piece, pause in long_text.pieces(text, fits) if has_words(piece)]
        return [*made[:-1], (made[-1][0], 0.0)]

    def _encode(self, text: str, language: str, before: str = "") -> "_Encoded":
        """Ids of a text behind the words of a prompt, and alone for the RM where those differ."""
        llm, rm = self._texts
        data, language = self.config.data, language or self.language
        alone = self._ids(text, language, llm, "max_text")
        ids = alone
        if before:
            ids = self._ids(text, language, llm, "max_text", before)
        written: list[int] = []
        if self.config.infer.candidates > 1 and (rm is not llm or before):
            written = self._ids(text, language, rm, "max_text" if rm is llm else rm_limit(data))
        return _Encoded(ids, len(alone), written)

    def _ids(self, text: str, language: str, tokenizer: Tokenizer, key: str, before: str = "") -> list[int]:
        words, limit = tokenizer.prepare(text, language), self.config.data[key]
        if not words:
            raise ValueError(f"the text {text!r} is empty; there is nothing to say")
        if before:
            ids = joined(tokenizer, tokenizer.prepare(before, language), words, language)
        else:
            ids = tokenizer.encode(words, language)
        if len(ids) > limit:
            of = ", the prompt's words among them, " if before else " "
            raise TooLong(f"{len(ids)} text ids{of}are more than the {limit} of data.{key}: split the text {text!r}")
        return ids

    def lead(self, prompt: Prompt) -> Lead:
        """What the models make of a prompt; warns where its words are not what is heard."""
        buckets, system = self.config.data.buckets, self._system
        prompt.check(PROMPT_SHARE * max(buckets) * system.samples_per_token / self.sample_rate)
        llm, most, language = self._texts.llm, self.config.data.max_text, self.language
        taken = len(llm.encode(llm.prepare(prompt.text, language), language))
        if not taken or taken > most // 2:
            raise ValueError(
                f"the words of {prompt.name} take {taken} of the {most} ids of data.max_text: cut the prompt"
            )
        if not self.config.data.get("prompts", 0):
            logger.warning("this run has not learnt to go on from a prompt (data.prompts=0): its voice may not follow")
        wav = prompt.at(self.sample_rate)
        tokens = self._token_lens([wav])[0]
        wav = np.pad(wav, (0, tokens * system.samples_per_token - len(wav)))
        (ids,) = self.tokenize([wav])
        rm = self._texts.rm
        words, heard = rm.prepare(prompt.text, language), self.recognize_tokens([ids])[0]
        if jiwer.cer(words, heard) > MISHEARD:
            logger.warning(
                "in %s the reward model reads %r, not %r: wrong words, another language or no speech make a bad prompt",
                prompt.name,
                heard,
                words,
            )
        vector = prompt.vector(system.fm.config.speaker, self.config.infer.speaker_model)
        return Lead(ids, self._log_mel(wav), prompt.text, vector)

    def _log_mel(self, wav: Float[np.ndarray, " W"]) -> Float[np.ndarray, "M F"]:
        """The log-mel that the vocoder reads, of W / hop frames."""
        made = programs.mel(self._system, *self._pad([wav], [0], 1, padded(*self._token_lens([wav]))))
        return np.asarray(made)[0, : -(-len(wav) // self._system.mel.hop)]

    def _token_lens(self, wavs: GivenWavs) -> list[int]:
        for i, wav in enumerate(wavs):
            if np.ndim(wav) != 1 or not np.size(wav) or not np.isfinite(wav).all():
                raise ValueError(f"recording {i} must be finite samples f32[W], W > 0; its shape is {np.shape(wav)}")
        return [-(-len(wav) // self._system.samples_per_token) for wav in wavs]

    def _check_ids(self, ids: GivenIds) -> None:
        for i, row in enumerate(ids):
            if len(row) and not 0 <= min(row) <= max(row) < self._system.vocab:
                raise ValueError(f"row {i} has ids outside 0..{self._system.vocab - 1}: {min(row)} to {max(row)}")

    def _pad(
        self, wavs: GivenWavs, rows: list[int], size: int, length: int
    ) -> tuple[Float[np.ndarray, "B W"], Int[np.ndarray, " B"]]:
        return stack([wavs[row] for row in rows], size, length * self._system.samples_per_token, np.float32)

    def _vocode(self, log_mel: Float[Array, "B M F"]) -> Wavs:
        return list(self._vocoder.run(log_mel))


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A text as the models have it: `ids` for the LLM, how many of them are to be said, `written` for the RM where it
    has other ones to write."""

    ids: list[int]
    to_say: int
    written: list[int]


def _said(lead: Lead, text_len: list[int], size: int) -> generate.Prompt:
    """The lead as what every row has said; `text_len` ids of each row's text are its words."""
    rows = [lead.ids] * len(text_len)
    ids, length = stack(rows, size, padded(len(lead.ids)))
    return generate.Prompt(*map(jnp.asarray, (ids, length, np.array(text_len + [0] * (size - len(text_len))))))
