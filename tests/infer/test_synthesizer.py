"""The synthesizer as its callers see it: lengths, seeds, neighbours, mistakes."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile
from flax import linen as nn
from tiny import Tiny

import e2etts_jax
from e2etts_jax import sharding
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.data.text import make_both
from e2etts_jax.features import log_mel
from e2etts_jax.infer import probe, programs
from e2etts_jax.infer.batching import BATCH, collapse, in_batches, padded
from e2etts_jax.infer.prompt import Prompt
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.models.llm import LLM, speech_logits
from e2etts_jax.models.tokenizer import Tokenizer
from e2etts_jax.system import System


def changed(synthesizer: Synthesizer, speaker: np.ndarray, **infer: Any) -> Synthesizer:
    """The same models with other inference settings."""
    config = synthesizer.config.copy_and_resolve_references()
    config.infer.update(infer)
    return Synthesizer(config, synthesizer.params, speaker=speaker)


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_text_becomes_speech_of_its_tokens(synthesizer: Synthesizer) -> None:
    texts = ["ab", "Hello!", " it's  "]
    ids, wavs = synthesizer.generate_tokens(texts, seed=1), synthesizer.synthesize(texts, seed=1)
    assert synthesizer.sample_rate == 22050
    assert [len(w) for w in wavs] == [1024 * len(i) for i in ids] and all(len(i) for i in ids)
    for wav, again in zip(wavs, synthesizer.decode_tokens([i.tolist() for i in ids], seed=1), strict=True):
        assert wav.dtype == np.float32 and np.abs(wav).max() <= 1.0 and wav.std() > 1e-4
        np.testing.assert_array_equal(wav, again)
    assert any(
        len(a) != len(b) or np.any(a != b) for a, b in zip(ids, synthesizer.generate_tokens(texts, 2), strict=True)
    )


def test_recordings_come_back_in_their_length(synthesizer: Synthesizer, tones: list[np.ndarray]) -> None:
    for way in (synthesizer.reconstruct, synthesizer.copy_synthesis):
        made = way(tones)
        assert [w.shape for w in made] == [w.shape for w in tones]
        assert all(w.dtype == np.float32 and np.isfinite(w).all() and np.abs(w).max() <= 1 for w in made)


def test_copy_synthesis_sounds_like_the_recording(
    built: Tiny, synthesizer: Synthesizer, tones: list[np.ndarray]
) -> None:
    """In its log-mel, where the recording is audible at all."""
    for wav, copy in zip(tones, synthesizer.copy_synthesis(tones), strict=True):
        frames = len(wav) // 256
        mels = [np.asarray(log_mel(w[None, : frames * 256], built.system.mel))[0] for w in (wav, copy)]
        loud = mels[0] > -4
        assert loud.mean() > 0.02 and np.abs(mels[0] - mels[1])[loud].mean() < 0.5


def test_reconstruction_is_the_decoding_of_the_tokens(synthesizer: Synthesizer, tones: list[np.ndarray]) -> None:
    ids = synthesizer.tokenize(tones)
    assert [len(i) for i in ids] == [8, 3, 6]
    decoded = synthesizer.decode_tokens(ids, seed=5)
    for wav, made, tone in zip(synthesizer.reconstruct(tones, seed=5), decoded, tones, strict=True):
        np.testing.assert_array_equal(wav, made[: len(tone)])


def test_recognition_reads_the_tokens(synthesizer: Synthesizer, tones: list[np.ndarray]) -> None:
    said = synthesizer.recognize(tones)
    assert said == synthesizer.recognize_tokens(synthesizer.tokenize(tones)) and any(said)
    assert synthesizer.recognize_tokens([[]]) == [""]


@pytest.mark.parametrize(
    ("frames", "ids"),
    [([0, 1, 1, 0, 1, 2, 2, 0], [1, 1, 2]), ([3, 3, 3], [3]), ([0, 0], []), ([], []), ([4, 0, 4, 5], [4, 4, 5])],
)
def test_ctc_pathscollapse(frames: list[int], ids: list[int]) -> None:
    assert collapse(np.array(frames, np.int64)) == ids


def test_nothing_in_nothing_out(synthesizer: Synthesizer) -> None:
    for way in ("synthesize", "reconstruct", "copy_synthesis", "tokenize", "recognize", "decode_tokens"):
        assert getattr(synthesizer, way)([]) == []


# --- rows and shapes --------------------------------------------------------------------------------------------------


def test_neighbours_do_not_matter(synthesizer: Synthesizer, tones: list[np.ndarray]) -> None:
    """To a row in the same place of another call: not a bit of its tokens, only rounding in the vocoder."""
    few, many = synthesizer.generate_tokens(["abc", "x"]), synthesizer.generate_tokens(["abc", "why", "it", "go"] * 5)
    np.testing.assert_array_equal(few[0], many[0])
    ids = [[7, 1, 80], [2, 2]]
    one, other = synthesizer.decode_tokens(ids), synthesizer.decode_tokens([ids[0], list(range(70))])
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)
    np.testing.assert_array_equal(synthesizer.tokenize(tones)[1], synthesizer.tokenize([tones[0][:999], tones[1]])[1])


def test_every_row_is_drawn_anew(synthesizer: Synthesizer) -> None:
    first, second = synthesizer.generate_tokens(["abc", "abc"])
    assert len(first) != len(second) or np.any(first != second)
    first, second = synthesizer.decode_tokens([[7, 1, 80], [7, 1, 80]])
    assert np.abs(first - second).max() > 0.01


def test_a_sentence_alone_is_the_same_speech(synthesizer: Synthesizer) -> None:
    """Another program, so not bit for bit."""
    alone, among = synthesizer.generate_tokens(["abc"]), synthesizer.generate_tokens(["abc", "x"])
    np.testing.assert_array_equal(alone[0], among[0])
    wavs = synthesizer.decode_tokens([[7, 1, 80]]) + synthesizer.decode_tokens([[7, 1, 80], [1]])[:1]
    np.testing.assert_allclose(wavs[0], wavs[1], atol=0.02)


def test_rows_are_grouped_by_their_own_length_and_come_back_in_order() -> None:
    lengths, calls = [70, 3, 0, 64, 200, 65] + [9] * BATCH, []

    def run(rows: list[int], size: int, length: int) -> list[int]:
        calls.append((len(rows), size, length))
        assert all(padded(lengths[row]) == length for row in rows)
        return [100 * row for row in rows]

    assert in_batches(lengths, run) == [100 * row for row in range(len(lengths))]
    assert sorted(calls) == [(1, BATCH, 256), (2, BATCH, 96), (3, BATCH, 64), (BATCH, BATCH, 64)]


def test_lengths_are_padded_to_a_few_sizes() -> None:
    assert [padded(n) for n in (0, 1, 64, 65, 96, 97, 129, 193, 257)] == [64, 64, 64, 96, 96, 128, 192, 256, 384]
    assert len({padded(n) for n in range(2000)}) == 11


def test_each_program_is_compiled_once(synthesizer: Synthesizer) -> None:
    synthesizer.synthesize(["ab", "c"])
    before = programs.speak._cache_size(), programs.flow._cache_size()
    synthesizer.synthesize(["a longer"[:6], "c", "again"] * 6, seed=9)
    assert (programs.speak._cache_size(), programs.flow._cache_size()) == before


def test_parameters_may_lie_on_a_mesh(built: Tiny, synthesizer: Synthesizer, speaker: np.ndarray) -> None:
    """As during training on eight devices, also for a sentence alone, which they cannot share."""
    mesh, rules = sharding.make_mesh((4, 2, 1)), sharding.rules_of(built.config.mesh.rules)
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        places = sharding.param_shardings(built.system.abstract(), mesh, rules)
        spread = Synthesizer(built.config, jax.device_put(built.params, places), speaker=speaker)
        ids = spread.generate_tokens(["abc"])
    np.testing.assert_array_equal(ids[0], synthesizer.generate_tokens(["abc"])[0])


def test_long_texts_are_said_in_pieces(synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    drawn = Synthesizer.generate_tokens
    monkeypatch.setattr(
        Synthesizer, "generate_tokens", lambda self, texts, *args: (said.extend(texts), drawn(self, texts, *args))[1]
    )
    long, short = synthesizer.say(["abc. Ab, ca.\n\n* * * * *\n\nBa.", "ab"], seed=3)
    assert said == ["abc.", "Ab, ca.", "Ba.", "ab"]
    alone = synthesizer.synthesize(list(said), 3)
    np.testing.assert_array_equal(short, alone[3])
    assert len(long) > 0.9 * 22_050 and np.abs(long).max() <= 1
    with pytest.raises(ValueError, match="the text '' is empty"):
        synthesizer.say([""])
    with pytest.raises(ValueError, match="the word 'abcabcabc' is too long"):
        synthesizer.say(["ab abcabcabc"])


def test_two_lines_of_python_speak(synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Synthesizer, "load", lambda workdir, stage, infer: synthesizer)
    voice = e2etts_jax.load("runs/joint")
    samples, rate = voice.synthesize("abc", seed=4)
    np.testing.assert_array_equal(samples, synthesizer.synthesize(["abc"], 4)[0])
    assert rate == voice.sample_rate == 22_050
    assert len(np.concatenate(list(voice.stream("abc", seed=4)))) == len(samples)
    with pytest.raises(FileNotFoundError, match="no audio file"):
        voice.synthesize("abc", prompt=tmp_path / "none.wav")
    with pytest.raises(ValueError, match="the prompt lasts 0.00 s"):
        voice.synthesize("abc", prompt=(np.zeros(9, np.float32), 16_000), prompt_text="a")
    assert not hasattr(e2etts_jax, "save")


# --- a voice to go on in ----------------------------------------------------------------------------------------------


def prompt(**changes: Any) -> Prompt:
    """A tone of 1.1 s at 16 kHz, 24 tokens."""
    wav = 0.3 * np.sin(np.arange(17_600) / 16_000 * 2 * np.pi * 300).astype(np.float32)
    return Prompt(**{"wav": wav, "rate": 16_000, "text": "ab", "name": "x.wav"} | changes)


@pytest.fixture
def with_prompts(synthesizer: Synthesizer, speaker: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Synthesizer:
    """The models as if trained on pairs of up to 60 tokens; a vector of 8 numbers in place of an extractor."""
    config = synthesizer.config.copy_and_resolve_references()
    config.data.prompts, config.data.buckets, config.infer.candidates = 0.5, (60,), 2
    monkeypatch.setattr(Prompt, "vector", lambda self, dim, model: np.full(dim, 0.1, np.float32))
    return Synthesizer(config, synthesizer.params, speaker=speaker)


def test_speech_goes_on_from_a_prompt(with_prompts: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, seen = ["abc", "ca", "b"], []
    flow, speak = programs.flow, programs.speak
    monkeypatch.setattr(programs, "flow", lambda *args: (seen.append(args), flow(*args))[1])
    monkeypatch.setattr(programs, "speak", lambda *args: (seen.append(args), speak(*args))[1])
    wavs = with_prompts.synthesize(texts, 3, prompt=prompt())
    (*_, text, text_len, _, written, said), (*_, ids, token_len, speaker, _, heard) = seen
    assert said.length[:3].tolist() == [24] * 3 and said.text_len[:3].tolist() == [3] * 3, "ab and a space"
    by_length = sorted(texts, key=len)
    assert [int(n) for n in text_len[:3]] == [3 + len(t) for t in by_length], "behind the words of the prompt"
    assert [int(n) for n in written[1][:3]] == [len(t) for t in by_length], "the RM hears the new words alone"
    mel, count = heard
    assert count[:3].tolist() == [24] * 3 and (speaker == np.float32(0.1)).all()
    np.testing.assert_array_equal(ids[0, :24], said.ids[0, :24])
    assert sorted(len(w) for w in wavs) == sorted(1024 * (int(n) - 24) for n in token_len[:3])
    alone = with_prompts.synthesize(texts, 3)
    again = with_prompts.synthesize(texts, 3, prompt=prompt())
    assert all(np.array_equal(a, b) for a, b in zip(wavs, again, strict=True))
    assert any(len(a) != len(b) or np.abs(a - b).max() > 1e-3 for a, b in zip(wavs, alone, strict=True))


def test_what_the_prompt_sounds_like_matters(with_prompts: Synthesizer) -> None:
    lead = with_prompts.lead(prompt())
    assert lead.ids.shape == (24,) and lead.log_mel.shape[0] == 24 * 4 and lead.text == "ab"
    other = dataclasses.replace(lead, log_mel=lead.log_mel[::-1] + 1.0)
    ids = [np.arange(5), np.arange(9)]
    made, unlike = (with_prompts.decode_tokens(ids, 1, given) for given in (lead, other))
    assert [len(w) for w in made] == [5 * 1024, 9 * 1024]
    assert np.abs(made[1] - unlike[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wav": np.ones(3200, np.float32)}, "x.wav lasts 0.20 s, too short to hear a voice"),
        (
            {"wav": np.ones(16_000 * 600, np.float32)},
            "x.wav lasts 600.0 s; the model can go on from 1.7 s: cut it, and",
        ),
        ({"wav": np.full(20_000, 1e-4, np.float32)}, "x.wav is silent"),
        ({"wav": np.full((2, 20_000), 0.1, np.float32)}, "of one channel; its shape is"),
        ({"wav": np.full(20_000, np.nan, np.float32)}, "must be finite samples"),
        ({"text": "  "}, "needs its words"),
        ({"text": "ab " * 30}, "are 90 characters for 1.1 s: give what is said in it"),
        ({"text": "abcab"}, "the words of x.wav take 5 of the 6 ids of data.max_text"),
    ],
)
def test_prompts_of_no_use_are_refused(with_prompts: Synthesizer, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_prompts.say(["abc"], prompt=prompt(**changes))


def test_wrong_words_and_untaught_models_are_told(with_prompts: Synthesizer, caplog: pytest.LogCaptureFixture) -> None:
    with_prompts.config.data.max_text = 200  # a random RM reads more than was said
    heard = with_prompts.recognize([prompt().at(22_050)])[0]
    with_prompts.lead(prompt(text=heard or "ab"))
    assert ("the reward model reads" in caplog.text) == (not heard)
    with_prompts.lead(prompt(text="zzz"))
    assert f"in x.wav the reward model reads {heard!r}, not 'zzz'" in caplog.text
    assert "data.prompts=0" not in caplog.text
    with_prompts.config.data.prompts = 0.0
    with_prompts.lead(prompt())
    assert "this run has not learnt to go on from a prompt (data.prompts=0)" in caplog.text


def test_a_prompt_without_an_extractor_has_no_vector(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str) -> None:
        raise ImportError("--speaker=voicefilter: pip install 'e2etts_jax[data]', or --speaker=none")

    monkeypatch.setattr(speakers, "cached", absent)
    assert not prompt().vector(5, "voicefilter").any()
    assert "the voice comes from the sound of the prompt alone" in caplog.text
    monkeypatch.setattr(speakers, "cached", lambda name: speakers.Extractor(3, lambda wav: np.arange(3.0)))
    np.testing.assert_allclose(prompt().vector(3, "x.onnx"), np.arange(3.0) / np.sqrt(5), rtol=1e-6)
    with pytest.raises(ValueError, match="makes 3 numbers, the FM reads 5"):
        prompt().vector(5, "x.onnx")
    monkeypatch.setattr(speakers, "cached", lambda name: speakers.Extractor(3, lambda wav: np.zeros(3)))
    with pytest.raises(ValueError, match="x.wav: speaker model x.onnx fails"):
        prompt().vector(3, "x.onnx")
    monkeypatch.undo()
    assert not prompt().vector(5, "none").any()


def test_any_recording_can_be_read_as_a_prompt(tmp_path: Path) -> None:
    stereo = np.stack([np.full(8_800, 0.2), np.zeros(8_800)], axis=1)
    soundfile.write(tmp_path / "x.flac", stereo, 8_000)
    read = Prompt.read(tmp_path / "x.flac", "ab")
    assert read.wav.shape == (8_800,) and read.rate == 8_000 and read.name.endswith("x.flac")
    assert len(read.at(22_050)) == 24_255
    with pytest.raises(FileNotFoundError, match="no audio file .*none.wav"):
        Prompt.read(tmp_path / "none.wav", "ab")


# --- settings, warnings, mistakes -------------------------------------------------------------------------------------


def draws(monkeypatch: pytest.MonkeyPatch, counts: list[int]) -> None:
    """Makes the language model say so many tokens to each text of a batch, in order of their length."""

    def speak(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        return np.full((BATCH, 12), 7), np.pad(counts, (0, BATCH - len(counts)))

    monkeypatch.setattr(programs, "speak", speak)


def test_sentences_at_their_limit_are_reported(
    synthesizer: Synthesizer,
    speaker: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1.5 tokens a character, rounded up, and 12 in all."""
    short = changed(synthesizer, speaker, max_ratio=1.5)
    draws(monkeypatch, [4, 6])
    assert [len(i) for i in short.generate_tokens(["abcde", "abc"])] == [6, 4] and not caplog.text
    draws(monkeypatch, [5, 7])
    short.generate_tokens(["abcde", "abc"])
    assert "1 of 2 texts reached their limit of tokens and may be cut: 'abc'" in caplog.text
    caplog.clear()
    draws(monkeypatch, [11, 12])
    synthesizer.generate_tokens(["abcde", "abc"])
    assert "1 of 2 texts reached their limit of tokens and may be cut: 'abcde'" in caplog.text


