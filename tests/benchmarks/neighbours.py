"""How long neighbours wait while a cold sync of some 5 000 chunks runs; vectors come for free.

    python tests/benchmarks/neighbours.py [--json FILE] [--chunks 5000] [--only NAME]

Each scene is a sync into a new store by a process of its own, with other processes and threads
that use the store meanwhile. Two bounds are checked: four holds of the sync for each one who waits,
and 2 seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

import trees
from street import Account, Spread, Stay, run_street

MOST_SECONDS = 2.0
UPSERT = ["upsert", "--every", "0.05"]
FLOCK = ["flock", "--every", "0.1", "--hold", "0.005"]
READING, PLAIN = ("--query", "reading"), ("--query", "plain")
SCENES: dict[str, tuple[list[list[str]], tuple[str, ...]]] = {
    "alone": ([], ()),
    "a: one upserts every 50 ms": ([UPSERT], ()),
    "b: four upsert every 50 ms": ([UPSERT] * 4, ()),
    "c: one polls flock every 0.1 s": ([FLOCK], ()),
    "d: a thread queries under reading()": ([], READING),
    "d: a thread queries without a lock": ([], PLAIN),
    "e: all at once": ([*[UPSERT] * 4, FLOCK], READING),
}
BYTES_A_CHUNK = 500


def make_tree(tree: Path, chunks: int) -> None:
    """Real code, of about so many chunks."""
    source = trees.Source(trees.LIBRARY, (".py",), trees.NOT_LIBRARY)
    size = chunks * BYTES_A_CHUNK
    trees.sample([source], tree, files=chunks, size=size, largest=40 * trees.KILOBYTE)


def show(name: str, account: Account) -> bool:
    """Print a scene; True if every wait kept the promise."""
    store = account.sync["store"]
    print(
        f"\n{name}\n  sync: {account.sync['chunks']['total']} chunks in {account.seconds:.1f} s;"
        f" refreshes {store['refreshes']}, longest reload {store['longest_reload_seconds']:.3f} s"
    )
    row("holds of the sync, reloads included", account.holds)
    kept = [show_stay(stay, account) for stay in account.stays]
    return all(kept)


def show_stay(stay: Stay, account: Account) -> bool:
    """Print what one kind of neighbour met with; True if that kept the promise."""
    if not stay.locked:
        row(f"{stay.who}: calls without a lock", stay.visits)
        return stay.visits.max <= MOST_SECONDS
    row(f"{stay.who}: waits", stay.waits)
    row(f"{stay.who}: waits and the work that follows", stay.visits)
    bound = min(MOST_SECONDS, account.longest_wait)
    in_holds, in_time = stay.most_passed <= account.most_passed, stay.waits.max <= bound
    print(
        f"    passed by {stay.most_passed} holds of {account.most_passed} allowed:"
        f" {'kept' if in_holds else 'BROKEN'};"
        f" {stay.waits.max:.3f} s of {bound:.2f}: {'kept' if in_time else 'BROKEN'}"
    )
    return in_holds and in_time


def row(what: str, spread: Spread) -> None:
    """Print one line of the table."""
    print(
        f"  {what:44} {spread.count:5}  p50 {spread.p50:.3f}  p95 {spread.p95:.3f}"
        f"  max {spread.max:.3f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="a file that gets all the numbers")
    parser.add_argument("--chunks", type=int, default=5000)
    parser.add_argument("--only", default="", help="scenes whose name begins so")
    options = parser.parse_args()
    accounts: dict[str, Account] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        make_tree(tree, options.chunks)
        for number, (name, (neighbours, sync)) in enumerate(SCENES.items()):
            if name.startswith(options.only):
                folder = Path(scratch) / str(number)
                accounts[name] = run_street(folder, tree, neighbours, sync=sync, deadline=600)
    kept = [show(name, account) for name, account in accounts.items()]
    if options.json:
        options.json.write_text(
            json.dumps({name: asdict(account) for name, account in accounts.items()}, indent=1)
        )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
