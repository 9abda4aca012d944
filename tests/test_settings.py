"""Where settings come from: arguments, environment variables, files; and what is said of them."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reposync import ConfigError, ConfigReport, SyncConfig
from reposync.config_report import report_config
from reposync.records import Chunk
from reposync.settings import OTHER_VARIABLES, variable

PAGE = Path(__file__).parents[1] / "docs/reference/configuration.md"
FUNCTIONS = {"chunker", "executor", "on_event"}
TEXTUAL = [name for name in SyncConfig.model_fields if name not in FUNCTIONS]

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
PATTERN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
POSITIVE = st.integers(1, 2**40)
SECONDS = st.floats(0.001, 1e9)


def or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value, or no limit."""
    return st.one_of(st.none(), values)


STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.lists(PATTERN, max_size=4).map(tuple) for name in ("include", "exclude")},
    **dict.fromkeys(("max_file_bytes", "max_line_chars", "max_attempts"), POSITIVE),
    **{name: or_none(POSITIVE) for name in ("max_files", "max_total_bytes", "rate_limit")},
    **dict.fromkeys(("fetch_timeout", "max_lock_hold", "lock_timeout"), SECONDS),
    **{
        name: st.booleans()
        for name, field in SyncConfig.model_fields.items()
        if field.annotation is bool
    },
    "secrets": st.sampled_from(["redact", "skip", "keep"]),
    "chunk_tokens": st.integers(32, 200),
    "chunker_version": TEXT.filter(bool),
    "batch_rows": st.integers(1, 5000),
    "max_in_flight": POSITIVE,
    "request_timeout": SECONDS,
    "deadline": or_none(SECONDS),
    "max_embeds": or_none(st.integers(0, 2**40)),
    "rate_limit_by": st.sampled_from(["texts", "requests"]),
    "max_delete_fraction": st.floats(0, 1),
    "model_id": or_none(TEXT.filter(lambda text: text and text.strip().lower() != "none")),
    "max_cache_bytes": st.integers(0, 2**40),
}
CONFIGS = st.fixed_dictionaries({}, optional=STRATEGIES).map(lambda values: SyncConfig(**values))


def as_text(value: Any) -> str:
    """A value as a variable says it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value)


def as_toml(value: Any) -> str:
    """A value as a TOML file says it; its strings are those of JSON, but for one character."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")


# -- round trips ---------------------------------------------------------------------------------


def test_all_settings_are_tried() -> None:
    """The configurations that follow know of every setting that text can say."""
    assert set(STRATEGIES) == set(TEXTUAL)


@given(config=CONFIGS)
def test_any_config_can_be_said_by_variables(config: SyncConfig) -> None:
    """There is a variable for each setting, and it can say each value."""
    said = {variable(name): as_text(getattr(config, name)) for name in config.model_fields_set}
    assert SyncConfig.from_env(said) == config


@given(config=CONFIGS)
def test_any_config_can_be_said_by_a_file(config: SyncConfig) -> None:
    """A file can say each value of each setting; what has no limit is left out."""
    said = [
        f"{name} = {as_toml(getattr(config, name))}\n"
        for name in config.model_fields_set
        if getattr(config, name) is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert SyncConfig.from_file(file(Path(folder), "".join(said))) == config


@given(config=CONFIGS)
def test_json_carries_a_config(config: SyncConfig) -> None:
    """A queue can carry it: as JSON it is the same, and says nothing of where it came from."""
    text = config.model_dump_json()
    assert SyncConfig.model_validate_json(text) == config
    assert set(json.loads(text)) == set(TEXTUAL)
    unset = SyncConfig.model_validate_json(config.model_dump_json(exclude_unset=True))
    assert unset.model_fields_set == config.model_fields_set


# -- variables -----------------------------------------------------------------------------------


def env(**variables: str) -> SyncConfig:
    """What variables say, named without their prefix."""
    return SyncConfig.from_env({f"REPOSYNC_{name}": text for name, text in variables.items()})


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("docs/", ("docs/",)),
        ("docs/\n*.md\r\n\n  \n!keep.md ", ("docs/", "*.md", "!keep.md ")),
        ('["docs/", "two\\nlines"]', ("docs/", "two\nlines")),
        ("[]", ()),
        ("[ab]*.py", ("[ab]*.py",)),
        ("[!a]/\n[b]", ("[!a]/", "[b]")),
    ],
)
def test_patterns_in_a_variable(text: str, patterns: tuple[str, ...]) -> None:
    """They stand one a line, or as a JSON list; a bracket begins a pattern, too."""
    assert env(EXCLUDE=text).exclude == patterns


