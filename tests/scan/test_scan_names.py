"""What is decided by a file's name alone."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from reposync.records import SkipReason
from reposync.scan.attributes import Attributes, Marks
from reposync.scan.names import (
    CREDENTIALS,
    GENERATED,
    LOCK_FILES,
    MINIFIED,
    VENDORED,
    judge_name,
)
from reposync.scan.redact import _GATES
from reposync.scan.rules import Rules

EVERYTHING = Rules(generated=True, minified=True, vendored=True, lock_files=True)

ZOO = {
    "credentials": """
        .env .env.local deploy/.env.production .envrc prod.env
        .ssh/id_rsa id_ed25519 tls/server.pem tls/SERVER.KEY a.p12 a.pfx debug.keystore vault.kdbx
        .netrc _netrc .pgpass .htpasswd .git-credentials .pypirc .docker/config.json .kube/config
        .aws/credentials credentials.json client_secret_1.apps.json
        terraform.tfstate infra/terraform.tfstate.backup
        """,
    "lock_file": """
        package-lock.json web/yarn.lock pnpm-lock.yaml poetry.lock uv.lock Cargo.lock go.sum
        Gemfile.lock composer.lock Pipfile.lock pylock.dev.toml flake.lock .terraform.lock.hcl
        """,
    "vendored": """
        node_modules/x/index.js web/node_modules/a.ts vendor/github.com/x/y.go pip/_vendor/rich.py
        third_party/abseil/a.cc 3rdparty/a.c Pods/A/a.m Godeps/_workspace/a.go Carthage/Build/a.h
        .yarn/releases/yarn-4.cjs .venv/lib/a.py lib/site-packages/a.py dist/app.js web/dist/x/a.css
        gradlew mvnw.cmd
        """,
    "generated": """
        api/v1.pb.go a_pb2.py a_pb2_grpc.py x.pb.cc x_pb.d.ts a.g.dart Form1.Designer.cs a.zep.c
        zz_generated.deepcopy.go query.generated.ts src/__generated__/q.ts app.js.map .pnp.cjs
        src/__snapshots__/a.test.js.snap .idea/workspace.xml
        """,
    "minified": "jquery.min.js a/b.min.css app-min.js",
    None: """
        README.md src/main.py .env.example .env.sample .env.template .env.dist .env.local.example
        example.env env.py environment.ts id_rsa.pub keys.py key.md pem.c credentials.py
        credentials/store.go tests/test_credentials.py secrets.py .gitignore .npmrc Gemfile go.mod
        package.json Pipfile pyproject.toml lock.py vendor.py vendoring/a.py pkg/pods/pod.go
        external/a.c tools/a.py deps/a.c cache/a.py build/a.py dist/README.md setuptools/dist.py
        types.d.ts my.envoy a.environment.py min.js admin.js a.map
        pb2.py designer.cs generated.py is_generated.py
        docs/_build/a.rst jquery.js distribution/a.js mydist/a.js config.json .docker/Dockerfile
        """,
}


@pytest.mark.parametrize("reason", ZOO)
def test_the_zoo_of_names(reason: str | None) -> None:
    """Each name has the verdict that its owner would give it, in any folder, and a rule to name."""
    for path in ZOO[reason].split():
        for place in (path, f"some/where/{path}"):
            skip = judge_name(place, Rules()).skip
            assert (skip.reason if skip else None) == reason, place
            assert skip is None or skip.rule


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("lock_files", "lock_file"),
        ("vendored", "vendored"),
        ("generated", "generated"),
        ("minified", "minified"),
    ],
)
def test_each_kind_has_a_switch(setting: str, reason: str) -> None:
    """One switch lets one kind in, and no other; credentials have none."""
    rules = Rules(**{setting: True})  # type: ignore[arg-type]
    for other, paths in ZOO.items():
        for path in paths.split():
            skip = judge_name(path, rules).skip
            if other == reason:
                assert skip is None or skip.reason != reason
            elif other is not None:
                assert skip is not None, path
    assert all(judge_name(path, EVERYTHING).skip for path in ZOO["credentials"].split())


@pytest.mark.parametrize(
    ("include", "path", "asked"),
    [
        ((".env",), ".env", True),
        ((".env",), "deploy/.env", True),
        (("*", "deploy/.env"), "deploy/.env", True),
        (("*", "deploy/.env"), "other/.env", False),
        (("**/id_rsa",), "a/id_rsa", True),
        ((".env*",), ".env", False),
        (("*.pem",), "a.pem", False),
        (("*",), ".env", False),
        (("deploy/",), "deploy/.env", False),
        (("!.env",), ".env", False),
        (("package-lock.json",), "package-lock.json", True),
        (("a.pb.go",), "x/a.pb.go", True),
        (("vendor/",), "vendor/a.go", True),
        (("third_party/abseil/**",), "third_party/abseil/a.cc", True),
        (("src/",), "src/vendor/a.go", False),
        (("*.go",), "vendor/a.go", False),
    ],
)
def test_what_counts_as_asking_by_name(include: tuple[str, ...], path: str, asked: bool) -> None:
    """A pattern that ends with the very name asks for a file; a wildcard asks for none."""
    assert (judge_name(path, Rules(include=include)).skip is None) is asked


def test_the_lists_are_documented() -> None:
    """Every pattern, every reason and every kind of secret stands in the reference."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "skipped-files.md"
    text = page.read_text("utf-8")
    lists = (CREDENTIALS, LOCK_FILES, VENDORED, GENERATED, MINIFIED)
    kinds = {form.kind for gate in _GATES for form in gate.forms}
    wanted = {*(pattern for one in lists for pattern in one), *kinds, *get_args(SkipReason)}
    assert [one for one in sorted(wanted) if f"`{one}`" not in text] == []


