"""HiFi-GAN's generator against the published code; see make_hifigan_golden.py."""

import collections
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from e2etts_jax.interop import hifigan, torch_file
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("hifigan_golden.npz")) as stored:
        return dict(stored)


def write(folder: Path, golden: dict[str, Any], age: str = "new", **changes: Any) -> Path:
    config = json.loads(str(golden["config"])) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))
    (folder / "generator").write_bytes(golden[age].tobytes())
    return folder / "generator"


@pytest.mark.parametrize("age", ["new", "old"])
def test_the_generator_is_the_published_one(golden: dict[str, Any], tmp_path: Path, age: str):
    config, mel, params = hifigan.read(write(tmp_path, golden, age))
    assert (config.hop, mel.hop, mel.sample_rate, mel.n_mels) == (8, 8, 8000, 80)
    model = Vocoder(config)
    made = jax.jit(model.apply)({"params": params}, golden["mel"])
    assert made.shape == (2, 88) and np.abs(golden["wav"]).max() < 0.999
    np.testing.assert_allclose(made, golden["wav"], atol=2e-6)
    fresh = jax.eval_shape(lambda *given: nn.unbox(model.init(*given)["params"]), jax.random.key(0), golden["mel"])
    assert jax.tree.map(lambda x: x.shape, fresh) == jax.tree.map(lambda x: x.shape, params)


def test_a_sample_depends_on_the_frames_within_reach(golden: dict[str, Any], tmp_path: Path):
    config, _, params = hifigan.read(write(tmp_path, golden))
    reach, rng = config.reach, np.random.default_rng(0)
    mel = jnp.asarray(rng.standard_normal((1, 2 * reach + 1, 80)), jnp.float32)
    slope = jax.grad(lambda mel, at: jnp.sum(Vocoder(config).apply({"params": params}, mel)[0, at]))
    first, last = reach * config.hop, (reach + 1) * config.hop - 1
    read = [np.flatnonzero(np.abs(slope(mel, at)[0]).sum(-1) > 0) for at in (first, last)]
    assert (read[0].min(), read[1].max()) in ((0, 2 * reach), (0, 2 * reach - 1), (1, 2 * reach)), "no frame too far"
    wide = jnp.pad(mel, ((0, 0), (9, 9), (0, 0)), constant_values=1.0)
    far = [np.flatnonzero(np.abs(slope(wide, at + 9 * config.hop)[0]).sum(-1) > 0) for at in (first, last)]
    assert far[0].min() >= 9 and far[1].max() <= 9 + 2 * reach


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resblock": "2"}, "residual blocks '2'"),
        ({"resblock_dilation_sizes": [[1, 3, 5], [1, 2, 5]]}, "differ between residual blocks"),
        ({"hop_size": 16}, "upsample_rates make 8 samples a frame, hop_size is 16"),
        ({"upsample_rates": "absent"}, "not HiFi-GAN's config.json: 'upsample_rates'"),
        ({"upsample_rates": [4, 2, 2], "upsample_kernel_sizes": [8, 4, 4], "hop_size": 16}, "has no weight 'ups.2"),
        ({"upsample_initial_channel": 32}, "is not the generator that .* describes: .* has shape"),
        ({"resblock_kernel_sizes": [3, 7]}, "is not the generator that .* describes: .* has shape"),
        ({"upsample_rates": [4, 3], "hop_size": 12, "n_fft": 36, "win_size": 36}, "longer by an even number"),
    ],
)
def test_other_generators_are_refused(golden: dict[str, Any], tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        hifigan.read(write(tmp_path, golden, **changes))


def test_missing_files_are_named(golden: dict[str, Any], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        hifigan.read(tmp_path / "generator")
    write(tmp_path, golden).unlink()
    with pytest.raises(FileNotFoundError, match="no file .*generator"):
        hifigan.read(tmp_path / "generator")


@pytest.mark.parametrize(
    ("rates", "kernels", "width"), [((8, 8), (16,), 64), ((4,), (7,), 64), ((4,), (2,), 64), ((2, 2), (4, 4), 6)]
)
def test_impossible_shapes_are_refused(rates: tuple, kernels: tuple, width: int):
    with pytest.raises(ValueError, match="kernels|halved"):
        VocoderConfig(width=width, rates=rates, kernels=kernels)


# --- checkpoints without PyTorch --------------------------------------------------------------------------------------


class Evil:
    def __init__(self, call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def zipped(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return buffer.getvalue()


@pytest.mark.parametrize("call", [(print, ("run",)), (eval, ("1 + 1",)), (Path, ("x",)), (collections.Counter, ())])
@pytest.mark.parametrize("old", [True, False])
def test_nothing_that_a_file_names_is_run(tmp_path: Path, call: Any, old: bool, capsys: pytest.CaptureFixture):
    pickled = pickle.dumps({"weight": Evil(call)}, protocol=2)
    head = b"".join(
        pickle.dumps(value, protocol=2)
        for value in (torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True, "type_sizes": {}})
    )
    (tmp_path / "evil").write_bytes(head + pickled + pickle.dumps([]) if old else zipped(pickled))
    with pytest.raises(ValueError, match="is not a PyTorch checkpoint of plain weights: it asks for"):
        torch_file.read(tmp_path / "evil")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("age", ["new", "old"])
def test_any_cut_is_an_error_and_no_other_weights(golden: dict[str, Any], tmp_path: Path, age: str):
    whole, file = golden[age].tobytes(), tmp_path / "cut"
    file.write_bytes(whole)
    *_, last = torch_file.read(file).values()  # the numbers of the last tensor end the old file
    for size in (
        0,
        1,
        100,
        len(whole) - last.nbytes,
        len(whole) // 3,
        len(whole) // 2,
        len(whole) - 60,
        len(whole) - 1,
    ):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
            torch_file.read(file)


def test_a_tensor_takes_no_numbers_but_its_own():
    numbers = torch_file._Storage(np.dtype("<f4"), 0)
    numbers.numbers = np.zeros(0, np.float32)
    one = torch_file._Storage(np.dtype("<f4"), 1)
    one.numbers = np.ones(1, np.float32)
    for tensor in [
        (numbers, 0, (1_000_000,), (1,)),
        (one, 0, (2**33,), (0,)),
        (one, 1, (1,), (1,)),
        (one, -1, (1,), (1,)),
    ]:
        with pytest.raises(ValueError, match="a tensor"):
            torch_file._Tensor(*tensor).array()
    assert torch_file._Tensor(numbers, 0, (3, 0), (0, 1)).array().shape == (3, 0)


@pytest.mark.parametrize("name", ["FloatStorage", "BFloat16Storage"])
def test_a_file_may_not_write_to_what_it_is_given(tmp_path: Path, name: str):
    before = torch_file.DTYPES[name].itemsize
    state = b"(K\x03U\x01<NNNK\x63K\x63K\x00tb"  # BUILD with what numpy's dtype takes as its state
    (tmp_path / "evil").write_bytes(zipped(b"\x80\x02ctorch\n" + name.encode() + b"\n" + state + b"."))
    with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
        torch_file.read(tmp_path / "evil")
    assert torch_file.DTYPES[name].itemsize == before


def test_both_ages_hold_the_same(golden: dict[str, Any], tmp_path: Path):
    (tmp_path / "new").write_bytes(golden["new"].tobytes())
    (tmp_path / "old").write_bytes(golden["old"].tobytes())
    new, old = torch_file.read(tmp_path / "new"), torch_file.read(tmp_path / "old")
    assert new.keys() == old.keys() and "generator.conv_pre.weight_v" in new
    assert all(np.array_equal(new[name], old[name]) for name in new)
