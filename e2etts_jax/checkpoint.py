"""Checkpoints that survive a kill, a flipped byte and a full disk.

`<directory>/<step>/` is one Orbax Composite: one item per top-level key of the state (so that one group can be
warm-started alone), an item `meta` (the caller's JSON and the shape and dtype of every leaf), and `manifest.json`, the
digest of every file. The manifest is written last: a step without one, or with a file that does not match, is not used,
because Orbax itself restores damaged bytes and other dtypes without a word.
"""

import contextlib
import errno
import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

PyTree = Any
Items = dict[str, PyTree]
LeafSpecs = dict[str, str]  # "llm/layers/kernel" -> "float32[8,16]"

MANIFEST = "manifest.json"
META = "meta"
DAMAGED_SUFFIX = ".damaged"
UNFINISHED_PATTERN = "*.orbax-checkpoint-tmp*"
MAX_KEYS_IN_MESSAGE = 6

logger = logging.getLogger(__name__)


class Checkpointer:
    """Asynchronous writer and reader of the checkpoints of one stage; exactly one per directory (readers: load_items).

    Every process of a multi-process run makes the same calls; process 0 alone verifies, writes the manifest and prunes.
    """

    def __init__(self, directory: str, *, keep: int):
        """Makes `directory` (absolute, relative or gs://) if needed; `keep` newest good steps stay on disk.

        Raises:
            ValueError: keep < 1.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}: at least one checkpoint must be kept")
        self.directory = epath.Path(directory).expanduser().resolve()
        self._keep = keep
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        with _explain_full_disk(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())

    def save(self, step: int, items: Items, meta: dict) -> None:
        """Starts saving; returns once the arrays are copied, so donating them afterwards is safe.

        Waits for the previous save, and raises its error if it failed.

        Args:
            step: larger than every step saved here.
            items: name -> tree of jax or numpy arrays (typed PRNG keys as key data); a tree may be empty.
            meta: JSON, returned by restore as it is.

        Raises:
            ValueError: the step is not newer than the newest one, meta is not JSON, or a leaf is not an array.
            OSError: no space left on the device; the text names the directory.
        """
        self.wait()
        specs = {name: _array_specs(name, tree) for name, tree in items.items()}
        try:
            stored_meta = json.loads(json.dumps({"meta": meta, "items": specs}))
        except TypeError as error:
            raise ValueError(f"meta of a checkpoint must be JSON: {error}") from error
        newest = max(self.steps(), default=-1)
        if step <= newest:
            raise ValueError(
                f"{self.directory} already holds step {newest}, refusing to save step {step}: "
                "move the newer steps away to train on from an older one"
            )
        path = self.directory / str(step)
        if path.exists() and jax.process_index() == 0:
            _move_aside(path, "it was never finished")
        # Orbax refuses trees without leaves; `specs` is enough to bring them back.
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items() if specs[name]}
        with _explain_full_disk(self.directory):
            self._orbax.save(path, args=ocp.args.Composite(**args, **{META: ocp.args.JsonSave(stored_meta)}))
        self._thread = threading.Thread(target=self._finish, args=(path,), name="checkpoint_manifest")
        self._thread.start()

    def _finish(self, path: epath.Path) -> None:
        """Background: waits for Orbax's commit (all processes), then makes the step valid and removes old ones."""
        try:
            self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                _write_manifest(path)
                self._prune()
        except BaseException as error:  # raised again by wait(), in the caller's thread
            self._error = error

    def _prune(self) -> None:
        """Removes what the `keep` newest good steps make useless. Only the writer may: no other save is in flight."""
        oldest_kept = self.steps()[-self._keep :][0]
        for step in _step_numbers(self.directory):
            if step < oldest_kept:
                path = self.directory / str(step)
                (path / MANIFEST).unlink(missing_ok=True)  # first, so that a half removed step is not taken for good
                path.rmtree()
        for path in self.directory.glob(UNFINISHED_PATTERN):
            path.rmtree()

    def wait(self) -> None:
        """Blocks until the last save is committed and has its manifest; raises the error if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            with _explain_full_disk(self.directory):
                raise error

    def close(self) -> None:
        """Waits for the last save and frees Orbax's threads."""
        try:
            self.wait()
        finally:
            self._orbax.close()

    def steps(self) -> list[int]:
        """Finished steps, oldest first. Their bytes are checked by restore, not here."""
        return [step for step in _step_numbers(self.directory) if (self.directory / str(step) / MANIFEST).exists()]

    def restore(self, abstract_items: Items) -> tuple[int, Items, dict] | None:
        """Restores the newest good step; damaged ones are named in a warning and renamed to `<step>.damaged`.

        Args:
            abstract_items: every item that was saved -> tree of ShapeDtypeStruct with its sharding.

        Returns:
            (step, items, meta), or None when there is no usable step.

        Raises:
            ValueError: the checkpoint has other keys, shapes or dtypes (another architecture).
        """
        self.wait()
        step = self._newest_good_step() if jax.process_index() == 0 else -1
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        return None if step < 0 else self._read(step, abstract_items)

    def _newest_good_step(self) -> int:
        for path in sorted(self.directory.glob(UNFINISHED_PATTERN)):
            logger.warning("checkpoint %s is an unfinished save: not used", path)
        for step in reversed(_step_numbers(self.directory)):
            path = self.directory / str(step)
            damage = find_damage(path)
            if damage is None:
                return step
            _move_aside(path, damage)
        return -1

    def restore_step(self, step: int, abstract_items: Items) -> tuple[int, Items, dict]:
        """As restore, for this step only.

        Raises:
            ValueError: the step is missing or damaged, or does not fit `abstract_items`.
        """
        self.wait()
        damage = find_damage(self.directory / str(step))
        if damage is not None:
            raise ValueError(f"checkpoint {self.directory / str(step)} can't be used: {damage}")
        return self._read(step, abstract_items)

    def _read(self, step: int, abstract_items: Items) -> tuple[int, Items, dict]:
        path = self.directory / str(step)
        specs, meta = _read_meta(path)
        missing, extra = sorted(abstract_items.keys() - specs.keys()), sorted(specs.keys() - abstract_items.keys())
        if missing or extra:
            raise ValueError(f"checkpoint {path} does not fit: it lacks the items {missing} and has {extra} besides")
        return step, _read_items(path, specs, abstract_items), meta


