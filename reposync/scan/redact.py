"""Tokens and private keys in a text: found by forms that nothing else has, and taken out.

Only secrets with an unmistakable form are looked for: a prefix of their issuer's, a fixed length or
alphabet, a block with a header. A password in ``password = "..."`` has none, and is not found.

What is replaced keeps its length and its lines, so that each position in the text still holds. What
is reported is a line and a kind: the secret itself goes nowhere.

Documentation and tests are full of tokens that are none. One is left alone if it holds "example" or
a long run of the alphabet or of digits, or if it has fewer than `DISTINCT` different characters.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from reposync.records import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MASK = "*"
DISTINCT = 8

_PLACEHOLDER = re.compile(
    r"example|placeholder|redacted|dummy|(?:x{6}|0{8})|12345678|abcdefgh|your[_-]?(?:token|key)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9+/=]{32}")
_KEY_BODY_CHARS = 20_000


class _Form(NamedTuple):
    """One form of secret: group 1, or else all, of what `regex` matches."""

    kind: str
    regex: re.Pattern[str]
    is_real: Callable[[str], bool]

    @property
    def group(self) -> int:
        return min(1, self.regex.groups)


class _Gate(NamedTuple):
    """Forms that all have one character in common, at which `hint` looks around.

    A hint begins with that very character: so it skips through text at a gigabyte a second, where
    an expression that begins with any of several characters needs ten times as long.
    """

    hint: re.Pattern[str]
    forms: tuple[_Form, ...]


def find_secrets(text: str) -> list[tuple[int, int, str]]:
    """The secrets in a text: start, end and kind, in order, none overlapping another."""
    found = [
        (*match.span(form.group), form.kind)
        for gate in _GATES
        if gate.hint.search(text)
        for form in gate.forms
        for match in form.regex.finditer(text)
        if form.is_real(match[form.group])
    ]
    found += _private_keys(text)
    apart: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
        if not apart or start >= apart[-1][1]:
            apart.append((start, end, kind))
        elif end > apart[-1][1]:
            apart[-1] = (apart[-1][0], end, apart[-1][2])
    return apart


def redact(text: str, secrets: list[tuple[int, int, str]]) -> str:
    """`text` with every character of `secrets` replaced, but for blanks and line ends."""
    parts, last = [], 0
    for start, end, _ in secrets:
        parts += [text[last:start], re.sub(r"\S", MASK, text[start:end])]
        last = end
    return "".join((*parts, text[last:]))


def places(text: str, secrets: list[tuple[int, int, str]]) -> tuple[Redaction, ...]:
    """Where `secrets` begin, as lines that end at a line feed, from 1."""
    line, last, found = 1, 0, []
    for start, _, kind in secrets:
        line += text.count("\n", last, start)
        last = start
        found.append(Redaction(line, kind))
    return tuple(found)


def _looks_real(secret: str) -> bool:
    return len(set(secret)) >= DISTINCT and not _PLACEHOLDER.search(secret)


def _is_mixed(secret: str) -> bool:
    """True for what a random generator gives in base64: digits, small and capital letters."""
    classes = (str.islower, str.isupper, str.isdigit)
    return all(any(map(test, secret)) for test in classes) and _looks_real(secret)


def _is_account_key(secret: str) -> bool:
    # The emulator's key is the same on every machine, and stands in Microsoft's documentation.
    return _looks_real(secret) and not secret.startswith("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1")


def _is_jwt(token: str) -> bool:
    """True if the parts are what they must be; the token that all documentation shows is none."""
    head, body, _ = (_decoded(part) for part in token.split("."))
    if not isinstance(head, dict) or not isinstance(body, dict):
        return False
    return isinstance(head.get("alg"), str) and body.get("sub") != "1234567890"


def _decoded(part: str) -> object:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None


_HEADER = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ ){0,3})PRIVATE KEY( BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:[\s\"'+,]|\\[nr]|[A-Za-z0-9+/=]{16,}|[A-Za-z-]+: .*)*")


def _private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    """What stands between the two lines of a private key; they themselves stay."""
    if "PRIVATE KEY" not in text:
        return
    for header in _HEADER.finditer(text):
        start = header.end()
        footer = f"-----END {header[1]}PRIVATE KEY{header[2] or ''}-----"
        end = text.find(footer, start, start + _KEY_BODY_CHARS)
        if end < 0:  # cut off: as far as it looks like one
            body = _KEY_BODY.match(text, start)
            end = body.end() if body else start
        if any(_looks_real(word) for word in _WORD.findall(text, start, end)):
            yield start, end, "private_key"


_EDGE = "[A-Za-z0-9_-]"


def _form(kind: str, prefix: str, rest: str, is_real: Callable[[str], bool] = _looks_real) -> _Form:
    """A token that stands alone; before it may be the ``\n`` of a string in code.

    What must not stand before it is asked after its prefix, so that the expression begins with a
    literal, and before the rest, so that one long word is not searched again from each of its
    letters.
    """
    alone = rf"(?:(?<!{_EDGE}{prefix})|(?<=\\[nrt]{prefix}))"
    return _Form(kind, re.compile(rf"{prefix}{alone}{rest}(?!{_EDGE})"), is_real)


def _value(kind: str, regex: str, is_real: Callable[[str], bool] = _looks_real) -> _Form:
    """A token without a form of its own, as the value of something that has a name: group 1."""
    return _Form(kind, re.compile(regex), is_real)


_AWS_SECRET = _value(
    "aws_secret_access_key",
    r"""(?i:secret_?access_?key)["']?\s{0,4}(?:=>|[:=,])\s{0,4}["']?([A-Za-z0-9/+]{40})"""
    r"(?![A-Za-z0-9/+=])",
    _is_mixed,
)

