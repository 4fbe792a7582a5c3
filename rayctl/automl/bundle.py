"""The model bundle: one zip file that holds a fitted model and everything needed to predict with it.

Layout: ``manifest.json`` (format, version, kind, ``info`` of the engine, library versions, and for every
member its size, sha256 and how it is stored) plus the members. How a member is stored (`Member.stored`):

- ``raw``, ``json``, ``arrow``, ``lightgbm``, ``catboost``: data only; the engine that wrote it reads it.
- ``arrays``: named numpy arrays of numbers (`dump_arrays`, `load_arrays`).
- ``bundle``: another bundle. Ensembles keep each of their models as it came out of its task.
- ``skops``: an object of scikit-learn in skops' format, restricted to the fixed list `ALLOWED_TYPES`.
- ``pickle``: an object of any other class (cloudpickle). Reading it runs code of whoever wrote it, so
  `load_object` refuses it unless the caller says that it knows where the bundle comes from.

Reading never trusts sizes or types that a file claims: they are checked before anything is allocated or built.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rayctl.automl import own_classes
from rayctl.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ALLOWED_TYPES",
    "DAMAGED",
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_BYTES",
    "Bundle",
    "Member",
    "dump_arrays",
    "dump_object",
    "load_arrays",
    "load_object",
    "read_bundle",
    "write_bundle",
]

FORMAT = "rayctl-model"
FORMAT_VERSION = 2
"""Version 2 added the kinds ``arrays``, ``bundle`` and ``catboost`` of members; version 1 is still read."""
MAX_BYTES = 4 * 2**30
"""Default upper bound of what a bundle may unpack to, in bytes."""

DAMAGED = "Download the model again; if that does not help, train it again."
"""What to do about a bundle that cannot be used."""

_MAX_MEMBERS = 10_000
_PACKED = frozenset({"arrays", "bundle", "skops"})  # compressed inside; a second time would only cost time
_SMALL = 2048
"""Bytes up to which a part is not compressed: that would take longer than all else that is done with it."""
_MANIFEST = "manifest.json"
_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, OSError)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed, so that equal members give equal bytes
_LIBRARIES = ("rayctl", "numpy", "scikit-learn", "lightgbm", "catboost", "skops", "statsforecast", "pyarrow")

_NUMPY_NAMES = (
    *("ndarray", "dtype", "bool", "bool_", "str_", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)

ALLOWED_TYPES: frozenset[str] = frozenset(
    [f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")]
    + [f"numpy.{name}" for name in _NUMPY_NAMES]
    + [
        "numpy.random.mtrand.RandomState",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.linear_model._base.LinearRegression",
        "sklearn.linear_model._coordinate_descent.ElasticNet",
        "sklearn.linear_model._coordinate_descent.Lasso",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.neighbors._classification.KNeighborsClassifier",
        "sklearn.neighbors._regression.KNeighborsRegressor",
        "sklearn.neural_network._multilayer_perceptron.MLPClassifier",
        "sklearn.neural_network._multilayer_perceptron.MLPRegressor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.preprocessing._label.LabelBinarizer",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.tree._tree.Tree",
    ]
)
"""The only types that a ``skops`` member may name. Functions, methods and ``__reduce__`` nodes are never allowed."""

_ALLOWED_NODES = frozenset(
    f"{kind}Node" for kind in ("Dict", "Json", "List", "NdArray", "Object", "RandomState", "Tree", "Tuple", "Type")
)


@dataclass(frozen=True)
class Member:
    """One part of a bundle: its bytes and how they are stored (see the module's text)."""

    data: bytes = field(repr=False)
    stored: str = "raw"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: ``kind`` (``tabular`` or ``forecasting``), the engine's ``info`` (JSON), the members."""

    kind: str
    info: dict[str, Any]
    members: dict[str, Member]
    versions: dict[str, str] = field(default_factory=dict)


def write_bundle(kind: str, info: Mapping[str, Any], members: Mapping[str, Member]) -> bytes:
    """Return the bytes of a bundle. ``info`` must be JSON; equal arguments give equal bytes.

    Raises:
        ValueError: a member has the manifest's name.
    """
    if _MANIFEST in members:
        raise ValueError(f"{_MANIFEST} is not a member name")
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": kind,
        "info": dict(info),
        "versions": _versions(),
        "members": {
            name: {"sha256": sha256(member.data).hexdigest(), "bytes": len(member.data), "stored": member.stored}
            for name, member in sorted(members.items())
        },
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        text = json.dumps(manifest, sort_keys=True, allow_nan=False).encode()
        archive.writestr(_entry(_MANIFEST, packed=len(text) <= _SMALL), text)
        for name, member in sorted(members.items()):
            packed = member.stored in _PACKED or len(member.data) <= _SMALL
            archive.writestr(_entry(name, packed=packed), member.data)
    return buffer.getvalue()


def read_bundle(data: bytes, *, kind: str | None = None, max_bytes: int = MAX_BYTES) -> Bundle:
    """Open a bundle and check it: structure, size, format version and the digest of every member. Runs no code.

    Args:
        data: The bytes of the file.
        kind: Accept only this kind.
        max_bytes: Upper bound of the unpacked size.

    Raises:
        InvalidRequest: ``invalid-bundle`` (not a bundle, or damaged), ``bundle-digest``, ``bundle-version`` (written
            by a newer rayctl), ``bundle-kind``.
        TooLarge: it would unpack to more than ``max_bytes``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive, max_bytes)
            parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except _UNREADABLE as error:
        raise _invalid(f"it cannot be unpacked ({error})") from error
    manifest = _parse_manifest(parts.pop(_MANIFEST, None))
    if kind is not None and manifest["kind"] != kind:
        raise InvalidRequest(
            f"This is a model of kind {manifest['kind']!r}, not {kind!r}.",
            code="bundle-kind",
            hint="Give the model of another run, one of the kind that is wanted.",
        )
    listed = manifest["members"]
    if set(listed) != set(parts):
        raise _invalid("its members are not those of its manifest")
    for name, part in parts.items():
        if sha256(part).hexdigest() != listed[name].get("sha256"):
            raise InvalidRequest(
                f"The model bundle is damaged: the contents of {name!r} do not match their digest.",
                code="bundle-digest",
                hint="Download the model again.",
            )
    members = {name: Member(part, str(listed[name].get("stored", "raw"))) for name, part in parts.items()}
    return Bundle(manifest["kind"], manifest["info"], members, dict(manifest.get("versions") or {}))


def dump_arrays(arrays: Mapping[str, np.ndarray]) -> Member:
    """Store named arrays of numbers, lightly compressed. Equal arrays give equal bytes."""
    from numpy.lib import format as npy

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in sorted(arrays.items()):
            part = io.BytesIO()
            npy.write_array(part, array, allow_pickle=False)
            data = part.getvalue()
            archive.writestr(_entry(f"{name}.npy", packed=len(data) <= _SMALL), data, compresslevel=1)
    return Member(buffer.getvalue(), "arrays")


def load_arrays(member: Member, *, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return the arrays stored by `dump_arrays`.

    Raises:
        InvalidRequest: ``invalid-bundle``: not such a member, or an array that is not what it claims.
        TooLarge: it would unpack to more than ``max_bytes``.
    """
    from numpy.lib import format as npy

    if member.stored != "arrays":
        raise _invalid(f"a member is stored as {member.stored!r}, which is not arrays")
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(member.data)) as archive:
            _check_sizes(archive, max_bytes)
            for entry in archive.infolist():
                _check_array(archive, entry)
                part = io.BytesIO(archive.read(entry))
                found[entry.filename.removesuffix(".npy")] = npy.read_array(part, allow_pickle=False)
    except (*_UNREADABLE, ValueError) as error:
        raise _invalid(f"arrays in it are malformed ({error})") from error
    return found