def load_items(directory: str, names: Iterable[str], abstract: Items | None = None, step: int | None = None) -> Items:
    """Reads some items of a checkpoint, for a warm start or for inference; changes nothing on disk.

    Args:
        directory: what Checkpointer was given.
        names: items, such as "llm". Only their files are verified and read.
        abstract: name -> tree of ShapeDtypeStruct with sharding. Without it: host numpy arrays in dicts and lists.
        step: this step, or the newest good one.

    Raises:
        FileNotFoundError: no usable step.
        ValueError: the step lacks an item, or an item does not fit `abstract`.
    """
    root, names = epath.Path(directory).expanduser().resolve(), list(names)
    candidates = [step] if step is not None else reversed(_step_numbers(root) if root.is_dir() else [])
    for candidate in candidates:
        path = root / str(candidate)
        damage = find_damage(path, names)
        if damage is not None:
            logger.warning("checkpoint %s can't be used: %s", path, damage)
            continue
        specs, _ = _read_meta(path)
        unknown = sorted(set(names) - specs.keys())
        if unknown:
            raise ValueError(f"checkpoint {path} has no items {unknown}; it has {sorted(specs)}")
        return _read_items(path, specs, {name: abstract[name] if abstract else None for name in names})
    raise FileNotFoundError(f"no usable checkpoint{'' if step is None else f' of step {step}'} in {root}")


def find_damage(path: epath.Path, names: Iterable[str] | None = None) -> str | None:
    """Says what is wrong with a step directory (only the files of `names` are read if given); None if it is good."""
    try:
        digests = json.loads((path / MANIFEST).read_text())
        wanted = None if names is None else {META, *names}
        for name, digest in digests.items():
            if (wanted is None or name.split("/")[0] in wanted) and _digest(path / name) != digest:
                return f"{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{error.filename or error} is missing"
    except (ValueError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None


def _write_manifest(path: epath.Path) -> None:
    files = sorted(root / name for root, _, names in path.walk() for name in names)
    temporary = path / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps({str(file.relative_to(path)): _digest(file) for file in files}, indent=0))
    temporary.replace(path / MANIFEST)


def _digest(path: epath.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move_aside(path: epath.Path, reason: str) -> None:
    target, count = path.with_name(path.name + DAMAGED_SUFFIX), 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.{count}{DAMAGED_SUFFIX}")
    logger.warning("checkpoint %s can't be used: %s; moved to %s", path, reason, target.name)
    path.rename(target)


def _step_numbers(directory: epath.Path) -> list[int]:
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


def _specs(tree: PyTree) -> LeafSpecs:
    def describe(leaf: Any) -> str:
        return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): describe(leaf) for path, leaf in leaves}


def _array_specs(name: str, tree: PyTree) -> LeafSpecs:
    """Like _specs, refusing what would not come back as it was."""
    if name in (META, MANIFEST) or "/" in name:
        raise ValueError(f"{name!r} can't be the name of an item")
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        is_array = isinstance(leaf, jax.Array | np.ndarray)
        if not is_array or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} is a {type(leaf).__name__}: save plain arrays only")
    return _specs(tree)


def _read_meta(path: epath.Path) -> tuple[dict[str, LeafSpecs], dict]:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        stored = reader.restore(path / META, args=ocp.args.JsonRestore())
    return stored["items"], stored["meta"]


def _read_items(path: epath.Path, specs: dict[str, LeafSpecs], abstract_items: Items) -> Items:
    differences = []
    for name, abstract in abstract_items.items():
        wanted, stored = specs[name] if abstract is None else _specs(abstract), specs[name]
        for key in sorted(wanted.keys() | stored.keys()):
            if wanted.get(key) != stored.get(key):
                differences.append(f"{name}/{key} is {stored.get(key, 'absent')}, wanted {wanted.get(key, 'absent')}")
    if differences:
        more = len(differences) - MAX_KEYS_IN_MESSAGE
        listing = "; ".join(differences[:MAX_KEYS_IN_MESSAGE]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(f"checkpoint {path} does not fit: {listing}")
    return {name: _read_item(path / name, specs[name], abstract) for name, abstract in abstract_items.items()}


def _read_item(path: epath.Path, specs: LeafSpecs, abstract: PyTree | None) -> PyTree:
    if not specs:
        return {} if abstract is None else abstract
    if abstract is not None:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            return reader.restore(path, args=ocp.args.StandardRestore(abstract))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = ocp.PyTreeCheckpointHandler().metadata(path).tree
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=restore_args))


@contextlib.contextmanager
def _explain_full_disk(directory: epath.Path) -> Iterator[None]:
    """Turns the many ways in which a full disk shows up (also as text inside other errors) into one OSError."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if getattr(cause, "errno", None) == errno.ENOSPC or "No space left on device" in str(cause):
                raise OSError(errno.ENOSPC, "no space left on device for a checkpoint", str(directory)) from error
            cause = cause.__cause__ or cause.__context__
        raise
