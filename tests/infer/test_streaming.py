"""What is streamed is what is made offline, and nothing waits for more than it needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import Tiny

from e2etts_jax.features import MelConfig
from e2etts_jax.infer import programs, streaming, vocoder
from e2etts_jax.infer.prompt import Lead
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.infer.vocoder import Chosen
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig
from e2etts_jax.rng import Streams

CHUNK, TEXT = 3, "no"


@pytest.fixture(scope="module")
def chosen(built: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    """A random generator that reads the system's mel."""
    mel: MelConfig = built.system.mel
    shape = VocoderConfig(width=8, rates=(16, mel.hop // 16), kernels=(32, mel.hop // 8), res_kernels=(3,))
    params = nn.unbox(Vocoder(shape).init(jax.random.key(1), np.zeros((1, 3, mel.n_mels)))["params"])
    file = tmp_path_factory.mktemp("vocoder") / "loud.safetensors"
    vocoder.save(file, shape, mel, jax.tree.map(np.asarray, params))
    return vocoder.choose(str(file), mel)


def voice(built: Tiny, speaker: np.ndarray, chosen: Chosen, **infer: float) -> Synthesizer:
    """A synthesizer that talks to its limit, since random models hardly ever end."""
    made = Synthesizer(built.config.copy_and_resolve_references(), built.params, speaker=speaker)
    made.config.infer.update({"chunk": CHUNK, "candidates": 1, "min_ratio": 20.0, "max_tokens": 11, **infer})
    made._vocoder = chosen
    return made


def offline(s: Synthesizer, lead: Lead | None = None) -> np.ndarray:
    """The sentence at once, its frames attending in chunks."""
    (ids,) = s.generate_tokens([TEXT], lead=lead)
    before = lead.ids if lead else np.zeros(0, np.int32)
    whole, per = np.concatenate([before, ids])[None], s._system.frames_per_token
    infer, heard = s.config.infer, None
    if lead:
        mel = np.zeros((1, whole.shape[1] * per, s._system.mel.n_mels), np.float32)
        mel[0, : len(lead.log_mel)] = lead.log_mel
        heard = mel, np.full(1, len(before), np.int32)
    given = (jnp.asarray(whole), jnp.array([whole.shape[1]]), lead.speaker if lead else s.speaker)
    streams = Streams(jax.random.key(0), jnp.zeros(1, jnp.int32))
    mel = programs.flow(s._system, infer.ode_steps, infer.guidance, s.params, *given, streams, heard, chunk=CHUNK)
    return s._vocoder.run(mel)[0][len(before) * s._system.samples_per_token :]


@pytest.mark.parametrize("candidates, guidance", [(1, 0.0), (1, 0.7), (3, 0.0)])
def test_a_stream_is_the_whole(built: Tiny, speaker: np.ndarray, chosen: Chosen, candidates: int, guidance: float):
    s = voice(built, speaker, chosen, candidates=candidates, guidance=guidance)
    parts, whole = list(s.stream([TEXT])[0]), offline(s)
    assert len(parts) >= 3 and len(whole) == 11 * s._system.samples_per_token
    assert np.abs(whole).max() > 0.05
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-4)


def test_a_stream_goes_on_from_a_prompt(built: Tiny, speaker: np.ndarray, chosen: Chosen):
    s, rng = voice(built, speaker, chosen), np.random.default_rng(0)
    ids = rng.integers(0, s._system.vocab, 4).astype(np.int32)
    mel = rng.normal(-5, 2, (4 * s._system.frames_per_token, s._system.mel.n_mels)).astype(np.float32)
    lead = Lead(ids, mel, "hm", rng.standard_normal(8).astype(np.float32))
    made = np.concatenate(list(s._stream_piece(TEXT, 0, 0, "en", lead)))
    np.testing.assert_allclose(made, offline(s, lead), atol=2e-4)


def test_only_what_is_new_goes_through_the_vocoder(built: Tiny, speaker: np.ndarray, chosen: Chosen):
    """Behind a prompt, the vocoder hears no more of it than it reaches; the samples are those of the whole."""
    s, rng = voice(built, speaker, chosen), np.random.default_rng(0)
    per_token, bins, frames = s._system.frames_per_token, s._system.mel.n_mels, []
    s._vocoder = Chosen("watched", lambda mel: frames.append(mel.shape[1]) or chosen.run(mel), chosen.reach)
    before = -(-chosen.reach // per_token) + 5
    mel = rng.normal(-5, 2, (before * per_token, bins)).astype(np.float32)
    lead = Lead(rng.integers(0, s._system.vocab, before).astype(np.int32), mel, "hm", speaker)
    rows = [rng.integers(0, s._system.vocab, n).astype(np.int32) for n in (7, 4)]
    made = s.decode_tokens(rows, lead=lead)
    assert frames == [7 * per_token + chosen.reach]
    s._vocoder = Chosen("whole", chosen.run, None)
    for ours, wanted in zip(made, s.decode_tokens(rows, lead=lead), strict=True):
        assert np.abs(wanted).max() > 0.05
        np.testing.assert_allclose(ours, wanted, atol=2e-4)


def test_chunks_hide_the_future_alone(built: Tiny, speaker: np.ndarray):
    """A change of later tokens reaches no frame of the first chunk but through the look-ahead of the condition."""
    system, ahead = built.system, built.system.fm.config.look_ahead
    ids = np.random.default_rng(0).integers(0, system.vocab, (1, 12)).astype(np.int32)
    other, chunk = ids.copy(), 4
    other[:, chunk + ahead :] = (other[:, chunk + ahead :] + 1) % system.vocab
    rest = (jnp.array([12]), speaker, Streams(jax.random.key(0), jnp.zeros(1, jnp.int32)))
    a, b = (np.asarray(programs.flow(system, 2, 0.0, built.params, i, *rest, chunk=chunk)) for i in (ids, other))
    seen = chunk * system.frames_per_token
    np.testing.assert_array_equal(a[:, :seen], b[:, :seen])
    assert np.abs(a[:, seen:] - b[:, seen:]).max() > 1e-3
    free = np.asarray(programs.flow(system, 2, 0.0, built.params, other, *rest))
    assert np.abs(free - b)[:, :seen].max() > 1e-4, "without chunks the first frames see the last"


def test_the_first_sound_waits_for_its_tokens_alone(built: Tiny, speaker: np.ndarray, chosen: Chosen):
    s, asked = voice(built, speaker, chosen), []
    real = streaming.drawn

    def watched(*args):
        tokens = real(*args)

        def ask(count: int):
            asked.append(count)
            return tokens(count)

        return ask

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "drawn", watched)
        next(s.stream([TEXT])[0])
    ahead = s._system.fm.config.look_ahead
    chunks = -(-(chosen.reach + 1) // (CHUNK * s._system.frames_per_token))
    assert asked == [CHUNK * (i + 1) + ahead for i in range(chunks)]


def test_griffin_lim_gives_a_sentence_at_once(built: Tiny, speaker: np.ndarray, caplog: pytest.LogCaptureFixture):
    s = voice(built, speaker, vocoder.choose("griffin_lim", built.system.mel), chunk=5)
    (wav,) = s.stream([TEXT])[0]
    assert len(wav) == 11 * s._system.samples_per_token
    assert "has not learnt chunks of 5 tokens" in caplog.text


def test_a_text_that_can_not_be_said_is_refused_before_the_first_sound(synthesizer: Synthesizer):
    with pytest.raises(ValueError, match="empty"):
        synthesizer.stream(["no", " "])


def test_silence_is_heard_of(built: Tiny, speaker: np.ndarray, chosen: Chosen, caplog: pytest.LogCaptureFixture):
    s = voice(built, speaker, chosen, min_ratio=0.0, max_ratio=0.0)
    (wav,) = s.stream([TEXT])[0]
    assert not wav.any() and len(wav) == int(0.2 * s.sample_rate)
    assert "has no tokens" in caplog.text


def test_lines_are_streamed_as_they_are_said(built: Tiny, speaker: np.ndarray, caplog: pytest.LogCaptureFixture):
    """Each line has the tokens that `say` draws for it, whatever its place; one that is cut at its limit is told of."""
    s = voice(built, speaker, vocoder.choose("griffin_lim", built.system.mel), min_ratio=0.0)
    spoken = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s, "_vocoder", Chosen("none", lambda mel: spoken.append(mel) or np.ones((1, mel.shape[1])), 0))
        lines = ["no", "on no", "a"]
        made = [sum(len(part) for part in parts) for parts in s.stream(lines, seed=3)]
    wanted = s.generate_tokens(lines, seed=3)
    per_token = s._system.frames_per_token
    assert [n // per_token for n in made] == [len(ids) for ids in wanted]
    assert len({tuple(ids) for ids in s.generate_tokens(["no", "no", "no"], seed=3)}) > 1, "rows are seeded apart"
    cut = [line for line, ids in zip(lines, wanted, strict=True) if len(ids) == 11]
    told = [r.args[2] for r in caplog.records if "may be cut" in r.message and r.args[:2] == (1, 1)]
    assert told == cut and cut
