"""The benchmark itself, on a handful of files and with bags of words for vectors."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from .commits import history
from .corpora import Query, Repository, Target
from .debian import Commit
from .functions import functions_of
from .ranking import READ, Answer, first_answer, fuse, score, words
from .run import PREFIXES, as_json, measure, table
from .sections import sections_of
from .splitters import SPLITTERS
from .vectors import Vectors, cached, hashed

CODE = '''\
class Store:
    """Holds cars."""

    def park(self, car):
        """Puts a car where the last one left from."""
        place = self.free.pop()
        place.take(car)
        return place


def drive(engine):
    """Turns the wheels until no fuel is left."""
    while engine.fuel:
        engine.turn()
    engine.stop()
'''
PROSE = """\
# Garage

The garage is open in the night too. {rest}

## Prices

Parking for one hour costs as much as bread. {rest}
""".format(rest="More is said here about much else. " * 12)


@pytest.fixture
def repositories() -> list[Repository]:
    commits = [Commit("Cars are parked in the dark", frozenset({"garage/store.py", "gone.py"}))]
    return [
        functions_of("code", {"store.py": CODE, "empty.py": ""}),
        sections_of("prose", {"garage.md": PROSE}),
        history("past", {"garage/store.py": CODE, "other.py": "x = 1\n"}, commits, cap=1000),
    ]


@pytest.mark.parametrize("name", SPLITTERS)
def test_splitters_lose_nothing_but_blanks(name: str) -> None:
    """Slices stand in the text where they say, and between them is only white space."""
    texts = {
        "store.py": CODE,
        "garage.md": PROSE,
        "long.txt": "word " * 3000 + "\n\n" * 50 + "x" * 5000,
    }
    for path, text in texts.items():
        end = 0
        for each in SPLITTERS[name](path, text):
            assert text[each.start : each.end] == each.document
            assert not text[end : each.start].strip()
            end = each.end
        assert not text[end:].strip()


def test_what_is_asked_is_not_in_the_text(repositories: list[Repository]) -> None:
    """Docstrings and first sentences are taken out, and targets still point to the rest."""
    code, prose, past = repositories
    asked = {query.text: query.targets[0] for query in (*code.queries, *prose.queries)}
    texts = code.files | prose.files
    assert len(asked) == 4
    for text, target in asked.items():
        assert not any(text in each for each in texts.values())
        assert target.end is not None
    drive = asked["Turns the wheels until no fuel is left."]
    assert texts[drive.path][drive.start : drive.end] == (
        "def drive(engine):\n    while engine.fuel:\n        engine.turn()\n    engine.stop()\n"
    )
    assert past.queries == (Query("Cars are parked in the dark", (Target("garage/store.py"),)),)


def test_the_whole_path(repositories: list[Repository], tmp_path: Path) -> None:
    """Every query is answered for every splitter and prefix, and two runs print one table."""
    asked = 0

    def embed(texts: list[str]) -> Vectors:
        nonlocal asked
        asked += len(texts)
        return hashed(texts)

    sets = {"all": repositories}
    outcome = measure(sets, cached(embed, tmp_path / "vectors.sqlite"), SPLITTERS, PREFIXES)
    shown, once = table(outcome, list(SPLITTERS), PREFIXES), asked
    again = measure(sets, cached(embed, tmp_path / "vectors.sqlite"), SPLITTERS, PREFIXES)
    assert table(again, list(SPLITTERS), PREFIXES) == shown
    assert asked == once
    assert len(outcome.answers) == len(SPLITTERS) * len(PREFIXES) * 2
    assert all(answer.place for answers in outcome.answers.values() for answer in answers)
    assert len(as_json(outcome)["scores"]) == len(outcome.answers)


def test_first_answers_and_scores() -> None:
    """Places count from 1, files once each; a score counts what is found early enough."""
    files = {"a.py": "a\n", "b.py": "b\n"}
    slices = [
        piece for path in ("a.py", "a.py", "b.py") for piece in SPLITTERS["ours"](path, files[path])
    ]
    query = Query("b", (Target("b.py"),))
    place = {
        finds: first_answer(
            [0, 1, 2], slices, [10, 20, 30], query, Repository("", files, (), finds)
        )
        for finds in ("files", "chunks")
    }
    assert place == {"files": Answer(2, 40), "chunks": Answer(3, 60)}
    got = score([Answer(1, 9), Answer(4, READ), Answer(10, READ + 1), Answer()])
    assert got == pytest.approx((0.25, 0.5, 0.75, (1 + 1 / 4 + 1 / 10) / 4, 0.5))


def test_words_and_fusion() -> None:
    """Identifiers are split at case, digits and underscores; what both lists have comes first."""
    assert words("parseHTTPResponse_v2(self)") == "parse http response v 2 self"
    assert fuse([1, 2, 3], [3, 4]) == [3, 1, 2, 4]
    numbers = list(range(50))
    Random(1).shuffle(numbers)
    assert fuse(numbers) == numbers
