"""Checkpoints that survive a kill, a flipped byte and a full disk.

`<directory>/<step>/` is one Orbax Composite: one item per top-level key of the state (so that one group can be
warm-started alone), an item `meta` (the caller's JSON and the dtype and shape of every leaf), and `manifest.json`, the
digest of every file. The manifest is written last: a step without one, or with a file that does not match, is not used,
because Orbax itself restores damaged bytes, and casts other dtypes, without a word.
"""

import contextlib
import errno
import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from e2etts_jax import processes

PyTree = Any
Items = dict[str, PyTree]
LeafSpecs = dict[str, str]  # "layer_0/kernel" -> "float32[8,16]"

MANIFEST = "manifest.json"
META = "meta"
UNFINISHED = "*.orbax-checkpoint-tmp*"

logger = logging.getLogger(__name__)


class Checkpointer:
    """Asynchronous writer and reader of one directory, and its only writer; other programs use load_items.

    In a multi-process run every process makes the same calls; process 0 verifies, writes the manifest and prunes.
    """

    def __init__(self, directory: str, *, keep: int):
        """Makes `directory` (local or gs://); the newest `keep` steps stay, one more while a save is under way."""
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
        """Starts saving. The arrays may be donated at once: what is saved are their values at the call.

        Accelerator arrays are copied before this returns; of CPU arrays Orbax holds views, for as long as JAX then
        ignores a donation (and needs a second buffer).

        Waits for the previous save first, and raises its error if it failed (a full disk: OSError with the directory).

        Args:
            step: larger than every step saved here, ValueError if not.
            items: name -> tree of jax arrays (typed PRNG keys as key data); a tree may be empty.
            meta: JSON, returned by restore as it is.
        """
        self.wait()
        for path, leaf in jax.tree_util.tree_flatten_with_path(items)[0]:
            # Others would come back changed: as jax arrays, 64-bit numpy even as 32-bit.
            if not isinstance(leaf, jax.Array) or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                kind = getattr(leaf, "dtype", "no array")
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise ValueError(f"{name} is a {type(leaf).__name__} ({kind}): save plain jax arrays only")
        specs = {name: _specs(tree) for name, tree in items.items()}
        try:
            stored_meta = json.loads(json.dumps({"meta": meta, "items": specs}))
        except TypeError as error:
            raise ValueError(f"the meta of a checkpoint must be JSON: {error}") from error
        path = self.directory / str(step)
        processes.first(lambda: self._make_room(path, step))
        # Orbax refuses trees without leaves; their specs are enough to bring them back.
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items() if specs[name]}
        with _explain_full_disk(self.directory):
            self._orbax.save(path, args=ocp.args.Composite(**args, **{META: ocp.args.JsonSave(stored_meta)}))
        self._thread = threading.Thread(target=self._finish, args=(path,), name="checkpoint_manifest")
        self._thread.start()

    def _make_room(self, path: epath.Path, step: int) -> None:
        newest = max(self.steps(), default=-1)
        if step <= newest:
            raise ValueError(f"can't save step {step}: {self.directory} holds step {newest}; move newer steps away")
        if path.exists():
            _move_aside(path, "it has no manifest")

    def _finish(self, path: epath.Path) -> None:
        """In the background: waits for Orbax's commit (of all processes), makes the step valid, removes old ones."""
        try:
            self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                _write_manifest(path)
                self._prune()
        except BaseException as error:  # raised by wait(), in the caller's thread
            self._error = error

    def _prune(self) -> None:
        """Removes what the newest `keep` steps make useless; called when no save is in flight."""
        oldest_kept = self.steps()[-self._keep :][0]
        for path in [self.directory / str(step) for step in _step_numbers(self.directory) if step < oldest_kept]:
            (path / MANIFEST).unlink(missing_ok=True)  # first, so that a half removed step is not taken for a good one
            path.rmtree()
        for path in self.directory.glob(UNFINISHED):
            path.rmtree()

    def wait(self) -> None:
        """Blocks until the last save is committed and has its manifest; raises everywhere if it failed on one."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            processes.agreed(self._raise_error)

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            with _explain_full_disk(self.directory):
                raise error

    def close(self) -> None:
        """Waits for the last save, raises if it failed, and ends Orbax's threads."""
        try:
            self.wait()
        finally:
            self._orbax.close()

    def steps(self) -> list[int]:
        """Finished steps, oldest first. Their bytes are verified by restore, not here."""
        return [step for step in _step_numbers(self.directory) if (self.directory / str(step) / MANIFEST).exists()]

    def restore(self, abstract_items: Items) -> tuple[int, Items, dict] | None:
        """Restores the newest good step; damaged ones are named in a warning and renamed to `<step>.damaged`.

        Args:
            abstract_items: every saved item: name -> tree of ShapeDtypeStruct (no sharding = the first local device).

        Returns:
            (step, items, meta), or None without a usable step. ValueError names the keys, shapes or dtypes that differ.
        """
        self.wait()
        step = processes.first(self._newest_good_step)
        return None if step < 0 else self._read(step, abstract_items)

    def _newest_good_step(self) -> int:
        for path in self.directory.glob(UNFINISHED):
            logger.warning("checkpoint %s can't be used: it is an unfinished save", path)
        for step in reversed(_step_numbers(self.directory)):
            damage = _find_damage(self.directory / str(step))
            if damage is None:
                return step
            _move_aside(self.directory / str(step), damage)
        return -1

    def _read(self, step: int, abstract_items: Items) -> tuple[int, Items, dict]:
        path = self.directory / str(step)
        specs, meta = _read_meta(path)
        if specs.keys() != abstract_items.keys():
            raise ValueError(f"checkpoint {path} has the items {sorted(specs)}, wanted {sorted(abstract_items)}")
        return step, _read_items(path, specs, abstract_items), meta