@pytest.mark.parametrize("text", ["1", "true", "on", "yes", "TRUE", " true "])
def test_yes_in_a_variable(text: str) -> None:
    """Yes can be said in the usual words."""
    assert env(SUBMODULES=text).submodules is True


def test_an_empty_variable_says_nothing() -> None:
    """A variable that is set to nothing is as good as one that is not set."""
    assert env(MAX_FILES="", EXCLUDE="", STORE="", SUBMODULES="") == SyncConfig()


def test_no_limit_in_a_variable() -> None:
    """ "none" takes a limit away that a file sets."""
    assert env(DEADLINE="None").deadline is None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BATCH_ROW", "1", r"REPOSYNC_BATCH_ROW: .* did you mean REPOSYNC_BATCH_ROWS\?"),
        ("STOR", "x", r"did you mean REPOSYNC_STORE\?"),
        ("QQQQQQQQ", "1", r"REPOSYNC_QQQQQQQQ: there is no such setting\. Unset it"),
        ("CHUNKER", "x", r"REPOSYNC_CHUNKER: no text can say .*from_env\(chunker=\.\.\.\)"),
        ("MAX_FILES", "many", r"REPOSYNC_MAX_FILES: .*valid integer"),
        ("SECRETS", "Skip", r"REPOSYNC_SECRETS: .*'redact'"),
        ("SUBMODULES", "perhaps", "REPOSYNC_SUBMODULES: "),
        ("EXCLUDE", '["docs/", "a"', r"REPOSYNC_EXCLUDE: it begins as a JSON list"),
        ("EXCLUDE", "[[1]]", r"^$"),
        ("MAX_DELETE_FRACTION", "nan", "REPOSYNC_MAX_DELETE_FRACTION: "),
        ("REQUEST_TIMEOUT", "inf", "REPOSYNC_REQUEST_TIMEOUT: .*finite"),
        ("FETCH_TIMEOUT", "1e400", "REPOSYNC_FETCH_TIMEOUT: .*finite"),
    ],
)
def test_a_variable_that_cannot_be_right(name: str, text: str, told: str) -> None:
    """It is an error that names the variable, and what was meant if that can be guessed."""
    if told == "^$":
        assert env(**{name: text}).exclude == (text,)
        return
    with pytest.raises(ConfigError, match=told):
        env(**{name: text})


def test_variables_of_others() -> None:
    """What says where the store is, and what Kubernetes sets for a service, is no mistake."""
    others = dict.fromkeys(OTHER_VARIABLES, "")
    kubernetes = (
        *("REPOSYNC_SERVICE_HOST", "REPOSYNC_SERVICE_PORT", "REPOSYNC_SERVICE_PORT_HTTP"),
        *("REPOSYNC_PORT", "REPOSYNC_PORT_80_TCP", "REPOSYNC_PORT_80_TCP_ADDR"),
        *("REPOSYNC_MY_API_SERVICE_HOST", "REPOSYNC_MY_API_PORT_8080_UDP_PROTO"),
    )
    found = SyncConfig.from_env({**others, **dict.fromkeys(kubernetes, "10.0.0.1"), "HOME": "/"})
    assert found == SyncConfig()


def test_the_process_s_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, those of the process count; arguments come before them."""
    monkeypatch.setenv("REPOSYNC_MAX_FILES", "5")
    monkeypatch.setenv("REPOSYNC_MAX_EMBEDS", "7")
    config = SyncConfig.from_env(max_files=9)
    assert (config.max_files, config.max_embeds) == (9, 7)
    assert (config.origin("max_files"), config.origin("deadline")) == ("argument", "default")
    assert config.origin("max_embeds") == "environment variable REPOSYNC_MAX_EMBEDS"


def test_a_call_reads_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not ask for them is not surprised by them."""
    monkeypatch.setenv("REPOSYNC_MAX_FILES", "5")
    assert SyncConfig() == SyncConfig(max_files=None)


# -- files ---------------------------------------------------------------------------------------