def marks(files: dict[str, str], path: str) -> Marks:
    """What the ``.gitattributes`` of a tree, by their folders, say of a path."""
    lines = {
        f"{folder}/.gitattributes".lstrip("/").encode(): text.encode().split(b"\n")
        for folder, text in files.items()
    }
    return Attributes(lambda raw: lines.get(raw, [])).marks(path)


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        ({"": "*.x linguist-generated"}, "a/b.x", (True, None)),
        ({"": "*.x linguist-generated=true"}, "b.x", (True, None)),
        ({"": "*.x -linguist-generated\r\n"}, "b.x", (False, None)),
        ({"": "*.x linguist-generated=false"}, "b.x", (False, None)),
        ({"": "*.x linguist-vendored text"}, "b.x", (None, True)),
        ({"": "*.x linguist-generated\nb.x -linguist-generated"}, "b.x", (False, None)),
        ({"": "b.x -linguist-generated\n*.x linguist-generated"}, "b.x", (True, None)),
        ({"": "*.x linguist-generated\nb.x !linguist-generated"}, "b.x", (None, None)),
        ({"": "*.x linguist-generated", "a": "*.x -linguist-generated"}, "a/b.x", (False, None)),
        ({"a": "*.x linguist-generated"}, "b.x", (None, None)),
        ({"a": "/b.x linguist-generated"}, "a/b.x", (True, None)),
        ({"a": "/b.x linguist-generated"}, "a/c/b.x", (None, None)),
        ({"": "lib/** linguist-vendored"}, "lib/a/b.x", (None, True)),
        ({"": "lib/ linguist-vendored"}, "lib/a.x", (None, None)),
        ({"": "lib linguist-vendored"}, "lib/a.x", (None, None)),
        ({"": '"a b.x" linguist-vendored'}, "a b.x", (None, True)),
        ({"": "# *.x linguist-generated"}, "b.x", (None, None)),
        ({"": "!*.x linguist-generated"}, "b.x", (None, None)),
        ({"": "*.x linguist-generated linguist-generated=false"}, "b.x", (False, None)),
        ({"": "\xe9.x linguist-generated"}, "\xe9.x", (True, None)),
    ],
)
def test_what_gitattributes_say(
    files: dict[str, str], path: str, expected: tuple[bool | None, bool | None]
) -> None:
    """The nearest file decides, and in it the last line that matches the very path."""
    assert marks(files, path) == expected


def test_marks_outdo_names() -> None:
    """What its author marks is skipped, and what he says is none of it is not."""
    for reason, mark in (("generated", Marks(True)), ("vendored", Marks(None, True))):
        skip = judge_name("src/a.py", Rules(), mark).skip
        assert skip is not None
        assert skip.reason == reason
        assert ".gitattributes" in skip.rule
        assert judge_name("src/a.py", EVERYTHING, mark).skip is None
    assert judge_name("a.pb.go", Rules(), Marks(False)) == (None, True)
    assert judge_name("vendor/a.go", Rules(), Marks(None, False)).skip is None
    assert judge_name(".env", Rules(), Marks(False, False)).skip is not None


def test_a_file_that_cannot_be_read_marks_nothing() -> None:
    """An unreadable ``.gitattributes`` is not the failure of all files below it."""

    def refuse(raw: bytes) -> list[bytes]:
        raise PermissionError(raw)

    assert Attributes(refuse).marks("a/b.py") == (None, None)
