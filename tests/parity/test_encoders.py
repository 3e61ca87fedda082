"""Parts of imported speech encoders against the same parts in transformers; see make_encoders_golden.py."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from e2etts_jax.interop import folder
from e2etts_jax.interop.encoders import tokenizer_params
from e2etts_jax.interop.report import Report
from e2etts_jax.models import layers
from e2etts_jax.models.conformer import ConvModule, FeedForward
from e2etts_jax.models.tokenizer import Tokenizer, TokenizerConfig

pytestmark = pytest.mark.parity

MELS = 16
CONFIG = TokenizerConfig(layers=2, width=32, heads=4, ff=48, kernel=5, dims=4, q_width=8)
FAMILIES = ("whisper", "wav2vec2-conformer", "wav2vec2-bert")


def golden(name: str) -> dict[str, Any]:
    with np.load(Path(__file__).with_name(f"{name}_golden.npz")) as stored:
        return dict(stored)


def write(path: Path, stored: dict[str, Any]) -> Path:
    tensors = {k.removeprefix("weights/"): v for k, v in stored.items() if k.startswith("weights/")}
    folder.write(path, tensors, {"config.json": json.loads(str(stored["config"]))})
    return path


def fresh(config: TokenizerConfig = CONFIG, mels: int = MELS) -> dict[str, Any]:
    model = Tokenizer(config)
    return nn.unbox(model.init(jax.random.key(0), jnp.zeros((1, 8, mels)), jnp.ones((1, 8), bool)))["params"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any, Report]:
    """Name, golden, imported parameters, report."""
    stored = golden(request.param)
    source = folder.Folder(write(tmp_path_factory.mktemp("encoder"), stored))
    return request.param, stored, *tokenizer_params(source, CONFIG, MELS, fresh())


def second_block(params: Any, name: str) -> dict[str, Any]:
    return {"params": jax.tree.map(lambda x: x[1], params["encoder"]["blocks"][name])}


def far(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - b).max())


def test_feed_forwards_are_theirs(family: tuple[str, Any, Any, Report]) -> None:
    """To rounding where theirs is swish too; GELU to what swish can be of it."""
    name, stored, params, _ = family
    feed_forward = FeedForward(CONFIG.conformer, jnp.float32)
    if name == "whisper":  # added whole there, by half here
        made = 0.5 * feed_forward.apply(second_block(params, "ff_out"), stored["x"])
        assert far(made, stored["ff_out"]) < 0.05 < 0.2 < np.abs(stored["ff_out"]).max()
        return
    for part in ("ff_in", "ff_out"):
        assert far(feed_forward.apply(second_block(params, part), stored["x"]), stored[part]) < 1e-4


def test_convolutions_are_theirs_as_far_as_they_can(family: tuple[str, Any, Any, Report]) -> None:
    name, stored, params, _ = family
    x, mask = stored["x"], jnp.ones(stored["x"].shape[:2], bool)
    block = second_block(params, "conv")
    if name == "wav2vec2-bert":  # without the taps that ours does not reach back to
        assert far(ConvModule(CONFIG.conformer, jnp.float32).apply(block, x, mask), stored["conv"]) < 1e-4
    if name == "wav2vec2-conformer":  # BatchNorm, if LayerNorm found zero mean and unit variance
        p = block["params"]
        inner = nn.glu(layers.layer_norm(jnp.float32).apply({"params": p["norm"]}, x) @ p["up"]["kernel"])
        made = np.asarray(layers.DepthwiseConv(CONFIG.kernel, jnp.float32).apply({"params": p["depthwise"]}, inner))
        assert far(made * p["conv_norm"]["scale"] + p["conv_norm"]["bias"], stored["batch_norm"]) < 1e-4
    if name == "whisper":
        assert not np.any(block["params"]["down"]["kernel"])
        halved = layers.Subsample(CONFIG.width, jnp.float32).apply(
            {"params": params["subsample_1"]}, stored["frames"], jnp.ones((2, 18), bool)
        )
        assert far(halved, stored["half"]) < 1e-3  # tanh's GELU


def test_every_parameter_is_taken_or_told_to_be_fresh(family: tuple[str, Any, Any, Report]) -> None:
    name, stored, params, report = family
    before, after = (traverse_util.flatten_dict(tree, sep="/") for tree in (fresh(), params))
    assert {n: v.shape for n, v in after.items()} == {n: v.shape for n, v in before.items()}
    assert set(report.taken) | set(report.fresh) == set(after) and not set(report.taken) & set(report.fresh)
    changed = {n for n in after if not np.array_equal(before[n], after[n])}
    zero = {f"encoder/blocks/{branch}/down/kernel" for branch in ("ff_in", "conv")} if name == "whisper" else set()
    still = {n for n in report.taken if not np.any(after[n])}  # zero before and after: biases that theirs lacks
    assert changed - zero == set(report.taken) - still
    assert all(n.endswith("/bias") for n in still)
    deeper = {n for n, why in report.unused.items() if "deeper" in why}
    assert deeper and all(".layers.2." in n for n in deeper)
    assert any("outside" in why for why in report.unused.values())


def test_the_report_reads_well(family: tuple[str, Any, Any, Report]) -> None:
    name, _, _, report = family
    text = "\n".join(report.lines("tokenizer"))
    assert text.startswith("tokenizer from ") and f"({name}, 2 of 3 layers)" in text
    assert "taken, as a start: positions enter its attention in another way: encoder/blocks/attention/query" in text
    assert "fresh, FSQ, which theirs has not: down, up" in text
    assert max(map(len, text.splitlines())) < 600


@pytest.mark.parametrize("name", FAMILIES)
def test_what_does_not_fit_is_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, golden(name))
    config = dataclasses.replace(CONFIG, layers=4, width=64, ff=32)
    with pytest.raises(ValueError, match=r"layers 3 there, 4 here, width 32 there, 64 here, ff 48 there.*\.ff=48"):
        tokenizer_params(folder.Folder(path), config, MELS, {})


def test_parts_that_do_not_fit_stay_fresh(tmp_path: Path) -> None:
    """Another kernel of the depthwise convolution, other mel bins: the rest is taken all the same."""
    config, mels = dataclasses.replace(CONFIG, kernel=7), 12
    for name, part, why in (
        ("wav2vec2-bert", "encoder/blocks/conv/depthwise/kernel", "(5, 32) there, (7, 32) here"),
        ("whisper", "subsample_0/conv/kernel", "no convolution of this shape there"),
    ):
        before = fresh(config, mels)
        params, report = tokenizer_params(folder.Folder(write(tmp_path / name, golden(name))), config, mels, before)
        assert report.fresh[part] == why
        kept = (traverse_util.flatten_dict(tree, sep="/")[part] for tree in (before, params))
        assert np.array_equal(*kept)
        assert "encoder/blocks/attention/query/kernel" in report.taken


def test_another_family_is_refused(tmp_path: Path) -> None:
    stored = golden("whisper")
    stored["config"] = np.array('{"model_type": "hubert"}')
    with pytest.raises(ValueError, match="type 'hubert'; encoders are read of wav2vec2-conformer"):
        tokenizer_params(folder.Folder(write(tmp_path, stored)), CONFIG, MELS, {})
