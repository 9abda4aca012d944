"""What a file's name tells: it holds credentials, a program wrote it, or it is another project's.

The lists are short on purpose. A name is on one of them if hardly any file of that name is
anything else; what linguist also counts, such as every ``tools/``, ``cache/`` or ``*.d.ts``, people
do write, and want to find. Names of files are compared without regard to case, those of vendored
folders as they are: ``Pods/`` is CocoaPods', ``pods/`` anybody's.
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from reposync.records import Verdict
from reposync.scan.attributes import UNMARKED, Marks
from reposync.scan.ignore import parse
from reposync.scan.paths import unescape_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reposync.records import SkipReason
    from reposync.scan.rules import Rules

CREDENTIALS = (
    # Environment files; those that are there to be copied are not meant, see `TEMPLATE`.
    *(".env*", "*.env"),
    # Private keys and what holds them.
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"),
    *("*.pem", "*.key", "*.ppk", "*.p8", "*.p12", "*.pfx", "*.pkcs12", "*.keytab", "*.agekey"),
    *("*.jks", "*.jceks", "*.bks", "*.keystore", "*.kdb", "*.kdbx", "*.keychain", "*.keychain-db"),
    *("secring.gpg", "secring.pgp", "*.ovpn"),
    # Passwords and tokens of well-known programs.
    *(".netrc", "_netrc", ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".htpasswd"),
    *(".git-credentials", ".pypirc", ".dockercfg", ".docker/config.json", ".kube/config"),
    *("kubeconfig", "*.kubeconfig", ".boto", ".s3cfg", ".terraformrc", "terraform.rc"),
    *(".vault-token", ".vault_pass", "rclone.conf", ".streamlit/secrets.toml"),
    *("credentials", "credentials.json", "credentials.toml", "credentials.yml"),
    *("credentials.yaml", "credentials.ini", "credentials.csv", "client_secret*.json"),
    # State that holds whatever was deployed, passwords included.
    *("*.tfstate", "*.tfstate.backup"),
)

TEMPLATE = re.compile(
    r"[._-](?:example|sample|template|dist|defaults?|tmpl|tpl)\b|^(?:example|sample)"
)
"""An environment file with this in its name is one to be copied and filled in."""

LOCK_FILES = (
    *("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock"),
    *("bun.lockb", "deno.lock", "composer.lock", "cargo.lock", "gemfile.lock", "gems.locked"),
    *("poetry.lock", "pdm.lock", "uv.lock", "pipfile.lock", "pixi.lock", "conda-lock.yml"),
    *("pylock.toml", "pylock.*.toml", "go.sum", "go.work.sum", "gopkg.lock", "glide.lock"),
    *("mix.lock", "rebar.lock", "pubspec.lock", "podfile.lock", "package.resolved"),
    *("cartfile.resolved", "packages.lock.json", "paket.lock", "gradle.lockfile"),
    *("buildscript-gradle.lockfile", "stack.yaml.lock", "cabal.project.freeze", "flake.lock"),
    *(".terraform.lock.hcl", "chart.lock", "module.bazel.lock", "buf.lock", "renv.lock"),
    *("esy.lock", "shard.lock", "cpanfile.snapshot"),
)

VENDORED = (
    *("node_modules/", "bower_components/", "jspm_packages/", "web_modules/", "elm-stuff/"),
    *("vendor/", "_vendor/", "third_party/", "third-party/", "thirdparty/", "3rdparty/"),
    *("3rd_party/", "3rd-party/", "Godeps/", "Pods/", "Carthage/Build/", "Carthage/Checkouts/"),
    *(".yarn/releases/", ".yarn/plugins/", ".yarn/sdks/", ".yarn/cache/"),
    *("site-packages/", ".venv/", ".tox/", ".nox/", "__pypackages__/", ".eggs/", ".bundle/"),
    *(".terraform/", ".gradle/"),
    # What a web project is built into; other folders of that name are people's own.
    *("dist/**.js", "dist/**.mjs", "dist/**.cjs", "dist/**.css", "dist/**.map", "dist/**.d.ts"),
    *("gradlew", "gradlew.bat", "mvnw", "mvnw.cmd"),
)

GENERATED = (
    # Protocol buffers, gRPC, Thrift and their like.
    *("*.pb.go", "*.pb.gw.go", "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi"),
    *("*.pb.cc", "*.pb.h", "*.pb.cpp", "*.pb.swift", "*.pb.dart", "*.pbenum.dart"),
    *("*.pbgrpc.dart", "*.pbjson.dart", "*.pbobjc.h", "*.pbobjc.m", "*_pb.js", "*_pb.d.ts"),
    *("*_pb.ts", "*_pb.rb", "*_grpc_pb.js", "*_grpc_pb.d.ts", "*_generated.h", "*_generated.rs"),
    # Other generators, by the endings that they are known for.
    *("*.g.dart", "*.freezed.dart", "*.designer.cs", "*.designer.vb", "*.g.cs", "*.g.i.cs"),
    *("*.feature.cs", "*.zep.c", "*.zep.h", "*.zep.php", "*_tlb.pas", "zz_generated.*.go"),
    *("*.generated.go", "*.generated.ts", "*.generated.tsx", "*.generated.js"),
    *("*.generated.cs", "*.generated.swift", "*.generated.dart", "__generated__/"),
    # Maps, records of a test's output, and files of an editor.
    *("*.js.map", "*.mjs.map", "*.cjs.map", "*.css.map", "*.d.ts.map", ".pnp.js", ".pnp.cjs"),
    *(".pnp.loader.mjs", "__snapshots__/**.snap", ".idea/", "*.xcworkspacedata"),
    *("*.xcuserstate", "*.nib"),
)

MINIFIED = ("*.min.js", "*.min.mjs", "*.min.cjs", "*.min.css", "*-min.js", "*-min.css")

_MAGIC = re.compile(r"[*?[]")


class Named(NamedTuple):
    """What a name decides.

    Attributes:
        skip: why the file is not even opened, if so.
        exempt: it is wanted although a program may have written it: somebody said so.
    """

    skip: Verdict | None = None
    exempt: bool = False


def judge_name(path: str, rules: Rules, marks: Marks = UNMARKED) -> Named:
    """Decide what can be decided before a file is opened.

    An ``include`` pattern that matches the file and ends with its very name, without a wildcard,
    asks for that file: it is no longer a matter of names then. One that has a vendored folder's
    name among its parts asks for what is in such folders.
    """
    if rules.include and _asked_for(path, rules.include):
        return Named(exempt=True)
    lower = path.lower()
    if marks == UNMARKED and not _ANY.match(lower):  # as most are
        return _UNSUSPECTED
    exempt = marks.generated is False
    verdict = _not_theirs(path, lower, rules, marks) or _by_a_program(lower, rules, marks)
    return Named(verdict, exempt)


def _not_theirs(path: str, lower: str, rules: Rules, marks: Marks) -> Verdict | None:
    """Why a file is not for an index to show, or not of this project's authors."""
    if (pattern := _CREDENTIALS.match(lower)) and not _is_template(lower, pattern):
        return Verdict("credentials", f"named {pattern}")
    if rules.vendored or marks.vendored is False:
        return None
    if marks.vendored:
        return Verdict("vendored", "linguist-vendored in .gitattributes")
    pattern = _VENDORED.match(path)
    if pattern and not _folder_asked_for(pattern, rules.include):
        return Verdict("vendored", f"named {pattern}")
    return None


