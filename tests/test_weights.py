"""Weights in and out of a workdir: folders as they come, what they are checked for, and the two commands."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from ml_collections import ConfigDict
from parity import export_model
from safetensors.numpy import save_file
from tiny import load, same_bits, shrink

from e2etts_jax import losses, sharding, train
from e2etts_jax.checkpoint import load_items
from e2etts_jax.data.text import CharTokenizer, Texts
from e2etts_jax.interop import folder, qwen3
from e2etts_jax.interop.folder import Folder
from e2etts_jax.interop.llm_import import Rows
from e2etts_jax.models.qwen3 import DecoderConfig
from e2etts_jax.stages import parse_run
from e2etts_jax.system import System
from e2etts_jax.weights import export_weights, import_weights, shared_words

WORDS = 28  # of the model below: as many as the letters of the config


def config(**text: Any) -> ConfigDict:
    c = shrink(load("joint"))
    c.text.update(text)
    return c


def decoder(c: ConfigDict) -> DecoderConfig:
    m = c.model.llm
    return DecoderConfig(m.layers, m.width, m.heads, m.kv_heads, m.head_dim, m.ff, m.rope_theta, m.rms_eps)


def random_qwen3(path: Path, ours: DecoderConfig, words: int = WORDS, **changes: Any) -> dict[str, np.ndarray]:
    """Writes a random Qwen3 as the hub has it, and returns its tensors."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (0.03 * rng.standard_normal(shape)).astype(np.float32)

    q, kv = ours.heads * ours.head_dim, ours.kv_heads * ours.head_dim
    shapes = {
        "input_layernorm": (ours.width,),
        "post_attention_layernorm": (ours.width,),
        "self_attn.q_proj": (q, ours.width),
        "self_attn.k_proj": (kv, ours.width),
        "self_attn.v_proj": (kv, ours.width),
        "self_attn.o_proj": (ours.width, q),
        "self_attn.q_norm": (ours.head_dim,),
        "self_attn.k_norm": (ours.head_dim,),
        "mlp.gate_proj": (ours.ff, ours.width),
        "mlp.up_proj": (ours.ff, ours.width),
        "mlp.down_proj": (ours.width, ours.ff),
    }
    tensors = {"model.embed_tokens.weight": draw(words, ours.width), "model.norm.weight": draw(ours.width)}
    for i in range(ours.layers):
        tensors |= {f"model.layers.{i}.{name}.weight": draw(*shape) for name, shape in shapes.items()}
    theirs = {**qwen3.config(ours, words, 64), "tie_word_embeddings": True, **changes}
    folder.write(path, tensors, {"config.json": theirs})
    return tensors


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    random_qwen3(tmp_path / "qwen", decoder(config()))
    return tmp_path / "qwen"


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_shards_and_dtypes_are_read_alike(dtype: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal((3, 4)).astype(dtype) for name in ("a.weight", "b.weight", "c.weight")}
    for path, index in ((tmp_path / "one", False), (tmp_path / "many", True)):
        path.mkdir()
        (path / "config.json").write_text("{}")
        parts = {name: f"model-{i}-of-3.safetensors" for i, name in enumerate(tensors)}
        for name, file in parts.items() if index else []:
            save_file({name: tensors[name]}, path / file)
        if index:
            (path / folder.INDEX).write_text(json.dumps({"weight_map": parts}))
        else:
            save_file(tensors, path / folder.WEIGHTS)
        found = Folder(path)
        assert set(found) == set(tensors) and len(found) == 3 and "d" not in found
        for name, tensor in tensors.items():
            assert found[name].dtype == np.float32 and np.array_equal(found[name], tensor.astype(np.float32))


