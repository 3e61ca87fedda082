"""What a run writes besides checkpoints, with its folder in a bucket."""

import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from ml_collections import ConfigDict

from e2etts_jax import metrics, workdir
from e2etts_jax.bucket import Mirror
from e2etts_jax.checkpoint import saved_stages
from e2etts_jax.metrics import MetricsWriter

RUN = "gs://mine/run"


class Bucket(MemoryFileSystem):
    """Objects in memory, under the names of a bucket; like a bucket it knows no appending."""

    store: dict = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("gs://", "memory://"))

    def _open(self, path, mode="rb", **kwargs):
        assert mode in ("rb", "wb"), f"a bucket can't open {path} with {mode!r}"
        return super()._open(path, mode, **kwargs)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket()
    made.store.clear()
    monkeypatch.setattr(backend._FileSystemSpecBackend, "fs", lambda self, path: made)
    return made


def lines() -> list[tuple[str, int]]:
    read = map(json.loads, epath.Path(f"{RUN}/metrics.jsonl").read_text().splitlines())
    return [(line["stage"], line["step"]) for line in read]


def test_metrics_go_on_in_a_bucket_where_a_save_left_them(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    writer = MetricsWriter(RUN)
    local = writer._mirror.local
    writer.scalars({"loss/a": 1.0}, 1, "joint")
    writer.audio("synthesis/0", np.zeros(100, np.float32), 8000, 1, "joint")
    assert not epath.Path(f"{RUN}/metrics.jsonl").exists()
    writer.push()
    assert lines() == [("joint", 1)]
    writer.scalars({"loss/a": 1.0}, 2, "joint")  # lost with the machine: it was not copied
    lost = MetricsWriter(RUN)
    lost.truncate(1, "joint")
    monkeypatch.setattr(metrics, "PUSH_EVERY", 0.0)
    lost.scalars({"val/a": 2.0}, 2, "joint")
    assert lines() == [("joint", 1), ("joint", 2)] and lost.has("joint", "val/") and not lost.has("tune", "val/")
    lost.close()
    writer.close()
    events = [path.read_bytes() for path in epath.Path(f"{RUN}/tb/joint").iterdir()]
    assert len(events) == 2 and any(b"synthesis/0" in content for content in events)
    assert not local.exists()


def test_a_copy_that_fails_is_made_the_next_time(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog):
    mirror = Mirror(RUN)
    (mirror.local / "a").write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "_open", lambda *_, **__: (_ for _ in ()).throw(TimeoutError("no answer")))
        assert not mirror.push()
    assert "a can't be copied to gs://mine/run now: no answer" in caplog.text
    assert mirror.push() and epath.Path(f"{RUN}/a").read_text() == "1"
    mirror.close()


def test_a_folder_on_a_disk_is_its_own_mirror(tmp_path: Path):
    mirror = Mirror(str(tmp_path))
    assert mirror.local == tmp_path and mirror.push() and not mirror.due(0.0)
    mirror.close()
    assert tmp_path.exists()


def test_a_bucket_is_claimed_like_a_folder(bucket: Bucket):
    config = ConfigDict({"seed": 0, "log_every": 1})
    workdir.claim(RUN, config)
    config.seed = 1
    workdir.claim(RUN, config)  # nothing is logged yet
    epath.Path(f"{RUN}/metrics.jsonl").write_text("{}\n")
    config.log_every = 2
    workdir.claim(RUN, config)
    config.seed = 2
    with pytest.raises(ValueError, match=r"gs://mine/run belongs to another config \(different: seed\)"):
        workdir.claim(RUN, config)
    assert json.loads(epath.Path(f"{RUN}/config.json").read_text()) == {"seed": 1, "log_every": 2}
    epath.Path(f"{RUN}/checkpoints/joint/2/manifest.json").write_text("{}")
    assert saved_stages(RUN) == ["joint"] and saved_stages("gs://mine/other") == []