def test_a_sentence_without_tokens_is_silence(
    synthesizer: Synthesizer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws(monkeypatch, [0, 1])
    spoken, silent = synthesizer.synthesize(["abcde", "abc"])
    assert len(spoken) == 1024 and spoken.any()
    assert len(silent) == 4410 and not silent.any() and silent.dtype == np.float32
    assert "1 of 2 sentences have no tokens and become silence" in caplog.text


def test_temperature_zero_is_one_reading(synthesizer: Synthesizer, speaker: np.ndarray) -> None:
    greedy = changed(synthesizer, speaker, temperature=0.0)
    for a, b in zip(greedy.generate_tokens(["ab", "it"], 0), greedy.generate_tokens(["ab", "it"], 1), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text '' is empty"),
        ("  ?! ", "the text '  .! ' is empty"),
        ("a\u00e9", "character '\u00e9' of 'a\u00e9' .U.00E9 LATIN SMALL LETTER E WITH ACUTE. is not in the alphabet"),
        ("sevenxx", "7 text ids are more than the 6 of data.max_text: split the text 'sevenxx'"),
    ],
)
def test_bad_texts_are_named(synthesizer: Synthesizer, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthesizer.synthesize(["fine", text])


@pytest.mark.parametrize(
    "wav", [np.zeros((2, 5)), np.zeros(0), np.array([0.0, np.nan])], ids=["stereo", "empty", "nan"]
)
def test_bad_recordings_are_named(synthesizer: Synthesizer, wav: np.ndarray) -> None:
    for way in (synthesizer.tokenize, synthesizer.copy_synthesis, synthesizer.reconstruct, synthesizer.recognize):
        with pytest.raises(ValueError, match="recording 1 must be finite samples"):
            way([np.ones(9, np.float32), wav])


@pytest.mark.parametrize("bad", [[3, 81], [-1, 3]])
def test_ids_outside_the_vocabulary_are_named(synthesizer: Synthesizer, bad: list[int]) -> None:
    for way in (synthesizer.decode_tokens, synthesizer.recognize_tokens):
        with pytest.raises(ValueError, match="row 1 has ids outside 0..80"):
            way([[0, 80], bad])


def test_each_text_is_read_in_its_language(built: Tiny, speaker: np.ndarray) -> None:
    config = built.config.copy_and_resolve_references()
    config.text.languages = ("en", "de")
    both = Synthesizer(config, built.params, speaker=speaker)
    assert both.can_say("ab") and both.can_say("ab", "de") and not both.can_say("ab", "fr")
    both.language = "fr"
    assert not both.can_say("ab") and both.can_say("ab", "en")
    with pytest.raises(ValueError, match="language 'fr' has no tag; text.languages has en, de"):
        both.generate_tokens(["ab", "ab"], languages=["de", "fr"])


def test_the_reward_model_may_write_in_other_ids(
    built: Tiny, speaker: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = built.config.copy_and_resolve_references()
    config.text.rm_tokenizer, config.data.max_rm_text = "phonemes", 4
    texts = make_both(config.text)
    params = System.from_config(config, *texts.sizes).unboxed(jax.random.key(0))
    both = Synthesizer(config, params, speaker=speaker)
    heard = both.recognize([np.sin(np.arange(9000.0))])[0]
    assert texts.rm.encode(heard, "en") or not heard
    seen = []
    speak = programs.speak
    monkeypatch.setattr(programs, "speak", lambda *args: (seen.append(args[5:]), speak(*args))[1])
    for candidates in (1, 2):
        both.config.infer.candidates = candidates
        both.generate_tokens(["ab"])
        text, _, _, written, said = seen.pop()
        assert said is None and text[0, :2].tolist() == texts.llm.encode("ab")
        if candidates == 1:
            assert written is None
        else:
            ids, size = written
            assert ids.shape[1] == 4 and ids[0, : size[0]].tolist() == texts.rm.encode(texts.rm.prepare("ab"))
    assert both.can_say("ab") and not both.can_say("abcab")
    with pytest.raises(ValueError, match="text ids are more than the 4 of data.max_rm_text: split the text 'abcab'"):
        both.generate_tokens(["abcab"])
    both.config.infer.candidates = 1
    assert both.can_say("abcab"), "nothing is left to the reward model"


def test_a_speaker_of_another_size_is_refused(built: Tiny) -> None:
    with pytest.raises(ValueError, match=r"speaker vector has shape \(256,\), model.fm.speaker wants \(8,\)"):
        Synthesizer(built.config, built.params)


def test_a_data_set_without_a_voice_of_its_own_gets_none(built: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    config = built.config.copy_and_resolve_references()
    config.data.dataset = "many_voices"
    silent, zeros = Synthesizer(config, built.params), Synthesizer(built.config, built.params, speaker=np.zeros(8))
    assert "many_voices" in caplog.text
    np.testing.assert_array_equal(silent.decode_tokens([[1, 2]])[0], zeros.decode_tokens([[1, 2]])[0])


# --- reading a run ----------------------------------------------------------------------------------------------------


def mark(synthesizer: Synthesizer) -> int:
    """The step that the parameters come from."""
    return int(synthesizer.params["llm"]["control"][0, 0])


def test_the_last_stage_with_a_good_checkpoint_is_loaded(workdir: Path, speaker: np.ndarray) -> None:
    last, first = Synthesizer.load(workdir, speaker=speaker), Synthesizer.load(str(workdir), "joint", speaker)
    assert (last.stage, mark(last)) == ("tune", 3)
    assert (first.stage, mark(first)) == ("joint", 2)
    assert last.config.infer.max_tokens == 12 and last.config.run == ("joint", "tune", "chain")
    assert last.recognize_tokens([[1], [2, 3]]) != []


def test_decoding_can_be_changed_for_a_run(workdir: Path, speaker: np.ndarray) -> None:
    changed = Synthesizer.load(workdir, None, speaker, ["candidates=3", "temperature=0.25"]).config.infer
    assert (changed.candidates, changed.temperature) == (3, 0.25) and isinstance(changed.candidates, int)
    assert changed.max_tokens == 12  # the rest is the run's
    for bad, message in {
        "candidates": "--infer=candidates is not key=value; the keys are .*temperature",
        "draws=2": "--infer=draws=2 is not key=value; the keys are candidates, ",
        "candidates=2.5": "--infer=candidates=2.5: candidates wants a number such as ",
    }.items():
        with pytest.raises(ValueError, match=message):
            Synthesizer.load(workdir, None, speaker, [bad])
    for key in ("candidates", "max_tokens", "ode_steps"):
        with pytest.raises(ValueError, match=f"infer.{key}=0: at least 1 is needed"):
            Synthesizer.load(workdir, None, speaker, [f"{key}=0"])


def test_a_damaged_stage_is_passed_over(workdir: Path, speaker: np.ndarray, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    (copy / "checkpoints" / "tune" / "3" / "manifest.json").unlink()
    assert Synthesizer.load(copy, speaker=speaker).stage == "joint"
    shutil.rmtree(copy / "checkpoints" / "joint")
    with pytest.raises(FileNotFoundError, match=r"no usable checkpoint in .*checkpoints$"):
        Synthesizer.load(copy, speaker=speaker)


def test_what_is_missing_is_named(workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no workdir .*nowhere"):
        Synthesizer.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no config.json in workdir"):
        Synthesizer.load(tmp_path)
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*the run has not saved any yet"):
        Synthesizer.load(tmp_path)
    with pytest.raises(ValueError, match="stage 'tunes' in .*; there is chain, joint, tune"):
        Synthesizer.load(workdir, "tunes")
    with pytest.raises(FileNotFoundError, match="no usable checkpoint in .*chain"):
        Synthesizer.load(workdir, "chain")


def test_a_config_that_is_broken_or_of_another_version_is_named(workdir: Path, tmp_path: Path) -> None:
    path, good = tmp_path / "config.json", json.loads((workdir / "config.json").read_text())
    for text in ('{"seed": 0,\n', "[]", ""):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"config.json (is not readable|lacks run, stages)"):
            Synthesizer.load(tmp_path)
    del good["infer"]["candidates"]
    path.write_text(json.dumps(good))
    with pytest.raises(ValueError, match=r"config.json lacks infer.candidates: it was made by another version"):
        Synthesizer.load(tmp_path)


def test_checkpoints_of_other_models_are_refused(workdir: Path, tmp_path: Path) -> None:
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["llm"]["ff"] = 48
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    with pytest.raises(ValueError, match="is of another architecture than the config"):
        Synthesizer.load(tmp_path)


def test_an_fm_that_reads_hidden_states_is_refused(built: Tiny, speaker: np.ndarray) -> None:
    config = built.config.copy_and_resolve_references()
    config.stages.tune.plan.tokens_to_fm = "llm_hidden"
    with pytest.raises(ValueError, match="stage 'tune' trained its FM on llm_hidden"):
        Synthesizer(config, built.params, stage="tune", speaker=speaker)


def test_lists_of_json_become_tuples(built: Tiny, speaker: np.ndarray) -> None:
    config = json.loads(built.config.to_json())
    config["model"]["rm"]["tasks"] = [["mood", 3]]
    made = Synthesizer(config, built.params, speaker=speaker)
    assert made.config.model.rm.tasks == (("mood", 3),)
    assert len(made.tokenize([np.ones(2000, np.float32)])[0]) == 2


def test_a_probe_tells_of_each_recording_what_training_would(synthesizer: Synthesizer, tones: list[np.ndarray]) -> None:
    """The LLM's nats and the RM's readings are those of other ways to get them; neighbours change nothing."""
    texts = ["no", "on no", "a"]
    made = synthesizer.probe(tones, texts)
    lengths = [-(-len(wav) // synthesizer._system.samples_per_token) for wav in tones]
    assert made.tokens.tolist() == [n + 1 for n in lengths], "the end is predicted, too"
    assert made.read == synthesizer.recognize(tones)
    assert made.flow.shape == (3, len(probe.TIMES)) and (made.flow > 0).all()
    alone = synthesizer.probe(tones[1:2], texts[1:2])
    np.testing.assert_allclose(alone.nats, made.nats[1:2], rtol=1e-4)
    system, params = synthesizer._system, synthesizer.params
    codebook = system.tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)
    (ids,) = synthesizer.tokenize(tones[:1])
    text = np.array([synthesizer._encode(texts[0], "en").ids], np.int32)
    given = (text, np.array([text.shape[1]]), codebook[ids][None], ids[None], np.array([len(ids)]))
    variables = {"params": params["llm"]}
    hidden = system.llm.apply(variables, *given, method=LLM.read)
    table = system.llm.apply(variables, codebook, method=LLM.table)
    log_p = jax.nn.log_softmax(speech_logits(hidden, table))[0]
    wanted = -sum(float(log_p[i, target]) for i, target in enumerate([*ids.tolist(), system.vocab]))
    assert made.nats[0] == pytest.approx(wanted, rel=1e-4)