def spoil(name: str) -> Callable[[Path], None]:
    def pickled(path: Path) -> None:
        (path / folder.WEIGHTS).rename(path / "pytorch_model.bin")

    def cut(path: Path) -> None:
        (path / folder.WEIGHTS).write_bytes((path / folder.WEIGHTS).read_bytes()[:-100])

    def whole_numbers(path: Path) -> None:
        stored = {name: tensor.astype(np.int8) for name, tensor in Folder(path).items()}
        save_file(stored, path / folder.WEIGHTS)

    def outside(path: Path) -> None:
        (path / folder.WEIGHTS).rename(path.parent / "x.safetensors")
        (path / folder.INDEX).write_text('{"weight_map": {"a": "../x.safetensors"}}')

    def absent(path: Path) -> None:
        (path / folder.WEIGHTS).rename(path / "x.safetensors")
        (path / folder.INDEX).write_text('{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}')

    def other(path: Path) -> None:
        (path / folder.WEIGHTS).rename(path / "x.safetensors")
        (path / folder.INDEX).write_text('{"weight_map": {"model.more": "x.safetensors"}}')

    def no_config(path: Path) -> None:
        (path / "config.json").unlink()

    def no_json(path: Path) -> None:
        (path / "config.json").write_text("<html>")

    def empty(path: Path) -> None:
        (path / folder.WEIGHTS).unlink()

    return locals()[name]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("pickled", r"pytorch_model.bin is a pickle, which may run code .*: convert it to safetensors"),
        ("cut", r"model.safetensors is no whole safetensors file \(.*\): copy it again"),
        ("whole_numbers", r"model\..*weight of .*qwen is I8, not one of F32, F16, BF16, F64: take unquantised weights"),
        ("outside", r"index.json has no weight_map of files beside it"),
        ("absent", r"no file .*y.safetensors, which model.safetensors.index.json names"),
        ("other", r"names model.more, which no file of the folder holds: copy it again"),
        ("no_config", r"no config.json in .*qwen"),
        ("no_json", r"config.json is not readable"),
        ("empty", r"no model.safetensors and no model.safetensors.index.json in .*qwen"),
    ],
)
def test_folders_that_are_not_whole_are_refused(how: str, message: str, qwen: Path, tmp_path: Path) -> None:
    spoil(how)(qwen)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        import_weights(config(), str(tmp_path / "out"), str(qwen), None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_file_in_place_of_a_folder_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"\x80\x04")
    message = "is a file: give the folder" if file.endswith("safetensors") else "is a pickle"
    with pytest.raises(ValueError, match=message):
        Folder(tmp_path / file)


# --- a Qwen3 into a workdir, and on -----------------------------------------------------------------------------------


def test_training_starts_from_an_import(qwen: Path, tmp_path: Path) -> None:
    """Decoder and words are the folder's, through `warm_start`; the groups that were not imported are as ever."""
    c, tensors = config(), Folder(qwen)
    c.text.tokenizer = "characters"
    told = import_weights(c, str(tmp_path / "run"), str(qwen), None)
    assert told[-1] == f"train from it: --config.warm_start={tmp_path}/run --config.warm_groups='(\"llm\",)'"
    c.warm_start, c.warm_groups = str(tmp_path / "run"), ("llm",)
    system = System.from_config(c, len(c.text.alphabet) + 1)
    mesh, rules = sharding.make_mesh((1, 1, 1)), sharding.rules_of(c.mesh.rules)
    stages = parse_run(c, losses.terms())
    first = train.initial(SimpleNamespace(config=c, system=system, stages=stages, mesh=mesh, rules=rules))
    fresh = system.unboxed(jax.random.key(c.seed))
    assert all(same_bits(first[group], fresh[group]) for group in ("tokenizer", "fm", "rm"))
    wanted = qwen3.decoder_params(tensors, c.model.llm.layers, "model.")
    assert same_bits(first["llm"]["decoder"], wanted)
    assert not same_bits(first["llm"]["text_embed"], fresh["llm"]["text_embed"])


