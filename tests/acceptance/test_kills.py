"""Killed at any instant, the next sync ends in the same state as an undisturbed one.

A sync of more than 3 000 chunks is killed with SIGKILL: at random instants of its run, and shortly
after the batches whose rows make Chroma flush its vector index (each 1 000 rows), where a kill can
ruin the files of the index. Then the next sync must run to its end, the checker must find nothing
wrong, and the log must show that only the texts in flight at a kill were embedded again.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trees
from checker import expected_files
from harness import DEADLINE, Workshop, index_files, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH = 128
"""`SyncConfig.batch_rows`: as many texts may be in flight when a run is killed."""

FLUSH = 1000
"""Chroma's `sync_threshold`: rows between two flushes of the vector index."""

CHURN_FILES = 12

REBUILT = "is made anew"
"""What a sync says that found the index ruined."""


@dataclass
class Chaos:
    """A repository, its store, a seeded chance, and a record of what was done."""

    shop: Workshop
    chance: random.Random
    usual: float = 5.0
    """Seconds that an undisturbed cold sync takes."""
    kills: int = 0
    """Those since the log began."""
    aimed: int = 0
    """Those of all kills that came right after Chroma began to write the files of its index."""
    ruined: int = 0
    """Syncs that found the index ruined."""
    rounds: int = 0
    churns: int = 0
    notes: list[str] = field(default_factory=list)

    def texts_logged(self) -> int:
        """Texts embedded so far, repeats included."""
        log = self.shop.log
        return log.stat().st_size // 33 if log.exists() else 0

    def kill_at(self, fraction: float) -> None:
        """Start a sync and kill it after this part of an undisturbed run's time."""
        delay = fraction * self.usual
        self._kill(f"at {fraction:.2f}", lambda began: time.monotonic() - began >= delay)

    def kill_near_flush(self) -> None:
        """Start a sync and kill it a moment after the batch that makes Chroma flush its index."""
        goal = (self.texts_logged() // FLUSH + 1) * FLUSH
        delay = self.chance.uniform(0.0, 0.6)
        self._kill_after(f"text {goal}", delay, lambda: self.texts_logged() >= goal)

    def kill_in_flush(self) -> None:
        """Start a sync and kill it while Chroma writes the files of its index once more."""
        known = index_files(self.shop.store)

        def rewritten() -> bool:
            nonlocal known
            found = index_files(self.shop.store)
            if found.keys() != known.keys():  # made just now: nothing of worth is in them yet
                known = found
            return found != known

        delay = self.chance.choice([0.0, 0.001, 0.003, 0.01, 0.03])
        what = "the index's files began to change"
        self.aimed += self._kill_after(what, delay, rewritten)

    def _kill_after(self, what: str, delay: float, happened: Callable[[], bool]) -> bool:
        """Start a sync and kill it `delay` seconds after something happened; False if too late."""
        reached: list[float] = []

        def due(_: float) -> bool:
            if not reached and happened():
                reached.append(time.monotonic())
            return bool(reached) and time.monotonic() - reached[0] >= delay

        return self._kill(f"{delay:.3f} s after {what}", due)

    def _kill(self, when: str, due: Callable[[float], bool]) -> bool:
        """Start a sync and kill it as soon as `due`, given the time of its start, says so.

        Returns:
            False if the sync ended before.
        """
        before = self.texts_logged()
        began = time.monotonic()
        with start("driver.py", *self.shop.driver_arguments()) as child:
            while child.poll() is None and not due(began):
                assert time.monotonic() - began < DEADLINE, f"a sync hung ({self.notes})"
                time.sleep(0.0005)
            done = child.poll()
            child.kill()
            _, err = child.communicate()
        assert done in (None, 0), f"the sync after {self.notes} failed:\n{err[-6000:]}"
        self.kills += done is None
        self.ruined += REBUILT in err
        verb = "killed" if done is None else "too late to be killed"
        spent = time.monotonic() - began
        self.notes.append(
            f"{verb} {when} ({spent:.1f} s, {self.texts_logged() - before} texts embedded)"
        )
        return done is None

    def finish(self, *, check: bool = True) -> None:
        """The next sync runs to its end, and all is as if nothing had happened.

        Without `check` the rows are only counted, and looked at by a later one.
        """
        step = f"round {self.rounds}: {'; '.join(self.notes)}"
        result = self.shop.sync(step)
        assert result["status"] == "complete", step
        self.ruined += REBUILT in self.shop.said
        if check:
            report = self.shop.check(step, "--sample", "100")
            assert result["chunks"]["total"] == report["rows"], step
        again = self.embedded_again()
        assert again <= BATCH * self.kills, f"{again} texts embedded again: {step}"
        seconds = self.shop.seconds.pop(step)
        print(f"\n{step}; {again} texts embedded again; {seconds:.1f} s; {self.shop.said[-300:]}")
        self.notes.clear()
        self.rounds += 1

    def embedded_again(self) -> int:
        """How many embeddings since the log began were of a text that had one already."""
        return sum(times - 1 for times in self.shop.embedded().values())

    def start_afresh(self) -> None:
        """Forget the store, so that the next sync is a cold one."""
        assert self.embedded_again() <= BATCH * self.kills
        shutil.rmtree(self.shop.store, ignore_errors=True)
        self.shop.log.unlink(missing_ok=True)
        self.kills = 0

    def edit(self) -> None:
        """Change a good part of the repository: new text, moved folders, deleted files."""
        tree = self.shop.tree
        paths = sorted(expected_files(tree)[0])
        for path in self.chance.sample(paths, len(paths) // 2):
            lines = [
                f"    {self.chance.random()}, 'round {self.rounds} of {path}'," for _ in "x" * 40
            ]
            with (tree / path).open("a", encoding="utf-8") as file:
                file.write("\n".join(["", "", f"ROUND_{self.rounds} = [", *lines, "]", ""]))
        for path in self.chance.sample(paths, 5):
            (tree / path).unlink()
        moved = self.chance.choice(sorted(entry for entry in tree.iterdir() if entry.is_dir()))
        moved.rename(moved.with_name(f"{moved.name.split('~')[0]}~{self.rounds}"))

    def churn(self) -> None:
        """Replace so many files that the next sync makes Chroma flush its index."""
        self.churns += 1
        for number in range(CHURN_FILES):
            lines = [
                f"Churn {self.churns}, line {line}: {self.chance.random():.17f}, and so on.\n"
                for line in range(300)
            ]
            file = self.shop.tree / f"churn{number}.txt"
            file.write_text("".join(lines), "utf-8")

    def any_kill(self) -> None:
        """A kill of one sort or another."""
        sort = self.chance.random()
        if sort < 0.4:
            self.kill_in_flush()
        elif sort < 0.5:
            self.kill_near_flush()
        else:
            self.kill_at(self.chance.uniform(0.45, 1.2))


@pytest.fixture
def chaos(tmp_path: Path) -> Chaos:
    """A repository of more than 3 000 chunks, synced by nobody yet."""
    shop = Workshop(tmp_path / "tree", tmp_path / "store", tmp_path / "log", dimension=384)
    trees.large(shop.tree)
    return Chaos(shop, random.Random(20_240_229))


@pytest.mark.timeout(240)
def test_killed_syncs_are_taken_up(chaos: Chaos) -> None:
    """After kills of a cold sync and of an update, the next sync is exact and repeats no work."""
    chaos.kill_in_flush()
    chaos.kill_near_flush()
    chaos.kill_at(0.5)
    chaos.kill_in_flush()
    chaos.finish()
    assert len(chaos.shop.embedded()) > 3000
    chaos.edit()
    chaos.kill_at(0.4)
    chaos.kill_in_flush()
    chaos.kill_at(0.6)
    chaos.finish()
    assert chaos.kills >= 5


def many_kills(folder: Path, kills: int, *, aimed: int) -> Chaos:
    """Rounds of kills, so many in all, of a repository that all but changes completely each time.

    It is as small as one that makes Chroma flush can be: what counts is the number of kills.
    """
    shop = Workshop(folder / "tree", folder / "store", folder / "log", dimension=384)
    chaos = Chaos(shop, random.Random(20_240_301))
    trees.small(shop.tree)
    chaos.churn()
    began = time.monotonic()
    shop.sync("undisturbed")
    chaos.usual = time.monotonic() - began
    chaos.start_afresh()
    total = 0
    while total < kills or chaos.aimed < aimed:
        before = chaos.kills
        for _ in range(chaos.chance.choice([2, 3, 4])):
            chaos.churn()
            chaos.any_kill()
        total += chaos.kills - before
        fourth = chaos.rounds % 4 == 3
        chaos.finish(check=fourth or chaos.rounds % 2 == 1)
        if fourth:
            chaos.start_afresh()
    chaos.finish()
    print(f"\n{total} kills, {chaos.aimed} at a flush; {chaos.ruined} indexes ruined and made anew")
    return chaos


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_two_hundred_kills(tmp_path: Path) -> None:
    """Two hundred kills, fifty of them at flushes of the index, each round ending exact."""
    chaos = many_kills(tmp_path, 200, aimed=50)
    assert chaos.ruined > 0, "the aim was true"