def _by_a_program(path: str, rules: Rules, marks: Marks) -> Verdict | None:
    """How the name says that a program wrote the file."""
    if marks.generated is False:
        return None
    if marks.generated and not rules.generated:
        return Verdict("generated", "linguist-generated in .gitattributes")
    kinds: tuple[tuple[bool, SkipReason, Patterns], ...] = (
        (rules.lock_files, "lock_file", _LOCK_FILES),
        (rules.minified, "minified", _MINIFIED),
        (rules.generated, "generated", _GENERATED),
    )
    for is_wanted, reason, patterns in kinds:
        if not is_wanted and (pattern := patterns.match(path)):
            return Verdict(reason, f"named {pattern}")
    return None


def _is_template(path: str, pattern: str) -> bool:
    return "env" in pattern and TEMPLATE.search(path.rpartition("/")[2]) is not None


def _asked_for(path: str, include: tuple[str, ...]) -> bool:
    names = _asked_names(include)
    name = path.rpartition("/")[2]
    if name not in names:
        return False
    raw = unescape_path(path).decode("latin-1")
    return any(regex.fullmatch(raw) for regex in names[name])


@lru_cache(maxsize=16)
def _asked_names(include: tuple[str, ...]) -> dict[str, list[re.Pattern[str]]]:
    """The file names at the end of `include` patterns, each with what those patterns match."""
    names: dict[str, list[re.Pattern[str]]] = {}
    for pattern in include:
        name = pattern.rpartition("/")[2]
        if name and not _MAGIC.search(name) and not pattern.startswith(("!", "#")):
            for rule in parse([os.fsencode(pattern)], 0).rules:
                names.setdefault(name, []).append(rule.regex)
    return names


