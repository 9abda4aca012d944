"""A Hypothesis machine: whatever happens in whatever order, a sync that says "complete" is exact.

The machine edits a repository, makes the embedding function, the store and the process itself fail
at chosen moments, loses state, and syncs. It keeps books of its own: the files on disk are the
model. After each complete sync the collection must equal them, and after each failed one every file
that was in step, and still has the same content, must still be findable as a whole.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from chroma_server import Server, move_to_fresh_database
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support import (
    POISON,
    SMALL,
    Desk,
    HashEmbedding,
    StoredRow,
    check_exact,
    check_file,
    check_vectors,
    counts,
    expected_texts,
    make_folder,
    opened,
    read_rows,
)

from reposync import (
    DeletionRefused,
    StoreError,
    SyncError,
    SyncResult,
    is_current,
    list_chunks,
    list_files,
    plan_repository,
)
from reposync.collection import Collection
from reposync.manifest import Manifest
from reposync.vectors import _HARMLESS

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

PATHS = [f"{name}.{kind}" for name in ("a", "b", "pkg/c") for kind in ("md", "py", "txt")]
PIECES = [
    "Some words that stand in many files, as licences and headings do, word by word.\n\n",
    "Some words that stand in many files, as licences and headings do, word for word.\n\n",
    "def first(number):\n    total = number + 1\n    return total * total\n\n\n",
    "def second(number):\n    total = number - 1\n    return total * total\n\n\n",
    "class Third:\n    def act(self):\n        return self.rest() or 3\n\n"
    "    def rest(self):\n        pass\n",
    "A last line without an end",
    "x = 1\n",
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
NUMBER = st.integers(0, 99)
VOID = st.sampled_from([b"", b" \n\t\n", b"\0\1\2", b"\x89PNG\r\n\0"])
STORE_CALLS = ["upsert", "update_metadata", "delete"]
JOURNAL_CALLS = ["begin", "finish", "start_run", "end_run"]


class Killed(BaseException):
    """Stands for SIGKILL: from here on, nothing that the process does takes effect."""


class Full(Exception):
    """Stands for a store that refuses a call."""


class Faults:
    """Makes the store fail, or the process die, at a chosen call; once."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self.dead = False
        self.struck = False

    @contextmanager
    def failing(
        self, methods: list[tuple[type, str]], at: int, *, after: bool, kill: bool
    ) -> Iterator[None]:
        """In the block, the call number `at` of these methods fails, before or after its effect."""
        calls = 0

        def strike() -> None:
            self.struck = True
            if kill:
                self.dead = True
                raise Killed
            raise StoreError("the store refuses") from Full()

        def wrap(real: Callable[..., Any], counted: bool) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal calls
                if self.dead:
                    raise Killed  # a dead process writes nothing more
                mine = counted and calls == at
                calls += counted
                if mine and not after:
                    strike()
                answer = real(*arguments, **keywords)
                if mine:
                    strike()
                return answer

            return call

        everything = [(Collection, name) for name in STORE_CALLS]
        everything += [(Manifest, name) for name in (*JOURNAL_CALLS, "beat", "evict", "describe")]
        self.dead = self.struck = False
        for owner, name in everything:
            counted = (owner, name) in methods
            self._patch.setattr(owner, name, wrap(getattr(owner, name), counted))
        try:
            yield
        finally:
            self._patch.undo()
            self.dead = False