def load_items(directory: str, names: Iterable[str], abstract: Items | None = None, step: int | None = None) -> Items:
    """Reads some items of a checkpoint, for a warm start or for inference; changes nothing on disk.

    Several processes read it together: all make the call.

    Args:
        directory: as given to Checkpointer.
        names: items, such as "llm". Only their files are verified and read.
        abstract: name -> tree of ShapeDtypeStruct, as for restore. Without it: numpy arrays in dicts and lists.
        step: this step; by default the newest good one. FileNotFoundError if there is none.
    """
    root, names = epath.Path(directory).expanduser().resolve(), list(names)
    found = processes.first(lambda: _newest_usable(root, names, step))
    if found is None:
        raise FileNotFoundError(f"no usable checkpoint{'' if step is None else f' of step {step}'} in {root}")
    path = root / str(found)
    specs, _ = _read_meta(path)
    if not specs.keys() >= set(names):
        raise ValueError(f"checkpoint {path} has the items {sorted(specs)}, wanted {sorted(names)}")
    return _read_items(path, specs, {name: None if abstract is None else abstract[name] for name in names})


def saved_stages(workdir: str | epath.Path) -> list[str]:
    """Stages that have a folder of checkpoints."""
    root = epath.Path(workdir).expanduser() / "checkpoints"
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def load_last(
    workdir: str | epath.Path,
    run: Sequence[str],
    names: Sequence[str],
    abstract: dict[str, Any] | None = None,
    stage: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """The name and the items of a stage, by default of the last one of `run` that has a usable checkpoint.

    Several processes read it together: all make the call.

    Raises:
      FileNotFoundError: no usable checkpoint.
      ValueError: no such stage, or other items than `load_items` wants.
    """
    root = epath.Path(workdir).expanduser() / "checkpoints"
    saved = processes.first(lambda: saved_stages(workdir))
    if not saved:
        raise FileNotFoundError(f"no checkpoint in {root}: the run has not saved any yet")
    if stage is not None and stage not in saved:
        raise ValueError(f"no checkpoint of a stage {stage!r} in {root}; there is {', '.join(saved)}")
    for name in [stage] if stage else [name for name in reversed(run) if name in saved]:
        try:
            return name, load_items(str(root / name), names, abstract)
        except FileNotFoundError:  # nothing usable of this stage: the one before
            continue
    raise FileNotFoundError(f"no usable checkpoint in {root / stage if stage else root}")


def _newest_usable(root: epath.Path, names: list[str], step: int | None) -> int | None:
    newest_first = _step_numbers(root)[::-1] if root.is_dir() else []
    for candidate in newest_first if step is None else [step]:
        damage = _find_damage(root / str(candidate), names)
        if damage is None:
            return candidate
        logger.warning("checkpoint %s can't be used: %s", root / str(candidate), damage)
    return None


def _find_damage(path: epath.Path, names: Iterable[str] | None = None) -> str | None:
    """What is wrong with a step directory, None if nothing is; `names` limits the check to these items."""
    try:
        digests = json.loads((path / MANIFEST).read_text())
        for name, digest in digests.items():
            if (names is None or name.split("/")[0] in (META, *names)) and _digest(path / name) != digest:
                return f"{name} is not as it was written"
    except OSError as error:
        return str(error)
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
    target, copies = path.with_name(f"{path.name}.damaged"), 1
    while target.exists():
        copies += 1
        target = path.with_name(f"{path.name}.{copies}.damaged")
    logger.warning("checkpoint %s can't be used: %s; moved to %s", path, reason, target.name)
    path.rename(target)


def _step_numbers(directory: epath.Path) -> list[int]:
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


def _specs(tree: PyTree) -> LeafSpecs:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _read_meta(path: epath.Path) -> tuple[dict[str, LeafSpecs], dict]:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        stored = reader.restore(path / META, args=ocp.args.JsonRestore())
    return stored["items"], stored["meta"]


def _read_items(path: epath.Path, specs: dict[str, LeafSpecs], abstract_items: Items) -> Items:
    differences = []
    for name, abstract in abstract_items.items():
        wanted = specs[name] if abstract is None else _specs(abstract)
        for key in sorted(wanted.keys() | specs[name].keys()):
            stored_spec, wanted_spec = specs[name].get(key, "absent"), wanted.get(key, "absent")
            if stored_spec != wanted_spec:
                differences.append(f"{name}/{key} is {stored_spec}, wanted {wanted_spec}")
    if differences:
        shown = "; ".join(differences[:6])
        raise ValueError(
            f"checkpoint {path} is of another architecture than the config: take the one it was trained with "
            f"({len(differences)} differences: {shown})"
        )
    return {
        name: _read_item(path / name, abstract) if specs[name] else ({} if abstract is None else abstract)
        for name, abstract in abstract_items.items()
    }


def _read_item(path: epath.Path, abstract: PyTree | None) -> PyTree:
    if abstract is None:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            tree = ocp.PyTreeCheckpointHandler().metadata(path).tree
            numpy_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=numpy_args))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or here),
        abstract,
    )
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(path, args=ocp.args.StandardRestore(placed))


@contextlib.contextmanager
def _explain_full_disk(directory: epath.Path) -> Iterator[None]:
    """Turns the ways in which a full disk shows up (tensorstore: as text in a ValueError) into one OSError."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, "no space left on device for a checkpoint", str(directory)) from None
        raise