def _folder_asked_for(pattern: str, include: tuple[str, ...]) -> bool:
    return pattern.partition("/")[0] in _asked_parts(include)


@lru_cache(maxsize=16)
def _asked_parts(include: tuple[str, ...]) -> frozenset[str]:
    asked = (pattern for pattern in include if not pattern.startswith(("!", "#")))
    return frozenset(part for pattern in asked for part in pattern.split("/"))


class Patterns:
    """A list of patterns, the plain forms of which are looked up instead of being tried in turn.

    ``name``, ``*.ending`` and ``a*b`` match a file's name, ``folder/`` all that lies in such a
    folder, ``folder/name`` and ``folder/**ending`` a file right in it, or anywhere below it.
    """

    def __init__(self, patterns: tuple[str, ...], *, lower: bool = False) -> None:
        """With `lower`, patterns are taken in small letters, as the paths have to be."""
        patterns = tuple(pattern.lower() for pattern in patterns) if lower else patterns
        self.patterns = patterns
        self._names = {p for p in patterns if "/" not in p and not _MAGIC.search(p)}
        self._endings: dict[str, list[str]] = {}
        for p in patterns:
            if p[0] == "*" and "." in p and "/" not in p and not _MAGIC.search(p[1:]):
                self._endings.setdefault(p.rpartition(".")[2], []).append(p)
        self._last: tuple[str, str, bool] = ("", "", False)

    def match(self, path: str) -> str:
        """The pattern that a path matches; "" if there is none."""
        folder, _, name = path.rpartition("/")
        if name in self._names:
            return name
        for ending in self._endings.get(name.rpartition(".")[2], ()):
            if name.endswith(ending[1:]):
                return ending
        if name.startswith(self._beginnings) and (found := self._rest.match(name)):
            return self._pattern(found, self._others)
        return self._match_folder(folder, path) if folder else ""

    def _match_folder(self, folder: str, path: str) -> str:
        if self._last[0] != folder:  # paths come in order, folder by folder
            found = self._below.search(f"/{folder}/") if self._trees else None
            below = self._pattern(found, self._trees) if found else ""
            self._last = (folder, below, any(top in f"/{folder}/" for top in self._tops))
        _, below, may_be_inside = self._last
        if below or not may_be_inside:
            return below
        found = self._inside.search(f"/{path}")
        return self._pattern(found, self._parts) if found else ""

    @staticmethod
    def _pattern(found: re.Match[str], patterns: list[str]) -> str:
        return patterns[(found.lastindex or 1) - 1]

    @cached_property
    def _others(self) -> list[str]:
        plain = {*self._names, *(p for endings in self._endings.values() for p in endings)}
        return [p for p in self.patterns if "/" not in p and p not in plain]

    @cached_property
    def _beginnings(self) -> tuple[str, ...]:
        return tuple(_MAGIC.split(p)[0] for p in self._others)

    @cached_property
    def _trees(self) -> list[str]:
        return [p for p in self.patterns if p.endswith("/")]

    @cached_property
    def _parts(self) -> list[str]:
        return [p for p in self.patterns if "/" in p[:-1] and not p.endswith("/")]

    @cached_property
    def _tops(self) -> set[str]:
        return {f"/{p.partition('/')[0]}/" for p in self._parts}

    @cached_property
    def _rest(self) -> re.Pattern[str]:
        return _any_of(fnmatch.translate(p) for p in self._others)

    @cached_property
    def _below(self) -> re.Pattern[str]:
        return _any_of(re.escape(f"/{p}") for p in self._trees)

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        return _any_of(
            "/" + re.escape(p).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") + r"\Z"
            for p in self._parts
        )


def _any_of(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"({expression})" for expression in expressions), re.DOTALL)


_CREDENTIALS = Patterns(CREDENTIALS)
_LOCK_FILES = Patterns(LOCK_FILES)
_VENDORED = Patterns(VENDORED)
_GENERATED = Patterns(GENERATED)
_MINIFIED = Patterns(MINIFIED)

# All of them at once: what none of them matches, of whatever case, need not be asked of each.
_ANY = Patterns((*CREDENTIALS, *LOCK_FILES, *VENDORED, *GENERATED, *MINIFIED), lower=True)
_UNSUSPECTED = Named()