class SyncMachine(RuleBasedStateMachine):
    """One repository, one store, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = make_folder("reposync-machine-")
        (self.folder / "tree").mkdir()
        (self.folder / "link").symlink_to(self.folder / "tree")
        self.desk = Desk(self.folder / "tree", self.make_store(), embedding=HashEmbedding())
        self.faults = Faults()
        # Files that were in step at the last complete sync, with what they held.
        self.in_step: dict[str, str] = {}
        # The documents of their rows then, for files that no failed sync has begun to update.
        self.documents: dict[str, set[str]] = {}
        # Texts that were embedded and whose vectors may have been lost on the way.
        self.spared: Counter[str] = Counter()
        self.host = self.stack = None

    def make_store(self) -> Path | ClientAPI:
        """An empty store."""
        return self.folder / "store"

    def teardown(self) -> None:
        if self.stack is not None:
            self.stack.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    @initialize(host=st.booleans(), texts=st.lists(TEXTS, min_size=2, max_size=4))
    def begin(self, host: bool, texts: list[str]) -> None:
        """A repository, in half of the runs beside a host with a live client on the store."""
        for path, text in zip(PATHS, texts, strict=False):
            self.desk.write(path, text)
        if host:
            self.stack = opened(self.desk.store, locked=False)
            self.host = self.stack.__enter__()
        self.judge(self.run())

    # -- The user's doings -------------------------------------------------------------------------

    def existing(self) -> list[str]:
        return sorted(path for path in PATHS if (self.desk.root / path).exists())

    def pick(self, number: int) -> str:
        """One of the files that are there."""
        return self.existing()[number % len(self.existing())]

    @rule(path=st.sampled_from(PATHS), text=TEXTS)
    def write(self, path: str, text: str) -> None:
        self.desk.write(path, text)

    @rule(number=NUMBER, piece=st.sampled_from(PIECES), at_end=st.booleans(), sync=st.booleans())
    @precondition(lambda self: self.existing())
    def edit(self, number: int, piece: str, at_end: bool, sync: bool) -> None:
        """Lines are added at an end of a file; what follows them moves."""
        path = self.pick(number)
        old = (self.desk.root / path).read_bytes()
        self.desk.write(path, old + piece.encode() if at_end else piece.encode() + old)
        self.sync_if(sync)

    @rule(number=NUMBER, to=st.sampled_from(PATHS), sync=st.booleans())
    @precondition(lambda self: self.existing())
    def rename(self, number: int, to: str, sync: bool) -> None:
        (self.desk.root / "pkg").mkdir(exist_ok=True)
        (self.desk.root / self.pick(number)).replace(self.desk.root / to)
        self.sync_if(sync)

    @rule(number=NUMBER, sync=st.booleans())
    @precondition(lambda self: self.existing())
    def delete(self, number: int, sync: bool) -> None:
        (self.desk.root / self.pick(number)).unlink()
        self.sync_if(sync)

    @rule(one=NUMBER, other=NUMBER, sync=st.booleans())
    @precondition(lambda self: len(self.existing()) > 1)
    def swap(self, one: int, other: int, sync: bool) -> None:
        paths = [self.desk.root / self.pick(number) for number in (one, other)]
        first, second = (path.read_bytes() for path in paths)
        paths[0].write_bytes(second)
        paths[1].write_bytes(first)
        self.sync_if(sync)

    @rule(number=NUMBER, content=VOID)
    @precondition(lambda self: self.existing())
    def hollow_out(self, number: int, content: bytes) -> None:
        self.desk.write(self.pick(number), content)

    @rule(number=NUMBER, lines=st.integers(0, 3))
    @precondition(lambda self: self.existing() and not self.poisonous())
    def poison(self, number: int, lines: int) -> None:
        """One file gets a text that the embedding function fails on."""
        pieces = "".join(PIECES[:lines])
        self.desk.write(self.pick(number), f"{pieces}{POISON} words, and more.\n\n{pieces}")

    @rule()
    @precondition(lambda self: self.poisonous())
    def heal(self) -> None:
        """The poisonous texts become harmless."""
        for path in self.poisonous():
            file = self.desk.root / path
            file.write_bytes(file.read_bytes().replace(POISON.encode(), b"harmless"))

    def poisonous(self) -> list[str]:
        return [p for p in self.existing() if POISON.encode() in (self.desk.root / p).read_bytes()]

    def sync_if(self, wanted: bool) -> None:
        if wanted:
            self.judge(self.run())

    # -- Losses ------------------------------------------------------------------------------------

    @rule()
    @precondition(lambda self: self.desk.manifest.exists())
    def lose_manifest(self) -> None:
        """Vectors of rows come back from the collection; those of no row are gone."""
        for file in self.desk.manifest.parent.glob("reposync.sqlite3*"):
            file.unlink()
        kept = {row.embedded_text for row in self.rows().values()}
        self.forget(set(self.desk.embedding.counts) - kept)

    @rule()
    @precondition(lambda self: self.desk.touched())
    def lose_collection(self) -> None:
        """Somebody deletes the collection."""
        if self.desk.manifest.exists():
            self.drop()
        else:  # both are lost: everything is new again
            self.drop()
            self.forget(set(self.desk.embedding.counts))
        self.in_step, self.documents = {}, {}

    def drop(self) -> None:
        from chromadb.errors import NotFoundError

        with self.looking() as client:
            try:
                client.delete_collection("repo")
            except NotFoundError:
                return

    def forget(self, texts: set[str]) -> None:
        """These texts may be embedded once more."""
        for text in texts:
            self.desk.embedding.counts.pop(text, None)
            self.spared.pop(text, None)

    # -- Syncs -------------------------------------------------------------------------------------

    @rule(full=st.booleans(), link=st.booleans())
    def sync(self, full: bool, link: bool) -> None:
        """A sync that nothing disturbs, sometimes through another spelling of the path."""
        self.judge(self.run(full=full, link=link))

    @rule()
    def plan_and_sync(self) -> None:
        """A plan says what the sync after it does, unless state was lost."""
        plan = plan_repository(**self.desk.arguments())
        result = self.run()
        self.judge(result)
        looked = [a for a in plan.actions if a.action == "update" and "content" not in a.reason]
        if not looked and not result.failures and not result.resumed:
            assert result.files == plan.files, plan

    @rule(
        name=st.sampled_from(STORE_CALLS),
        at=st.integers(0, 2),
        after=st.booleans(),
        full=st.booleans(),
        number=NUMBER,
        text=TEXTS,
    )
    def sync_with_a_failing_store(
        self, name: str, at: int, after: bool, full: bool, number: int, text: str
    ) -> None:
        """The store refuses a call, before or after it took effect."""
        self.change(number, text)
        with self.faults.failing([(Collection, name)], at, after=after, kill=False):
            result = self.run(full=full)
        self.judge(result)
        if self.faults.struck:
            assert result is None

    @rule(
        kind=st.sampled_from([*STORE_CALLS, *JOURNAL_CALLS, "any"]),
        at=st.integers(0, 3),
        after=st.booleans(),
        full=st.booleans(),
        number=NUMBER,
        text=TEXTS,
    )
    def killed_sync(
        self, kind: str, at: int, after: bool, full: bool, number: int, text: str
    ) -> None:
        """The process dies at a step; what it had embedded and not yet noted may be lost."""
        self.change(number, text)
        methods: list[tuple[type, str]] = [
            *((Collection, name) for name in STORE_CALLS if kind in (name, "any")),
            *((Manifest, name) for name in JOURNAL_CALLS if kind in (name, "any")),
        ]
        calls_before = len(self.desk.embedding.calls)
        before = self.desk.embedding.counts.copy()
        with self.faults.failing(methods, at, after=after, kill=True):
            try:
                result = self.run(full=full)
            except Killed:
                result = None
        if self.faults.struck:
            # In flight: the texts of the last batch, at most.
            fresh = self.desk.embedding.counts - before
            if len(self.desk.embedding.calls) > calls_before:
                self.spared.update(dict.fromkeys(list(fresh)[-SMALL.batch_rows :], 1))
        self.judge(result)

    def change(self, number: int, text: str) -> None:
        """Give a sync that is to be disturbed something to do: an edit, or a rename."""
        if self.existing() and number % 3 == 0:
            free = sorted(set(PATHS) - set(self.existing()))
            (self.desk.root / "pkg").mkdir(exist_ok=True)
            if free:
                (self.desk.root / self.pick(number)).rename(self.desk.root / free[-1])
        else:
            self.desk.write(PATHS[number % len(PATHS)], text)

    def run(self, *, full: bool = False, link: bool = False) -> SyncResult | None:
        """Sync; None if it ended with an error."""
        path = self.folder / "link" if link else self.desk.root
        try:
            return self.desk.sync(path=path, full=full)
        except DeletionRefused as error:
            raise AssertionError("nine files are too few to be refused") from error
        except SyncError as error:
            if error.result is None or not self.faults.struck:
                raise
            return None

    # -- Verdicts ----------------------------------------------------------------------------------

    @contextmanager
    def looking(self) -> Iterator[Any]:
        """A client on the store: the host's, or one for this look only."""
        if self.host is not None:
            yield self.host
        else:
            with opened(self.desk.store) as client:
                yield client

    def rows(self) -> dict[str, StoredRow]:
        with self.looking() as client:
            return read_rows(client, "repo")

    def judge(self, result: SyncResult | None) -> None:
        """After any sync: exact if it says so, no gap if not, and no text embedded twice."""
        if not self.desk.touched():
            return
        rows = self.rows()
        texts = expected_texts(self.desk.root)
        if result is not None:
            sum(counts(result).values())
            assert result.chunks.total == len(rows)
        if result is not None and result.status == "complete":
            check_exact(rows, texts, repository="repo")
            assert len(rows) == sum(1 for row in rows.values() if row.metadata["path"] in texts)
            assert result.files.skipped == len(self.existing()) - len(texts)
            self.in_step = texts
            self.documents = {path: documents(rows, path) for path in texts}
            self.check_lists(rows)
        else:
            self.check_no_gap(rows, texts)
            self.check_findable(rows, texts)
            if result is not None:
                self.check_partial(result, rows, texts)
            # What was edited or moved away and comes back before the next complete sync is new.
            self.in_step = {p: text for p, text in self.in_step.items() if texts.get(p) == text}
        self.check_least_work()

    def check_lists(self, rows: dict[str, StoredRow]) -> None:
        """The lists and totals of the local state are those of the collection and the folder."""
        keys = ("path", "chunk_index", "start_line", "end_line", "symbol")
        listed = list_chunks("repo", store=self.desk.store)
        told = {one.id: tuple(getattr(one, key) for key in keys) for one in listed.items}
        assert told == {
            row_id: tuple(row.metadata[key] for key in keys) for row_id, row in rows.items()
        }
        assert listed.total == len(rows)
        files = list_files("repo", store=self.desk.store)
        assert {file.path for file in files.items} == set(self.existing())
        assert files.total == len(self.existing())
        assert is_current(self.desk.root, "repo", store=self.desk.store, config=self.desk.config)

    def check_partial(
        self, result: SyncResult, rows: dict[str, StoredRow], texts: dict[str, str]
    ) -> None:
        """A partial sync names the poisonous files, and only those; all others are in step."""
        failed = {failure.path for failure in result.failures}
        assert failed == {path for path, text in texts.items() if POISON in text}
        for path in texts.keys() - failed:
            own = [row for row in rows.values() if row.metadata["path"] == path]
            check_file(own, texts[path])
            check_vectors(own, 16)
        assert {row.metadata["path"] for row in rows.values()} <= texts.keys()
        self.in_step = {path: texts[path] for path in texts.keys() - failed}
        self.documents = {path: documents(rows, path) for path in self.in_step}

    def check_no_gap(self, rows: dict[str, StoredRow], texts: dict[str, str]) -> None:
        """A file that was in step, and was not changed since, has all of its chunks."""
        for path, text in self.in_step.items():
            if texts.get(path) == text:
                own = [row for row in rows.values() if row.metadata["path"] == path]
                check_file(own, text)
                check_vectors(own, 16)

    def check_findable(self, rows: dict[str, StoredRow], texts: dict[str, str]) -> None:
        """A file that was edited or renamed is there as it was, or as it is now, or both."""
        renamed = {text: path for path, text in texts.items() if path not in self.in_step}
        for path, old in list(self.documents.items()):
            now = path if path in texts else renamed.get(self.in_step.get(path, ""))
            if now is None:
                del self.documents[path]  # gone, or moved onto another: what comes here now is new
                continue
            if texts[now] == self.in_step.get(path) and now == path:
                continue
            if not old <= documents(rows, path):
                found = "".join(documents(rows, now))
                assert all(line in found for line in texts[now].splitlines()), path
            del self.documents[path]  # from here on, what it was is a matter of chance

    def check_least_work(self) -> None:
        """No text is embedded twice, unless a kill caught it between its embedding and its note."""
        for text, times in self.desk.embedding.counts.items():
            assert text == _HARMLESS or times <= 1 + self.spared[text], text


