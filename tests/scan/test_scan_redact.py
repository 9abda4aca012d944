"""Secrets leave a text, and nothing else does.

No token here is anybody's: each is put together from its issuer's prefix and letters drawn by a
fixed seed, so that no file of this repository holds one either.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reposync.scan.content import judge
from reposync.scan.redact import find_secrets, places, redact
from reposync.scan.rules import Rules

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
DRAW = random.Random(4)


def drawn(length: int, letters: str = ALNUM) -> str:
    """Letters that a generator would give: of each kind, and not the same ones over again."""
    third = len(letters) // 3
    parts = (letters[:third], letters[third:-third], letters[-third:])
    head = "".join(map(DRAW.choice, parts))
    return head + "".join(DRAW.choice(letters) for _ in range(length - len(head)))


def jwt(**body: object) -> str:
    """A JSON web token."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, body)]
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, drawn(43)))


def pem(kind: str, end: str = "\n") -> str:
    """A block that looks like a private key."""
    lines = [drawn(64) for _ in range(5)] + [drawn(30) + "=="]
    return end.join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"))


TOKENS = {
    "aws_access_key_id": ["AKIA" + drawn(16, UPPER), "ASIA" + drawn(16, UPPER)],
    "github_token": [
        *(f"gh{letter}_" + drawn(36) for letter in "pousr"),
        f"github_pat_{drawn(22)}_{drawn(59)}",
    ],
    "gitlab_token": ["glpat-" + drawn(20), "gldt-" + drawn(20)],
    "slack_token": [f"xoxb-{drawn(12, string.digits)}-{drawn(24)}"],
    "stripe_key": ["sk_live_" + drawn(24), "rk_live_" + drawn(99), "whsec_" + drawn(32)],
    "google_api_key": ["AIza" + drawn(35)],
    "google_oauth_secret": ["GOCSPX-" + drawn(28)],
    "google_oauth_token": ["ya29." + drawn(120)],
    "openai_key": [f"sk-{drawn(20)}T3BlbkFJ{drawn(20)}", f"sk-proj-{drawn(74)}T3BlbkFJ{drawn(74)}"],
    "anthropic_key": ["sk-ant-api03-" + drawn(95)],
    "npm_token": ["npm_" + drawn(36)],
    "pypi_token": ["pypi-AgEIcHlwaS5vcmc" + drawn(120)],
    "huggingface_token": ["hf_" + drawn(34)],
    "sendgrid_key": [f"SG.{drawn(22)}.{drawn(43)}"],
    "digitalocean_token": ["dop_v1_" + drawn(64, HEX)],
    "shopify_token": ["shpat_" + drawn(32, HEX)],
    "docker_token": ["dckr_pat_" + drawn(27)],
    "vault_token": ["hvs." + drawn(95)],
    "telegram_token": ["AA" + drawn(33)],
    "json_web_token": [jwt(sub="42", name="Ann")],
    "age_key": ["AGE-SECRET-KEY-1" + drawn(58, UPPER)],
    "postman_key": [f"PMAK-{drawn(24, HEX)}-{drawn(34, HEX)}"],
    "new_relic_key": ["NRAK-" + drawn(27, UPPER)],
    "linear_key": ["lin_api_" + drawn(40)],
    "rubygems_key": ["rubygems_" + drawn(48, HEX)],
    "groq_key": ["gsk_" + drawn(52)],
    "grafana_token": [f"glsa_{drawn(32)}_{drawn(8, HEX)}"],
    "atlassian_token": ["ATATT3" + drawn(186)],
}

PLACES = [
    "{}",
    "TOKEN={}\n",
    'token = "{}"\n',
    "token: '{}'  # ours\n",
    "curl -H 'Authorization: Bearer {}' https://x.org\n",
    '{{"token":"{}"}}',
    "print('a\\n{}')",
    "<token>{}</token>",
    "https://user:{}@x.org/a.git\n",
]


