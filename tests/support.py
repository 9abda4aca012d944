"""What the tests of the main job share: a small repository, its store, and a look at the rows.

Nothing here imports chromadb before it is needed, so that a test can ask whether a sync did.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from chroma_server import address_of, connect

from reposync import ChromaLock, SyncConfig, SyncResult, sync_repository
from reposync.lock import state_folder
from reposync.store import Store

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

HERE = Path(__file__).parent
SMALL = SyncConfig(chunk_tokens=32, batch_rows=4)
"""Chunks of a few lines and batches of a few chunks, so that files span batches."""

POISON = "poisonous"
"""`HashEmbedding` refuses texts that hold this word."""

RACY_SECONDS = 0.05
"""A file that was written less than 20 ms before it is read is read again the next time."""

KEYS = {
    *("repository", "path", "chunk_index", "start_line", "end_line", "language"),
    *("symbol", "kind", "context", "content_hash", "model", "recipe"),
}


MEMORY_BYTES = 2**30
"""The tests of two workers, and what killed ones left behind, stay well below that."""


def make_folder(prefix: str) -> Path:
    """A fresh folder, in memory where that can be had: nothing here is about the speed of disks."""
    memory = "/dev/shm"
    usable = os.path.isdir(memory) and os.access(memory, os.W_OK)
    # A container may have as little as 64 MiB of it.
    usable = usable and shutil.disk_usage(memory).free > MEMORY_BYTES
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if usable else None)).resolve()


class Poisoned(Exception):
    """What the embedding function raises for a poisonous text."""


def hash_vectors(texts: list[str], dimension: int) -> np.ndarray:
    """The vectors of `texts`, one a row, float32, each of length one."""
    raw = b"".join(hashlib.shake_256(text.encode()).digest(4 * dimension) for text in texts)
    numbers = np.frombuffer(raw, dtype="<u4").reshape(len(texts), dimension)
    vectors = numbers.astype(np.float64) / 2**31 - 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


class HashEmbedding:
    """A Chroma embedding function: a text's hash as its vector. Counts what it embedded.

    Attributes:
        counts: how often each text was embedded; texts of calls that failed do not count.
        calls: how many texts each call was given.
        poison: texts that hold this word make a call fail; None: nothing does.
        spoil: changes an answer before it is given; for wrong counts, NaN and the like.
        before: is called at the start of each call.
        log: a file that gets the hash of each embedded text, one a line.
    """

    def __init__(
        self,
        dimension: int = 16,
        *,
        poison: str | None = POISON,
        log: Path | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.dimension = dimension
        self.counts: Counter[str] = Counter()
        self.calls: list[int] = []
        self.poison = poison
        self.spoil: Callable[[list[Any]], Any] | None = None
        self.before = before
        self.log = log

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        if self.before is not None:
            self.before()
        self.calls.append(len(input))
        if self.poison is not None and any(self.poison in text for text in input):
            raise Poisoned("this text is poisonous")
        vectors = list(hash_vectors(list(input), self.dimension))
        if self.spoil is not None:
            return self.spoil(vectors)
        self.counts.update(input)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(
                    "".join(f"{hashlib.sha256(text.encode()).hexdigest()}\n" for text in input)
                )
        return vectors

    def embed_query(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        return list(hash_vectors(list(input), self.dimension))

    @staticmethod
    def name() -> str:
        return "reposync-test"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> HashEmbedding:
        return HashEmbedding(**config)

    def get_config(self) -> dict[str, Any]:
        return {}

    def is_legacy(self) -> bool:
        return False

    def default_space(self) -> str:
        return "cosine"

    def supported_spaces(self) -> list[str]:
        return ["cosine", "l2", "ip"]

    def validate_config_update(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        return

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        return

    @property
    def total(self) -> int:
        """How many texts were embedded so far."""
        return self.counts.total()


class OtherEmbedding(HashEmbedding):
    """The same under another name."""

    @staticmethod
    def name() -> str:
        return "reposync-test-other"


@dataclass(frozen=True)
class StoredRow:
    """One row as the collection gives it."""

    id: str
    document: str
    metadata: dict[str, Any]
    vector: tuple[float, ...]

    @property
    def embedded_text(self) -> str:
        context = self.metadata.get("context")
        return f"{context}\n{self.document}" if context else self.document


@contextmanager
def opened(store: Path | ClientAPI, *, locked: bool = True) -> Iterator[ClientAPI]:
    """A client on a store for the length of a block, as a host would open it.

    A host that does not take a folder's lock makes the next sync doubt, and examine, the whole
    index. A client stays open.
    """
    if not isinstance(store, Path):
        yield store
        return
    import chromadb
    from chromadb.config import Settings

    with ChromaLock(store) if locked else nullcontext():
        settings = Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(str(store), settings=settings)
        try:
            yield client
        finally:
            client.close()  # type: ignore[attr-defined]


def rows_of(collection: Collection) -> dict[str, StoredRow]:
    """Every row of a collection, by id."""
    got = collection.get(include=["documents", "metadatas", "embeddings"])
    ids, vectors = got["ids"], got["embeddings"]
    assert len(set(ids)) == len(ids), "an id is given twice"
    assert vectors is not None
    return {
        row_id: StoredRow(row_id, document or "", dict(metadata or {}), tuple(map(float, vector)))
        for row_id, document, metadata, vector in zip(
            ids, got["documents"] or [], got["metadatas"] or [], vectors, strict=True
        )
    }


def read_rows(store: Path | ClientAPI, collection: str) -> dict[str, StoredRow]:
    """Every row of a collection, by id; none if there is no such collection."""
    from chromadb.errors import NotFoundError

    with opened(store) as client:
        try:
            return rows_of(client.get_collection(collection, embedding_function=None))
        except NotFoundError:
            return {}


def expected_texts(root: Path, *, without: tuple[Path, ...] = ()) -> dict[str, str]:
    """The text of each file that belongs in the index, by path; told independently of reposync."""
    texts = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for raw in names:
            file = os.path.join(folder, raw)
            if os.path.islink(file) or any(
                file.startswith(os.fsencode(outside) + b"/") for outside in without
            ):
                continue
            data = Path(os.fsdecode(file)).read_bytes()
            if not data or b"\0" in data or len(data) > 1024**2 or not data.strip():
                continue
            relative = os.path.relpath(file, os.fsencode(root))
            try:
                path = relative.decode()
            except UnicodeDecodeError:
                path = relative.decode("utf-8", "backslashreplace")
            texts[path] = data.decode()
    return texts


def check_exact(
    rows: Mapping[str, StoredRow],
    texts: Mapping[str, str],
    *,
    repository: str,
    dimension: int = 16,
) -> None:
    """`rows` are those of `texts`, each once, complete and true, and no others of `repository`."""
    by_path: dict[str, list[StoredRow]] = defaultdict(list)
    for row in rows.values():
        if row.metadata.get("repository") == repository:
            by_path[row.metadata["path"]].append(row)
    assert by_path.keys() == texts.keys()
    for path, text in texts.items():
        check_file(by_path[path], text)
    ours = [row for path in by_path for row in by_path[path]]
    check_vectors(ours, dimension)
    assert len({row.metadata["model"] for row in ours}) <= 1
    recipes = {(row.metadata["language"], row.metadata["recipe"]) for row in ours}
    assert len({recipe.partition(";")[0] for _, recipe in recipes}) <= 1
    assert len(recipes) == len({language for language, _ in recipes})


def check_file(rows: list[StoredRow], text: str) -> None:
    """`rows`, in their order, are a file's text, at its lines, with all of their metadata."""
    rows = sorted(rows, key=lambda row: row.metadata["chunk_index"])
    assert [row.metadata["chunk_index"] for row in rows] == list(range(len(rows)))
    assert "".join(row.document for row in rows) == text
    line = 1
    for row in rows:
        assert row.metadata.keys() == KEYS
        assert row.document.strip()
        last = line + row.document[:-1].count("\n")
        assert (row.metadata["start_line"], row.metadata["end_line"]) == (line, last)
        assert row.metadata["content_hash"] == hashlib.sha256(row.document.encode()).hexdigest()
        line += row.document.count("\n")


