"""The Prometheus rules: valid, firing when they should, and about what is really exposed.

They need ``promtool``, which comes with Prometheus (``apt-get install prometheus``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import Desk, start_python

HOW_TO = Path(__file__).parents[2] / "docs/how-to"
RULES = HOW_TO / "alerts.yml"
SERIES = Path(__file__).with_name("alerts_test.yml")

Labels = Mapping[str, set[str]]


def promtool(*arguments: str | Path) -> str:
    """What promtool says, as long as it is content."""
    found = shutil.which("promtool")
    assert found, "promtool is missing: install Prometheus (apt-get install prometheus)"
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    """The rules that the how-to page offers."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_rules_are_valid() -> None:
    """Prometheus takes them."""
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", RULES)


def test_the_rules_fire_when_they_should() -> None:
    """Prometheus itself finds the series that fire, and no others."""
    assert "SUCCESS" in promtool("test", "rules", SERIES)


def test_each_rule_is_seen_to_fire_and_to_be_quiet() -> None:
    """No rule is tested one way only."""
    expected = defaultdict(set)
    for test in yaml.safe_load(SERIES.read_text("utf-8"))["tests"]:
        for one in test["alert_rule_test"]:
            expected[one["alertname"]].add(bool(one["exp_alerts"]))
            others = {
                re.search(r'repository="(\w+)"', s["series"])[1] for s in test["input_series"]
            }  # type: ignore[index]
            if len(others) > len(one["exp_alerts"]):
                expected[one["alertname"]].add(False)
    assert expected == {rule["alert"]: {True, False} for rule in rules()}


def test_each_rule_is_explained() -> None:
    """The page says what to do about each."""
    page = (HOW_TO / "monitor.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in rules()]


SERVE = """
import sys
from support import SMALL, HashEmbedding
from reposync import SyncError, sync_repository
exec(sys.argv[1])
for function in (HashEmbedding(poison=""), HashEmbedding()):
    try:
        sync_repository(sys.argv[2], "repo", store=sys.argv[3], embedding_function=function,
                        config=SMALL)
    except SyncError:
        pass
print(server.server_port, flush=True)
sys.stdin.readline()
server.shutdown()
server.server_close()
"""


@pytest.fixture
def exposed(tmp_path: Path, own_home: Path) -> dict[str, Labels]:
    """What a program as on the page exposes after a sync that failed, and one that did not.

    The labels of each sample by its name, with the values that each has.
    """
    page = (HOW_TO / "monitor.md").read_text("utf-8")
    (program,) = re.findall(
        r"```python\n(from opentelemetry import metrics.*?)```", page, re.DOTALL
    )
    serve = program.replace("start_http_server(9464", "server, _ = start_http_server(0")
    assert serve != program
    desk = Desk(tmp_path / "repo", tmp_path / "store")
    desk.root.mkdir()
    desk.write_many(3)
    with start_python(SERVE, serve, desk.root, desk.folder) as child:
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        assert port, child.stderr.read() if child.stderr else ""
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        _, complaints = child.communicate("\n", timeout=60)
        assert child.returncode == 0, complaints
    samples: dict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                samples[sample.name][label].add(value)
    return dict(samples)


def test_the_rules_are_about_what_is_exposed(exposed: dict[str, Labels]) -> None:
    """Each metric, label and value in a rule, and in its test, is one that an exporter gives."""
    for rule in rules():
        names = re.findall(r"\breposync_\w+", rule["expr"])
        assert names, rule
        assert set(names) <= exposed.keys(), rule
        for grouped in re.findall(r"by \((\w+)\)", rule["expr"]):
            assert all(grouped in exposed[name] for name in names if grouped != "le"), rule
    every = " ".join(rule["expr"] for rule in rules())
    for name, matchers in re.findall(r"(reposync_\w+)\{([^}]*)\}", every):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert set(values.split("|")) <= exposed[name][label]
    assert "le" in exposed["reposync_lock_wait_seconds_bucket"]
    for test in yaml.safe_load(SERIES.read_text("utf-8"))["tests"]:
        for one in test["input_series"]:
            name, _, labels = one["series"].partition("{")
            assert name in exposed
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                own = label in ("repository", "instance")
                assert own or value in exposed[name][label], one