def kinds(text: str) -> list[str]:
    """What kinds of secrets are found in a text."""
    return [kind for _, _, kind in find_secrets(text)]


@pytest.mark.parametrize("kind", TOKENS)
def test_each_kind_is_found_wherever_it_stands(kind: str) -> None:
    """A token is found whole, at its line, whatever stands around it."""
    for token in TOKENS[kind]:
        before = "123456789:" if kind == "telegram_token" else ""
        for place in PLACES:
            text = "first line\n" + place.format(before + token)
            found = find_secrets(text)
            assert [(text[start:end], one) for start, end, one in found] == [(token, kind)]
            assert places(text, found) == ((2 + place.count("a\n{"), kind),)
            assert redact(text, found) == text.replace(token, "*" * len(token))


@pytest.mark.parametrize(
    "text",
    [
        "aws_secret_access_key = {}\n",
        'AWS_SECRET_ACCESS_KEY="{}"\n',
        '"SecretAccessKey": "{}",\n',
        "secretAccessKey: '{}'\n",
    ],
)
def test_aws_secrets_are_told_by_their_name(text: str) -> None:
    """Forty letters are anything; those with the name before them are the secret."""
    secret = drawn(40, ALNUM + "/+")
    assert redact(text.format(secret), find_secrets(text.format(secret))) == text.format("*" * 40)
    assert kinds(f"sha1 = {secret}\n") == []


def test_values_with_a_name() -> None:
    """Storage keys and webhooks are taken out, their names stay."""
    key = drawn(86) + "=="
    text = f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={key};X=1\n"
    assert redact(text, find_secrets(text)) == text.replace(key, "*" * 88)
    hook = f"T{drawn(8, UPPER)}/B{drawn(8, UPPER)}/{drawn(24)}"
    text = f"https://hooks.slack.com/services/{hook}\n"
    assert redact(text, find_secrets(text)) == text.replace(hook, "*" * len(hook))