def file(folder: Path, text: str, name: str = "sync.toml") -> Path:
    """A settings file."""
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_files(tmp_path: Path) -> None:
    """All of a file counts; of a pyproject.toml, its own table; a mark at the beginning is none."""
    assert SyncConfig.from_file(file(tmp_path, "\ufeffmax_files = 5\r\n")).max_files == 5
    text = '[project]\nname = "x"\n[tool.reposync]\nmax_files = 6\n[tool.other]\nx = 1\n'
    config = SyncConfig.from_file(file(tmp_path, text, "pyproject.toml"), deadline=3)
    assert (config.max_files, config.deadline) == (6, 3.0)
    assert config.origin("max_files") == f"file {tmp_path / 'pyproject.toml'}"


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("\nexlude = []\n", "sync.toml", r"sync\.toml:2: exlude: .* did you mean exclude\?"),
        ("max_files = 0\n", "sync.toml", r"sync\.toml:1: max_files: .*greater than 0"),
        ("qqqq = 1\n", "sync.toml", r"sync\.toml:1: qqqq: there is no such setting\. Take it out"),
        ("chunker = 'x'\n", "sync.toml", r"sync\.toml:1: chunker: there is no such setting"),
        ("x\n", "sync.toml", r"sync\.toml: it is no TOML: .*line 1"),
        ("[project]\nname = 'x'\n", "pyproject.toml", r"no table \[tool\.reposync\]"),
        (
            "[a]\nmax_filez = 1\n[tool.reposync]\nmax_filez = 1\n",
            "pyproject.toml",
            r"pyproject\.toml:4: max_filez: .*max_files\?",
        ),
    ],
)
def test_a_file_that_cannot_be_right(tmp_path: Path, text: str, name: str, told: str) -> None:
    """It is an error that names file and line, and what was meant if that can be guessed."""
    with pytest.raises(ConfigError, match=told):
        SyncConfig.from_file(file(tmp_path, text, name))


def test_a_home_that_is_nobodys() -> None:
    """A file below the home folder of a user who is not there cannot be read either."""
    with pytest.raises(ConfigError, match=r"'~no-such-user/sync.toml' cannot be read"):
        SyncConfig.from_file("~no-such-user/sync.toml")


