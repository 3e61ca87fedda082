"""Files of a run whose folder is in a bucket (gs://...), where a file can be written whole, but not appended to."""

import logging
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from etils import epath

logger = logging.getLogger(__name__)


def is_remote(path: str | os.PathLike) -> bool:
    """Is it in a bucket?"""
    return "://" in os.fspath(path)


def write(path: epath.Path, content: bytes) -> None:
    """Writes all of a file or nothing."""
    if is_remote(path):  # a bucket does so by itself
        path.write_bytes(content)
        return
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    part.write_bytes(content)
    part.replace(path)


class Mirror:
    """A folder on this machine, for files that grow. If it stands for one in a bucket, `push` copies what has changed.

    Attributes:
      local: where to write.
    """

    def __init__(self, folder: str) -> None:
        self._remote = epath.Path(folder) if is_remote(folder) else None
        self.local = Path(tempfile.mkdtemp(prefix="e2etts_jax-")) if self._remote else Path(folder)
        self._copied: dict[Path, tuple[int, int]] = {}
        self._pushed = time.monotonic()

    def fetch(self, name: str) -> None:
        """Brings one file from the bucket, if it is there."""
        if self._remote is not None and (self._remote / name).exists():
            (self.local / name).write_bytes((self._remote / name).read_bytes())

    def due(self, every: float) -> bool:
        """Is there a bucket, and was the last push longer ago than `every` seconds?"""
        return self._remote is not None and time.monotonic() - self._pushed > every

    def push(self) -> bool:
        """Copies what has changed, and says whether all of it arrived: what did not is copied the next time."""
        self._pushed, arrived = time.monotonic(), True
        if self._remote is None:
            return arrived
        for path in sorted(path for path in self.local.rglob("*") if path.is_file()):
            stat, name = path.stat(), path.relative_to(self.local)
            stamp = (stat.st_size, stat.st_mtime_ns)
            if self._copied.get(name) == stamp:
                continue
            try:
                (self._remote / name).parent.mkdir(parents=True, exist_ok=True)
                (self._remote / name).write_bytes(path.read_bytes())
                self._copied[name] = stamp
            except Exception as error:  # whatever the bucket's client raises: it must not end a run
                logger.warning("%s can't be copied to %s now: %s", name, self._remote, error)
                arrived = False
        return arrived

    def close(self) -> None:
        """Copies the rest; what can't be copied stays where a warning says."""
        if self._remote is None:
            return
        if self.push():
            shutil.rmtree(self.local)
        else:
            logger.warning("what is not in %s lies in %s", self._remote, self.local)
