"""The alert rules fire when they should, ask for metrics that there are, and each has its page."""

import json
import os
import re
import shutil
import subprocess

import pytest
from prometheus_client import REGISTRY

from appointments.shared import metrics
from tests.service import ROOT

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = (PROMETHEUS / "alerts.yml").read_text()
DASHBOARD = json.loads((ROOT / "deploy/grafana/appointments.json").read_text())


def known() -> set[str]:
    """The names that a scrape has."""
    assert metrics.RPC_DURATION in REGISTRY._collector_to_names
    return {"up", *REGISTRY._names_to_collectors}


def asked(expression: str) -> set[str]:
    """The names of the metrics in an expression."""
    bare = re.sub(r'\{[^}]*\}|\[[^]]*\]|"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without) \([^)]*\)", "", bare)
    functions = {"max", "sum", "rate", "increase", "histogram_quantile", "vector", "or", "and", "by"}
    return set(re.findall(r"[a-z_]{2,}", bare)) - functions


def test_every_rule_asks_for_metrics_that_there_are() -> None:
    """A renamed metric would silence its alert."""
    for expression in re.findall(r"expr: \|?\s*(.*?)\n        (?:for|labels):", RULES, re.DOTALL):
        assert asked(expression) <= known(), expression


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    """A renamed metric would leave a panel empty."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert asked(target["expr"]) <= known(), target["expr"]


def test_the_dashboard_shows_what_there_is() -> None:
    """Each metric is in a panel, so whoever is woken by an alert finds what it watches. No panel lies on another."""
    shown = {name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in asked(target["expr"])}
    ours = {name for name in known() if name.startswith(("appointments_", "rpc_", "http_", "db_"))}
    assert set() == {base(name) for name in ours} - {base(name) for name in shown}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(places) == len(set(places))


def base(name: str) -> str:
    """A metric's name without what its kind adds."""
    return re.sub(r"_(total|created|bucket|count|sum)$", "", name)


def test_every_alert_has_a_page() -> None:
    """What it means and what to do, in docs/operations.md under its name."""
    page = (ROOT / "docs/operations.md").read_text()
    for alert in re.findall(r"- alert: (\w+)", RULES):
        assert f"### {alert}\n" in page
        assert f"runbook: docs/operations.md#{alert.lower()}\n" in RULES


def test_the_rules_fire_when_they_should() -> None:
    """As promtool plays them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is missing")
    run = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
