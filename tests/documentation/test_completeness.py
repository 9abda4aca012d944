"""What pages list is all that there is, and says what the code says."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

import reposync
from documentation.blocks import ROOT
from reposync import Chunk, SyncConfig, SyncError
from reposync.rows import make_rows

HOW_TO = ROOT / "docs/how-to"
ERRORS = [
    name
    for name in reposync.__all__
    if inspect.isclass(getattr(reposync, name)) and issubclass(getattr(reposync, name), SyncError)
]
PARTS = ["Symptom", "Cause", "What to do"]


def sections(text: str, level: str = "###") -> dict[str, str]:
    """The sections of a page by their headings."""
    parts = re.split(rf"^{level} (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def messages() -> tuple[str, ...]:
    """All texts in the library's code, with ``…`` for what is put in."""
    found = []
    for path in (ROOT / "reposync").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                values = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(map(str, values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


TROUBLES = sections((HOW_TO / "troubleshooting.md").read_text("utf-8").replace("\n## ", "\n### "))


def test_every_error_is_in_troubleshooting() -> None:
    """Whoever meets an error finds it there, and no error that is no more."""
    named = [heading.strip("`") for heading in TROUBLES if heading.startswith("`")]
    assert Counter(named) == Counter(ERRORS)


def test_every_kind_of_an_error_is_with_it() -> None:
    """Whoever reads a name in a traceback or in the history that has no entry finds it in one."""
    for module in pkgutil.walk_packages(reposync.__path__, "reposync."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    inner = {kind for kind in kinds_of(SyncError) if kind.__module__.startswith("reposync")}
    missing = [
        kind.__name__
        for kind in inner
        if kind.__name__ not in ERRORS
        and f"`{kind.__name__}`" not in TROUBLES[f"`{kind.__mro__[1].__name__}`"]
    ]
    assert missing == []


def kinds_of(error: type[SyncError]) -> Iterator[type[SyncError]]:
    """All classes below it."""
    for kind in error.__subclasses__():
        yield kind
        yield from kinds_of(kind)


@pytest.mark.parametrize("heading", [name for name, text in TROUBLES.items() if "**" in text])
def test_every_trouble_has_its_three_parts(heading: str) -> None:
    """Symptom, cause, and what to do, in this order."""
    assert re.findall(r"^\*\*(.+?)\.\*\*", TROUBLES[heading], re.MULTILINE) == PARTS


def test_every_section_is_a_trouble() -> None:
    """None was overlooked by the test above."""
    assert [name for name, text in TROUBLES.items() if "**" not in text] == [
        "Without an error",
        "Errors",
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_symptoms_are_what_is_said(name: str) -> None:
    """What is quoted of a message is in the code."""
    symptom = TROUBLES[f"`{name}`"].split("**Cause.**")[0]
    for quoted in re.findall(r"`([^`]*…[^`]*)`", symptom.replace("\n", " ")):
        words = [re.escape(part.strip()) for part in quoted.split("…") if part.strip()]
        wanted = re.compile(".*".join(words), re.DOTALL)
        assert any(wanted.search(message) for message in messages()), quoted


TESTS = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("page", ["consistency-promise.md", "security.md"])
def test_claims_are_held_by_tests_that_are_there(page: str) -> None:
    """A test, or a file of tests, that a page names for a claim exists."""
    text = (ROOT / "docs/explanation" / page).read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    files = re.findall(r"`(?:tests/(?:\w+/)*)?(\w+\.py)`", text)
    assert named
    assert [name for name in named if f"def {name}(" not in TESTS] == []
    assert [name for name in files if not list((ROOT / "tests").rglob(name))] == []


RUNBOOK = sections((HOW_TO / "operations-runbook.md").read_text("utf-8").replace("\n## ", "\n### "))
ALERTS = re.findall(r"- alert: (\w+)", (HOW_TO / "alerts.yml").read_text("utf-8"))


def test_every_alert_is_in_the_runbook() -> None:
    """Whoever is woken finds what to do; and no alert that is no more."""
    assert Counter(ALERTS) == Counter(name for name in RUNBOOK if name.startswith("Reposync"))


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_has_steps_for_each_alert(alert: str) -> None:
    """What it means, steps, and how to see that it is over."""
    text = RUNBOOK[alert]
    assert text.strip().startswith("**What it means.**")
    assert "\n1. " in text
    assert "\n**It is over** when " in text


def test_metadata_keys_are_those_of_rows() -> None:
    """Every key of a row is documented, with its type, and no other."""
    text = (ROOT / "docs/reference/metadata.md").read_text("utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE)
    [row] = make_rows("r", "a.ipynb", [Chunk("x", 1, 1, cell=1)], model="m", recipe="1")
    assert dict(table) == {key: type(value).__name__ for key, value in row.metadata.items()}


def test_knobs_are_settings() -> None:
    """What performance tuning turns is there."""
    page = (HOW_TO / "performance-tuning.md").read_text("utf-8")
    knobs = re.findall(r"^\| `(\w+)` \|", sections(page, "##")["Each knob"], re.MULTILINE)
    assert knobs
    assert set(knobs) <= set(SyncConfig.model_fields)


def test_every_dependency_has_its_reason() -> None:
    """What a user installs is in the table, and nothing that is not installed."""
    page = (ROOT / "docs/explanation/dependencies.md").read_text("utf-8").split("\n## ")[0]
    told = set[str]()
    for row in re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE)[1:]:
        first, *others = re.sub(r" \(.*\)$", "", row).split(", ")
        told |= {first, *(f"tree-sitter{name}" for name in others)}
    told -= {"cloudpickle"}  # its row says that it is not required
    assert told == set(requirements())


def requirements() -> Iterator[str]:
    """The packages that pyproject.toml asks for, those of developers excepted."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in ("dependencies", "languages", "local", "fast", "notebook"):
        (listed,) = re.findall(rf"^{name} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        yield from re.findall(r'"([\w-]+)[><=]', listed)