def dump_object(obj: Any, extra_types: frozenset[str] = frozenset()) -> Member:
    """Store an object as ``skops`` if it consists of `ALLOWED_TYPES` (and ``extra_types``) only, else as ``pickle``."""
    name = f"{type(obj).__module__}.{type(obj).__qualname__}"
    if name in ALLOWED_TYPES or name in extra_types:
        import skops.io
        from skops.io.exceptions import UnsupportedTypeException

        try:
            data = skops.io.dumps(obj, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        except (UnsupportedTypeException, TypeError):
            data = None  # a parameter holds something that skops cannot express
        if data is not None and not _untrusted(data, extra_types):
            return Member(data, "skops")
    return Member(own_classes.dumps(obj), "pickle")


def load_object(member: Member, *, allow_pickle: bool = False, extra_types: frozenset[str] = frozenset()) -> Any:
    """Rebuild an object stored by `dump_object`.

    Args:
        member: A member whose ``stored`` is ``skops`` or ``pickle``.
        allow_pickle: Also load pickled members. Only for bundles whose origin and digest the caller has checked.
        extra_types: Type names accepted besides `ALLOWED_TYPES`.

    Raises:
        InvalidRequest: ``untrusted-model`` (a type or pickle that is not accepted), ``invalid-bundle``.
    """
    if member.stored == "pickle":
        if not allow_pickle:
            raise InvalidRequest(
                "The model contains a class that can only be loaded by running its own code.",
                code="untrusted-model",
                hint="Let the service that trained it predict, or use one of the built-in models.",
            )
        return _unpickle(member.data)
    if member.stored != "skops":
        raise _invalid(f"a member is stored as {member.stored!r}, which is not an object")
    untrusted = _untrusted(member.data, extra_types)
    if untrusted:
        raise InvalidRequest(
            f"The model names types that are not on the list of known ones: {', '.join(sorted(untrusted)[:5])}.",
            code="untrusted-model",
            hint="Only bundles written by rayctl can be loaded.",
        )
    import skops.io

    try:
        obj = skops.io.loads(member.data, trusted=sorted(ALLOWED_TYPES | extra_types))
    except Exception as error:  # skops raises many types on malformed files; all mean the same here
        raise _invalid(f"an object in it cannot be rebuilt ({type(error).__name__}: {error})") from error
    _check_trees(obj)
    return obj


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Versions of the libraries, looked up once per process (it takes 10 ms)."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # optional, or running from a source tree
    return found


def _entry(name: str, *, packed: bool = False) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    return entry


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"This is not a usable model bundle: {why}.", code="invalid-bundle", hint=DAMAGED)