def test_a_name_in_capitals(tmp_path: Path) -> None:
    """The name that is meant is suggested, however it is spelt."""
    with pytest.raises(ConfigError, match=r"did you mean max_files\?"):
        SyncConfig.from_file(file(tmp_path, "MAX_FILES = 3"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that was named and cannot be read is an error, in whatever way it was named."""
    with pytest.raises(ConfigError, match="cannot be read"):
        SyncConfig.from_file(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        SyncConfig.from_env({"REPOSYNC_CONFIG": str(tmp_path)})


def test_what_comes_before_what(tmp_path: Path) -> None:
    """Arguments come before variables, and these before a file, be it passed or in a variable."""
    path = file(tmp_path, "max_files = 1\nmax_embeds = 1\nmax_attempts = 1\n")
    said = {"REPOSYNC_CONFIG": str(path), "REPOSYNC_MAX_FILES": "2", "REPOSYNC_MAX_EMBEDS": "2"}
    config = SyncConfig.from_env(said, max_files=3)
    assert (config.max_files, config.max_embeds, config.max_attempts) == (3, 2, 1)
    del said["REPOSYNC_CONFIG"]
    assert SyncConfig.from_env(said, file=path, max_files=3) == config


# -- where a value came from ---------------------------------------------------------------------


def test_an_unknown_argument() -> None:
    """It suggests the nearest name."""
    with pytest.raises(ConfigError, match=r"batch_row: .*did you mean batch_rows\?"):
        SyncConfig(batch_row=5)


def test_origins_are_kept() -> None:
    """They survive copies, of which what is changed counts as an argument."""
    config = SyncConfig.from_env({"REPOSYNC_MAX_FILES": "5", "REPOSYNC_MAX_EMBEDS": "5"})
    changed = config.model_copy(update={"max_files": 6, "deadline": 1.0})
    names = ("max_files", "max_embeds", "deadline", "secrets")
    variable = "environment variable REPOSYNC_MAX_EMBEDS"
    told = ["argument", variable, "argument", "default"]
    for one in (changed, copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
        assert [one.origin(name) for name in names] == told
        assert one == changed


def test_origins_decide_nothing() -> None:
    """Two configs that say the same are equal, wherever they have it from."""
    one, other = SyncConfig.from_env({"REPOSYNC_MAX_FILES": "5"}), SyncConfig(max_files=5)
    assert one == other
    assert hash(one) == hash(other)
    assert one.fingerprint == other.fingerprint
    assert one != SyncConfig(max_files=6)
    assert SyncConfig() != "SyncConfig()"


# -- explain -------------------------------------------------------------------------------------


def cut(path: str, text: str) -> list[Chunk]:
    """Somebody's own chunker."""
    return []


def test_explain() -> None:
    """Each setting is told with its value, its origin, its unit and its reason."""
    config = SyncConfig.from_env(
        {"REPOSYNC_MAX_FILES": "5", "REPOSYNC_EXCLUDE": "docs/"}, chunker=cut, deadline=2
    )
    report = config.explain()
    found = {one.name: one for one in report.settings}
    assert list(found) == list(SyncConfig.model_fields)
    variable = "environment variable REPOSYNC_MAX_FILES"
    assert str(found["max_files"]) == f"max_files = 5 files  [{variable}]"
    assert str(found["deadline"]) == "deadline = 2.0 seconds  [argument]"
    assert str(found["submodules"]) == "submodules = False  [default]"
    assert found["exclude"].value == ("docs/",)
    assert found["chunker"].value == f"{__name__}.cut"
    assert report.ok
    assert ConfigReport.model_validate_json(report.model_dump_json()) == report


def test_bytes_that_are_no_text_are_explained() -> None:
    """A pattern of a name that is not UTF-8 can be said, and stands in the report's JSON."""
    config = env(EXCLUDE="caf\udce9.txt", CHUNKER_VERSION="\udcff")
    report = config.explain()
    found = {one.name: one.value for one in report.settings}
    assert config.exclude == ("caf\udce9.txt",)
    assert found["exclude"] == (r"caf\udce9.txt",)
    assert found["chunker_version"] == r"\udcff"
    assert ConfigReport.model_validate_json(report.model_dump_json()) == report


def test_every_setting_is_explained() -> None:
    """None lacks its unit or its reason, nor, if text can say it, its variable."""
    for one in SyncConfig().explain().settings:
        assert one.unit, one.name
        assert one.reason.endswith("."), one.name
        assert one.variable == (None if one.name in FUNCTIONS else f"REPOSYNC_{one.name.upper()}")
        if isinstance(one.default, (int, float)) and not isinstance(one.default, bool):
            assert one.unit not in ("text", "on or off", "a function"), one.name


# -- the page ------------------------------------------------------------------------------------


def table() -> str:
    """The table of all settings, as it stands in docs/reference/configuration.md."""
    lines = ["| setting | default | unit | what it does, and why |", "|---|---|---|---|"]
    for one in report_config(SyncConfig()).settings:
        default = {None: "none", True: "on", False: "off", (): "none", "": "none"}.get(
            one.default, one.default
        )
        lines.append(f"| `{one.name}` | {default} | {one.unit} | {one.reason} |")
    return "\n".join(lines) + "\n"


def test_the_page_has_all_settings() -> None:
    """The reference is what the settings say of themselves; ``python tests/test_settings.py``
    writes it again.
    """
    text = PAGE.read_text("utf-8")
    assert table() in text
    assert all(f"`{name}`" in text for name in OTHER_VARIABLES)


def test_the_page_says_what_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its examples of files and variables are taken as they stand."""
    text = PAGE.read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    (first, *_) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert SyncConfig.from_file(file(tmp_path, first)).model_fields_set
    (said, *_) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shell = ["bash", "-c", f"{said}\nunset REPOSYNC_CONFIG\nenv -0"]
    lines = subprocess.run(shell, check=True, capture_output=True, text=True).stdout.split("\0")
    config = SyncConfig.from_env(dict(line.split("=", 1) for line in lines if line))
    assert (config.exclude, config.include) == (("docs/", "*.csv"), ("src/", "*.md"))
    assert (config.max_files, config.submodules, config.deadline) == (5000, True, None)


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    PAGE.write_text(re.sub(r"\| setting \| default(.|\n)*?\n(?=\n)", table(), page), "utf-8")