def check_vectors(rows: list[StoredRow], dimension: int) -> None:
    """Each vector is that of the row's context and document."""
    if rows:
        wanted = hash_vectors([row.embedded_text for row in rows], dimension)
        stored = np.array([row.vector for row in rows], dtype=np.float32)
        assert np.allclose(stored, wanted, atol=1e-5)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its content (None for a folder)."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of 48 MiB on `folder`; Chroma and reposync want 32 MiB to be free."""
    import pytest

    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a tmpfs, and in most containers not even root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def obey() -> None:
    """Before an exec: makes a root to whom permissions apply as to anybody."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    if os.geteuid() == 0:
        for capability in (dac_override, dac_read_search):
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0


def python(
    code: str, *arguments: str | Path, timeout: float = 60, obedient: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a fresh process that can import reposync and this module.

    If it is to be `obedient`, permissions hold for it, even if it is root's.
    """
    with start_python(code, *arguments, preexec_fn=obey if obedient else None) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert child.returncode == 0, err
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def start_python(code: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a piece of Python in a fresh process; its streams are pipes."""
    paths = [str(HERE.parent), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def store_at(where: str) -> Path | ClientAPI:
    """The store that `Desk.where` named; a client of a server lasts as long as the process."""
    return connect(where) if where.startswith("http:") else Path(where)


def last_json(output: str) -> Any:
    """The JSON on the last line of a program's output."""
    return json.loads(output.splitlines()[-1])


@dataclass
class Desk:
    """One repository and one store, as one user has them."""

    root: Path
    store: Path | ClientAPI
    name: str = "repo"
    embedding: HashEmbedding = field(default_factory=HashEmbedding)
    config: SyncConfig = SMALL

    @property
    def folder(self) -> Path:
        """The store's folder, for what concerns a store in a folder only."""
        assert isinstance(self.store, Path), "a server has no folder here"
        return self.store

    @property
    def client(self) -> ClientAPI:
        """The store's client, for what concerns a store on a server only."""
        assert not isinstance(self.store, Path), "a folder has no client yet"
        return self.store

    @property
    def state(self) -> Path:
        """The folder of the locks and records."""
        return state_folder(Store(self.store))

    @property
    def manifest(self) -> Path:
        """Where the manifest lies."""
        beside = self.store if isinstance(self.store, Path) else self.state
        return beside / "reposync.sqlite3"

    @property
    def where(self) -> str:
        """The store as an argument of a program, see `store_at`."""
        return str(self.store) if isinstance(self.store, Path) else address_of(self.store)

    def touched(self) -> bool:
        """True if anything at all was made in the store or for it."""
        if isinstance(self.store, Path):
            return self.store.exists()
        return self.state.exists() or bool(self.store.list_collections())

    def write(self, path: str, content: str | bytes) -> Path:
        """Write one file of the repository."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def write_many(self, count: int, folder: str = "") -> None:
        """Write `count` files of different one-chunk texts."""
        for number in range(count):
            self.write(os.path.join(folder, f"note{number:02}.txt"), f"note number {number}\n")

    def settle(self) -> None:
        """Let the files get old enough for their stats to be trusted."""
        time.sleep(RACY_SECONDS)

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What this user passes to `sync_repository` and `plan_repository`."""
        return {
            "path": self.root,
            "name": self.name,
            "store": self.store,
            "embedding_function": self.embedding,
            "config": self.config,
            **changes,
        }

    def sync(self, **changes: Any) -> SyncResult:
        """Sync."""
        return sync_repository(**self.arguments(**changes))

    def settled(self, **changes: Any) -> SyncResult:
        """Sync twice, with a pause between, so that all stats are recorded."""
        self.sync(**changes)
        self.settle()
        return self.sync(**changes)

    def rows(self, collection: str | None = None) -> dict[str, StoredRow]:
        """The rows of the collection, through a client that is open for this look only."""
        return read_rows(self.store, collection or self.name)

    def check(self) -> dict[str, StoredRow]:
        """The collection is exactly in step with the folder; gives its rows."""
        rows = self.rows()
        without = (self.store,) if isinstance(self.store, Path) else ()
        texts = expected_texts(self.root, without=without)
        check_exact(rows, texts, repository=self.name, dimension=self.embedding.dimension)
        return rows


def counts(result: SyncResult) -> dict[str, int]:
    """The file counts that are not zero, less `scanned`."""
    files = result.files.model_dump()
    scanned = files.pop("scanned")
    assert scanned == sum(files.values()) - files["deleted"]
    return {kind: count for kind, count in files.items() if count}