_GATES = (
    _Gate(
        re.compile(
            r"_(?:(?=[A-Za-z0-9]{16})"
            r"(?<=h[pousr]_|at_|ve_|ec_|pm_|hf_|v1_|ca_|pa_|ss_|sa_|pi_|ms_|sk_)|(?<=dckr_))"
        ),
        (
            _form("github_token", "gh[pousr]_", r"[A-Za-z0-9]{36,251}"),
            _form("github_token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
            _form("stripe_key", "sk_live_", r"[A-Za-z0-9]{24,247}"),
            _form("stripe_key", "rk_live_", r"[A-Za-z0-9]{24,247}"),
            _form("stripe_key", "whsec_", r"[A-Za-z0-9]{32,64}"),
            _form("npm_token", "npm_", r"[A-Za-z0-9]{36}"),
            _form("huggingface_token", "hf_", r"[A-Za-z0-9]{34}"),
            _form("digitalocean_token", "do[opr]_v1_", r"[a-f0-9]{64}"),
            _form("shopify_token", "shp[acps][ats]_", r"[a-fA-F0-9]{32}"),
            _form("docker_token", "dckr_[po]at_", r"[A-Za-z0-9_-]{27,32}"),
            _form("grafana_token", "glsa_", r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
            _form("linear_key", "lin_api_", r"[A-Za-z0-9]{40}"),
            _form("rubygems_key", "rubygems_", r"[a-f0-9]{48}"),
            _form("groq_key", "gsk_", r"[A-Za-z0-9]{52}"),
        ),
    ),
    _Gate(
        re.compile(
            r"-(?:(?<=lpat-|gl[dr]t-|xapp-|-ant-|pypi-|CSPX-|-KEY-|NRAK-|PMAK-)"
            r"|(?<=xox[abeoprs]-)[0-9])"
        ),
        (
            _form("gitlab_token", "glpat-", r"[A-Za-z0-9_-]{20,64}"),
            _form("gitlab_token", "gl[dr]t-", r"[A-Za-z0-9_-]{20,64}", _is_mixed),
            _form("slack_token", "xox[abeoprs]-", r"[0-9]+-[A-Za-z0-9-]{20,}"),
            _form("slack_token", "xapp-", r"[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[a-f0-9]{64}"),
            _form("anthropic_key", "sk-ant-", r"[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{80,}"),
            _form("pypi_token", "pypi-AgE", r"[A-Za-z0-9_-]{50,}"),
            _form("google_oauth_secret", "GOCSPX-", r"[A-Za-z0-9_-]{28}"),
            _form("age_key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
            _form("new_relic_key", "NRAK-", r"[A-Z0-9]{27}"),
            _form("postman_key", "PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}"),
        ),
    ),
    _Gate(
        re.compile(r"A(?:[KS]IA[A-Z0-9]{16}|Iza[\w-]{35}|c(?:count|cess)Key|TATT3|A[\w-]{33})"),
        (
            _form("aws_access_key_id", "A[KS]IA", r"[A-Z0-9]{16}"),
            _form("google_api_key", "AIza", r"[A-Za-z0-9_-]{35}", _is_mixed),
            _form("atlassian_token", "ATATT3", r"[A-Za-z0-9_=-]{180,}"),
            _value(
                "telegram_token",
                r":(?<=[0-9]{8}:)(AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])",
                _is_mixed,
            ),
            _value("azure_key", r"AccountKey=([A-Za-z0-9+/]{86}==)", _is_account_key),
            _value("azure_key", r"SharedAccessKey=([A-Za-z0-9+/]{43}=)(?!=)", _is_mixed),
            _AWS_SECRET,
        ),
    ),
    _Gate(re.compile(r"_(?:(?<=ecret_)access_key|(?<=ECRET_)ACCESS_KEY)"), (_AWS_SECRET,)),
    _Gate(
        re.compile(r"\.(?:(?<=a29\.|hvs\.)|(?<=SG\.)|(?<=hooks\.)slack)"),
        (
            _form("google_oauth_token", r"ya29\.", r"[A-Za-z0-9_-]{60,}", _is_mixed),
            _form("vault_token", r"hvs\.", r"[A-Za-z0-9_-]{90,}", _is_mixed),
            _form("sendgrid_key", r"SG\.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", _is_mixed),
            _value("slack_webhook", r"hooks\.slack\.com/services/(T\w{6,}/B\w{6,}/\w{20,})"),
        ),
    ),
    _Gate(
        re.compile(r"J(?<=eyJ|kFJ)"),
        (
            _form("openai_key", "sk-", r"[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}"),
            _form(
                "json_web_token",
                "eyJ",
                r"[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{43,}",
                _is_jwt,
            ),
        ),
    ),
)