def _check_sizes(archive: zipfile.ZipFile, max_bytes: int) -> None:
    """Refuse archive bombs by the declared sizes; `zipfile` never reads beyond what a member declares."""
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes or len(entries) > _MAX_MEMBERS:
        raise TooLarge(
            f"The model would unpack to {total} bytes in {len(entries)} parts; allowed are {max_bytes} bytes "
            f"in {_MAX_MEMBERS} parts.",
            code="bundle-too-large",
            hint="Train with fewer trials, or set max_predict_ms: smaller models are delivered then.",
        )
    if len({entry.filename for entry in entries}) != len(entries):
        raise _invalid("two members have the same name")


def _parse_manifest(text: bytes | None) -> dict[str, Any]:
    if text is None:
        raise _invalid(f"it has no {_MANIFEST}")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"its {_MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _invalid(f"its {_MANIFEST} does not describe a {FORMAT}")
    version = manifest.get("version")
    if not isinstance(version, int):
        raise _invalid("it has no format version")
    if version > FORMAT_VERSION:
        raise InvalidRequest(
            f"The model bundle has format version {version}; this rayctl reads up to {FORMAT_VERSION}.",
            code="bundle-version",
            hint="Update rayctl.",
        )
    members = manifest.get("members")
    well_formed = isinstance(members, dict) and all(isinstance(entry, dict) for entry in members.values())
    if not well_formed or not isinstance(manifest.get("kind"), str) or not isinstance(manifest.get("info"), dict):
        raise _invalid(f"its {_MANIFEST} is incomplete")
    return manifest


def _untrusted(data: bytes, extra_types: frozenset[str]) -> set[str]:
    """Return what a skops file names beyond the allowed types and node kinds, after checking its sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive, MAX_BYTES)
            schema = json.loads(archive.read("schema.json"))
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    _check_array(archive, entry)
    except (*_UNREADABLE, KeyError, ValueError) as error:
        raise _invalid(f"an object in it is malformed ({error})") from error
    allowed = ALLOWED_TYPES | extra_types
    found = set()
    for node in _nodes(schema):
        loader, name = node.get("__loader__"), f"{node.get('__module__')}.{node.get('__class__')}"
        if loader not in _ALLOWED_NODES:
            found.add(f"{loader}({name})")
        elif name not in allowed:
            found.add(name)
    return found


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    stack = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "__loader__" in value or "__class__" in value:
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse arrays whose header claims another size than the file has: numpy would allocate what it claims."""
    from math import prod

    from numpy.lib import format as npy

    with archive.open(entry) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("unknown array format")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject or file.tell() + prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError(f"array {entry.filename} does not have the size that it claims")


def _check_trees(obj: Any) -> None:
    """Refuse decision trees with impossible nodes: scikit-learn follows them without checking bounds."""
    trees = [obj.tree_] if hasattr(obj, "tree_") else [tree.tree_ for tree in getattr(obj, "estimators_", ())]
    for tree in trees:
        count, inner = tree.node_count, tree.children_left != -1
        at = inner.nonzero()[0]
        left, right, feature = tree.children_left[at], tree.children_right[at], tree.feature[at]
        # Children come after their parent in every tree that was really grown, which also rules out cycles.
        sound = (left > at) & (left < count) & (right > at) & (right < count)
        sound &= (feature >= 0) & (feature < tree.n_features)
        if count < 1 or not sound.all() or len(tree.value) != count:
            raise _invalid("it contains a decision tree that cannot be")


def _unpickle(data: bytes) -> Any:
    import cloudpickle

    try:
        return cloudpickle.loads(data)
    except Exception as error:  # whatever its code raises; the caller needs one type
        raise InvalidRequest(
            f"The model's class cannot be loaded here: {type(error).__name__}: {error}",
            code="unknown-model",
            hint="Predict in the runtime environment that the run was trained in.",
        ) from error