def with_words(monkeypatch: pytest.MonkeyPatch, ids: int) -> None:
    """A tokenizer of so many ids for the LLM, letters for the RM."""
    texts = Texts(SimpleNamespace(vocab_size=ids), CharTokenizer())
    monkeypatch.setattr("e2etts_jax.weights.make_both", lambda text: texts)


def test_words_are_shifted_by_the_padding(qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our id 0 is padding, so their word i is our i + 1; tags come behind."""
    with_words(monkeypatch, 1 + WORDS - 2 + 2)
    c = config(tokenizer="bpe", languages=("en", "zh"))
    told = import_weights(c, str(tmp_path / "run"), str(qwen), None)
    rows = load_items(str(tmp_path / "run" / "checkpoints" / "imported"), ["llm"])["llm"]["text_embed"]
    words = Folder(qwen)["model.embed_tokens.weight"]
    assert rows.shape == (WORDS + 1, c.model.llm.width) and np.array_equal(rows[1 : WORDS - 1], words[: WORDS - 2])
    assert any(f"rows 1..{WORDS - 2} are their 0..{WORDS - 3} of {WORDS} (no tokenizer.json" in line for line in told)
    assert any("2 tags are drawn" in line for line in told)
    report = json.loads((tmp_path / "run" / "import.json").read_text())["llm"]
    leaves = load_items(str(tmp_path / "run" / "checkpoints" / "imported"), ["llm"])["llm"]
    names = {
        jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree_util.tree_leaves_with_path(leaves)
    }
    assert set(report["taken"]) | set(report["fresh"]) == names and not report["unused"]


def test_letters_take_no_words(qwen: Path, tmp_path: Path) -> None:
    told = import_weights(config(), str(tmp_path / "run"), str(qwen), None)
    assert any("fresh, they are characters; with text.tokenizer=bpe" in line and "text_embed" in line for line in told)


def test_more_words_than_the_model_has_are_refused(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_words(monkeypatch, 2 + WORDS)
    with pytest.raises(ValueError, match=f"has {WORDS} words, text.tokenizer makes {WORDS + 1}"):
        import_weights(config(tokenizer="bpe"), str(qwen.parent / "run"), str(qwen), None)


def test_byte_pairs_must_be_the_models_own(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    for name, order in (("a", letters), ("b", letters[::-1])):
        (tmp_path / name).mkdir()
        model = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(order)}, []))
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        model.save(str(tmp_path / name / "tokenizer.json"))
    text = {"tokenizer": "bpe", "languages": (), "alphabet": "", "vocabulary": str(tmp_path / "a" / "tokenizer.json")}
    assert shared_words(text, 257, tmp_path / "a") == Rows(256)
    with pytest.raises(ValueError, match=r"is not that of .*b: --config.text.vocabulary=.*b/tokenizer.json"):
        shared_words(text, 257, tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "holds a model of type 'llama': the LLM's decoder is a qwen3"),
        ({"attention_bias": True, "hidden_act": "gelu"}, "can't be: hidden_act 'gelu', attention_bias True"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "can't be: rope type 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "can't be: rope type 'linear'"),
        (
            {"num_hidden_layers": 3, "rms_norm_eps": 1e-5, "rope_parameters": None, "rope_theta": 5e5},
            r"layers 3 there, 1 here, rms_eps 1e-05 there, 1e-06 here, rope_theta 500000.0 there, 10000.0 here\): "
            r"--config.model.llm.layers=3 --config.model.llm.rms_eps=1e-05 --config.model.llm.rope_theta=500000.0",
        ),
    ],
)
def test_another_architecture_or_size_is_named(changes: dict[str, Any], message: str) -> None:
    ours = decoder(config())
    with pytest.raises(ValueError, match=message):
        qwen3.check({**qwen3.config(ours, WORDS, 64), **changes}, ours, "qwen")


def test_configs_of_older_transformers_are_read() -> None:
    ours = decoder(config())
    theirs = qwen3.config(ours, WORDS, 64)
    del theirs["rope_parameters"]
    qwen3.check({**theirs, "rope_scaling": None}, ours, "qwen")


# --- commands ---------------------------------------------------------------------------------------------------------


def run(repo_root: Path, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
    called = [sys.executable, "-m", f"e2etts_jax.{command}", *flags]
    return subprocess.run(called, cwd=repo_root, capture_output=True, text=True, timeout=550)


@pytest.mark.slow
def test_a_model_goes_out_and_comes_back(repo_root: Path, tmp_path: Path) -> None:
    export_model.save_run(tmp_path / "run")
    done = run(repo_root, "export_weights", f"--workdir={tmp_path}/run", f"--out={tmp_path}/out", "--dtype=bfloat16")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{tmp_path}/out: the LLM of stage tune, 0.1 MB in bfloat16, 97 ids: text 0..11, control 12..15, codes 16..96\n"
    )
    sizes = {f"model.llm.{name}": value for name, value in export_model.SIZE.items()}
    sizes |= {"model.llm.adapter_width": 24, "model.tokenizer.dims": 4, "text.alphabet": "' abcdefghij'"}
    flags = [f"--config=configs/joint.py:tiny,{','.join(f'{name}={value}' for name, value in sizes.items())}"]
    done = run(repo_root, "import_weights", *flags, f"--workdir={tmp_path}/back", f"--qwen3={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "  taken, as it is: text_embed, control, decoder/norm" in done.stdout
    back = load_items(str(tmp_path / "back" / "checkpoints" / "imported"), ["llm"])["llm"]
    first = load_items(str(tmp_path / "run" / "checkpoints" / "tune"), ["llm"])["llm"]
    assert np.array_equal(back["text_embed"], first["text_embed"].astype(ml_dtypes.bfloat16).astype(np.float32))
    done = run(
        repo_root, "import_weights", "--config=configs/joint.py", f"--workdir={tmp_path}/x", f"--qwen3={tmp_path}/out"
    )
    assert done.returncode == 1 and done.stderr.startswith(
        f"error: {tmp_path}/out was trained with another text.alphabet"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("export_weights", "--workdir=x"), "say which folder to write: --out=exported"),
        (("import_weights", "--config=configs/joint.py", "--workdir=x"), "say what to import: --qwen3=FOLDER"),
    ],
)
def test_mistakes_are_one_line(flags: tuple[str, ...], message: str, repo_root: Path) -> None:
    done = run(repo_root, *flags)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_what_is_not_there_and_what_is_in_the_way(qwen: Path, tmp_path: Path) -> None:
    export_model.save_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"no config.json in .*none: give the --workdir"):
        export_weights(str(tmp_path / "none"), None, tmp_path / "out", "float32")
    with pytest.raises(ValueError, match="no checkpoint of a stage 'joint' in .*; there is tune"):
        export_weights(str(tmp_path / "run"), "joint", tmp_path / "out", "float32")
    with pytest.raises(FileExistsError, match="run is not an empty folder: choose another --out"):
        export_weights(str(tmp_path / "run"), None, tmp_path / "run", "float32")
    with pytest.raises(FileExistsError, match="run is not an empty folder: choose another --workdir"):
        import_weights(config(), str(tmp_path / "run"), str(qwen), None)
    with pytest.raises(FileNotFoundError, match="no folder y"):
        import_weights(config(), str(tmp_path / "out"), "y", None)
    assert not (tmp_path / "out").exists()


def test_a_damaged_last_stage_is_passed_over(tmp_path: Path) -> None:
    export_model.save_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "chain").mkdir()
    assert "of stage tune" in export_weights(str(tmp_path / "run"), None, tmp_path / "out", "float32")
    with pytest.raises(FileNotFoundError, match="no usable checkpoint in .*chain"):
        export_weights(str(tmp_path / "run"), "chain", tmp_path / "other", "float32")