@pytest.mark.parametrize(
    "kind",
    [
        *("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"),
        *("ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n", '\\n"\n    "'])
def test_private_keys(kind: str, end: str) -> None:
    """Between the two lines nothing is left to read, and the lines stay where they are."""
    block = pem(kind, end)
    text = f'key = """{block}"""\nprint(key)\n'
    found = find_secrets(text)
    assert [one for _, _, one in found] == ["private_key"]
    left = redact(text, found)
    assert left.count("\n") == text.count("\n")
    assert f"-----BEGIN {kind}-----" in left
    assert not any(word in left for word in block.replace("\\n", "\n").split() if len(word) > 40)
    cut = text[: text.index("-----END")]
    assert not any(word in redact(cut, find_secrets(cut)) for word in block.split(end)[1:3])


NO_SECRETS = [
    # What documentation shows: these are in AWS's, Stripe's, Slack's, jwt.io's and Azure's own.
    "AKIAIOSFODNN7" + "EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0"
    "IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw==",
    # Placeholders.
    *("ghp_" + "x" * 36, "ghp_" + "0" * 36, "glpat-" + "X" * 20, "npm_" + "a" * 36),
    *("ghp_your_token_here", "sk-...", "sk-ant-api03-...", "AKIA" + "X" * 16, "hf_xxxx"),
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\n<your key>\n-----END RSA PRIVATE KEY-----",
    "if line == '-----BEGIN PRIVATE KEY-----':\n    return read_private_key_from(the_stream)",
    # Public by nature.
    "-----BEGIN CERTIFICATE-----\n" + "\n".join(drawn(64) for _ in range(5)) + "\n-----END",
    "-----BEGIN PUBLIC KEY-----\n" + "\n".join(drawn(64) for _ in range(5)) + "\n-----END",
    "ssh-rsa AAAAB3NzaC1yc2E" + drawn(200),
    # What only looks random.
    str(uuid.UUID(int=DRAW.getrandbits(128))),
    *(drawn(length, HEX) for length in (32, 40, 64, 128)),
    "sha512-" + base64.b64encode(DRAW.randbytes(64)).decode(),
    "data:image/png;base64," + base64.b64encode(DRAW.randbytes(600)).decode(),
    base64.b64encode(DRAW.randbytes(3000)).decode(),
    # Names.
    *("test_" + "very_long_name_of_a_test_" * 3, "ghp_" + "_".join(["word"] * 9)),
    *("sk_live_mode_is_enabled_for_this_account", "npm_config_registry", "hf_hub_download"),
    *("MAKIA" + drawn(16, UPPER), "AKIA" + drawn(17, UPPER), "my_ghp_" + drawn(36)),
    "eyJ" + drawn(20) + "." + drawn(20),
]


@pytest.mark.parametrize("text", NO_SECRETS)
def test_look_alikes_stay(text: str) -> None:
    """Examples, placeholders, hashes, certificates and names are indexed as they are."""
    for place in PLACES:
        assert kinds(place.format(text)) == []


SECRETS = st.sampled_from([*(one for some in TOKENS.values() for one in some), pem("PRIVATE KEY")])
TEXT = st.text(st.sampled_from("aZ0_-. \n\r\"'=:/éß€"))


@given(st.lists(st.tuples(TEXT, SECRETS), max_size=4), TEXT)
def test_length_and_lines_stay(parts: list[tuple[str, str]], end: str) -> None:
    """Every character that is not of a secret stays where it is, and every line."""
    text = "".join(f"{before}\n{secret}\n" for before, secret in parts) + end
    found = find_secrets(text)
    left = redact(text, found)
    assert len(left) == len(text)
    assert [i for i, a in enumerate(left) if a in "\r\n"] == [
        i for i, a in enumerate(text) if a in "\r\n"
    ]
    inside = {i for start, stop, _ in found for i in range(start, stop)}
    assert all(a == b for i, (a, b) in enumerate(zip(text, left, strict=True)) if i not in inside)
    assert find_secrets(left) == []


@given(st.text(st.sampled_from("ghp_AKIA-eyJ.sk=:x0Zn\n BEGINPRVTKY"), max_size=300))
def test_any_text_keeps_its_length(text: str) -> None:
    """Nothing that nearly looks like a secret confuses the search."""
    assert len(redact(text, find_secrets(text))) == len(text)


@pytest.mark.parametrize(
    "unit",
    [
        *("ghp_", "eyJ", "eyJaaaaaaaaa.", "sk-T3BlbkFJ", "AKIA", "xoxb-1-", "AccountKey="),
        *("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN A ", "secret_access_key = ", "a: b\n"),
        *("A" * 64 + "\n", "glpat-", "0123456789:AA"),
    ],
)
def test_a_hostile_text_takes_no_longer(unit: str) -> None:
    """A megabyte made of beginnings is searched in time that grows with its length only."""
    find_secrets("-----BEGIN PRIVATE KEY-----\n" + unit * (2**20 // len(unit)))


def test_what_becomes_of_a_secret() -> None:
    """It is taken out, or its file is skipped, or it stays, as the caller wants."""
    token = TOKENS["github_token"][0]
    data = f"a\nb = '{token}'\n".encode()
    redacted = judge("a.py", data, Rules())
    assert redacted.text == f"a\nb = '{'*' * 40}'\n"
    assert redacted.redactions == ((2, "github_token"),)
    skipped = judge("a.py", data, Rules(secrets="skip"))
    assert (skipped.text, skipped.redactions) == (None, redacted.redactions)
    assert skipped.skip == ("secrets", "github_token in line 2")
    kept = judge("a.py", data, Rules(secrets="keep"))
    assert (kept.text, kept.redactions) == (data.decode(), ())
    for found in (redacted, skipped, kept):
        assert token not in repr(found)
