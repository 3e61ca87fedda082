"""The whole LLM against transformers, both ways; make_llm_golden.py says where the numbers come from."""

import json
from pathlib import Path
from typing import Any

import export_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.interop import folder, llm_export
from e2etts_jax.interop.llm_import import Rows, llm_params
from e2etts_jax.models.llm import LLM, LLMConfig
from e2etts_jax.weights import export_weights

pytestmark = pytest.mark.parity

THEIRS = LLMConfig(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ff=48, rope_theta=1e6, adapter_width=8)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("llm_golden.npz")) as stored:
        return dict(stored)


def tensors(golden: dict[str, Any], whose: str) -> dict[str, np.ndarray]:
    prefix = f"{whose}/weights/"
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    workdir = tmp_path_factory.mktemp("parity") / "run"
    return workdir, export_model.save_run(workdir)


@pytest.fixture(scope="module")
def exported(run: tuple[Path, dict[str, Any]]) -> Path:
    export_weights(str(run[0]), None, run[0].with_name("exported"), "float32")
    return run[0].with_name("exported")


# --- in ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tied Qwen3 of 40 words, which our tokeniser numbers from 1, with one tag behind them."""
    path = tmp_path_factory.mktemp("qwen3")
    folder.write(path, tensors(golden, "theirs"), {"config.json": json.loads(str(golden["theirs/config"]))})
    codebook = jax.random.normal(jax.random.key(1), (81, 16))
    return llm_params(folder.Folder(path), LLM(THEIRS, 42, 81), Rows(40), codebook, 0)[0]


def test_logits_of_an_imported_qwen3_agree(golden: dict[str, Any], imported: dict[str, Any]) -> None:
    """Words go in through our ids and rows; the logits are over the same rows, because theirs are tied."""
    words, llm = golden["theirs/words"], LLM(THEIRS, 42, 81)
    x = jnp.take(imported["text_embed"], words + 1, axis=0)
    size = words.shape[1]
    positions = jnp.broadcast_to(jnp.arange(size), words.shape)
    mask = jnp.broadcast_to(jnp.tril(jnp.ones((size, size), bool)), (2, size, size))
    hidden, _ = llm.apply({"params": imported}, x, positions, mask, method=lambda m, *args: m.decoder(*args))
    logits = np.asarray(hidden) @ imported["text_embed"][1:41].T
    assert np.abs(logits - golden["theirs/logits"]).max() < 1e-4


def test_fresh_rows_are_as_large_as_words(imported: dict[str, Any]) -> None:
    def rms(x: Any) -> float:
        return float(np.sqrt(np.mean(np.square(x))))

    llm, codebook = LLM(THEIRS, 42, 81), jax.random.normal(jax.random.key(1), (81, 16))
    codes = llm.apply({"params": imported}, codebook, method=LLM.table)[:-1]
    words = rms(imported["text_embed"][1:41])
    assert rms(codes) == pytest.approx(words, rel=1e-3)
    for rows in (imported["control"], imported["text_embed"][:1], imported["text_embed"][41:]):
        assert rms(rows) == pytest.approx(words, rel=0.5)  # few numbers


# --- out --------------------------------------------------------------------------------------------------------------


def test_the_golden_was_made_of_this_export(golden: dict[str, Any], exported: Path) -> None:
    wanted, found = tensors(golden, "ours"), folder.Folder(exported)
    assert wanted.keys() == set(found)
    assert all(np.abs(found[name] - value).max() < 1e-6 for name, value in wanted.items())
    for name in ("config", "generation_config", "e2etts"):
        assert json.loads(str(golden[f"ours/{name}"])) == folder.read_json(exported / f"{name}.json")


def test_logits_agree_with_the_exported_model(golden: dict[str, Any], run: tuple[Path, dict[str, Any]]) -> None:
    """A batch padded in the middle here, single rows there."""
    for i, ours in enumerate(export_model.logits(export_model.model(), run[1])):
        assert ours.shape == golden[f"ours/logits/{i}"].shape
        assert np.abs(ours - golden[f"ours/logits/{i}"]).max() < 1e-4


def test_greedy_ids_agree_with_the_exported_model(golden: dict[str, Any], run: tuple[Path, dict[str, Any]]) -> None:
    ids = llm_export.Ids(export_model.TEXT_VOCAB, 81)
    lengths = set()
    for i, ours in enumerate(export_model.greedy(export_model.model(), run[1])):
        theirs = golden[f"ours/greedy/{i}"].tolist()
        assert [ids.speech + code for code in ours] == [made for made in theirs if made != ids.end]
        lengths.add(len(ours))
    assert 0 < min(lengths) < max(lengths) == export_model.INFER["max_tokens"]  # one ended, one was cut


@pytest.mark.parametrize("adapter", ["mlp", "linear", "table"])
def test_an_export_comes_back_bit_by_bit(adapter: str, tmp_path: Path) -> None:
    saved = export_model.save_run(tmp_path / "run", adapter)
    export_weights(str(tmp_path / "run"), export_model.STAGE, tmp_path / "out", "float32")
    model = export_model.model(adapter)
    back, report = llm_params(folder.Folder(tmp_path / "out"), model, Rows(0), export_model.codebook(saved), 0)
    wanted = dict(jax.tree_util.tree_leaves_with_path(saved["llm"]))
    found = dict(jax.tree_util.tree_leaves_with_path(back))
    assert wanted.keys() == found.keys()
    adapters = {path for path in wanted if path[0].key == "speech"}
    same = {path for path in wanted if np.array_equal(wanted[path], found[path])}
    assert same == (set(wanted) if adapter == "table" else set(wanted) - adapters)
    assert bool(report.fresh) == (adapter != "table")  # what does not come back is told


def test_half_precision_is_rounding_alone(exported: Path, run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    export_weights(str(run[0]), None, tmp_path / "out", "bfloat16")
    whole, half = folder.Folder(exported), folder.Folder(tmp_path / "out")
    assert (tmp_path / "out" / folder.WEIGHTS).stat().st_size < 0.6 * (exported / folder.WEIGHTS).stat().st_size
    assert folder.read_json(tmp_path / "out" / "config.json")["dtype"] == "bfloat16"
    for name in whole:
        assert np.all(np.abs(half[name] - whole[name]) <= 2.0**-8 * np.abs(whole[name])), name