def documents(rows: dict[str, StoredRow], path: str) -> set[str]:
    """The documents of one file's rows."""
    return {row.document for row in rows.values() if row.metadata["path"] == path}


def settled(**changes: Any) -> settings:
    """Hypothesis settings for a machine whose every step may be a sync."""
    return settings(
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink),
        **changes,
    )


class ServedMachine(SyncMachine):
    """The same with a store on a server, whose state is in a folder of each run's own."""

    client: ClassVar[ClientAPI]

    def make_store(self) -> ClientAPI:
        os.environ["XDG_STATE_HOME"] = str(self.folder / "state")
        move_to_fresh_database(self.client)
        return self.client


class TestShort(SyncMachine.TestCase):
    """The form for every day: the same examples each time."""

    settings = settled(derandomize=True, max_examples=20, stateful_step_count=20, database=None)


@pytest.fixture(scope="class")
def _served(server: Server) -> Iterator[None]:
    """The server's client; the state that goes with it lies in no home."""
    with server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", os.devnull)  # each run sets its own
        ServedMachine.client = client
        yield


@pytest.mark.usefixtures("_served")
class TestShortOnAServer(ServedMachine.TestCase):
    """Fewer examples, since what a store does is much the same."""

    settings = settled(derandomize=True, max_examples=8, stateful_step_count=20, database=None)


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestLong(SyncMachine.TestCase):
    """The long form: new examples each time."""

    settings = settled(max_examples=500, stateful_step_count=40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("_served")
class TestLongOnAServer(ServedMachine.TestCase):
    """The long form on a server."""

    settings = settled(max_examples=200, stateful_step_count=40)
