"""The alerts: each has a severity and a remedy, and fires at its threshold."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker_files import KUBERNETES

RULE = yaml.safe_load((KUBERNETES / "base" / "monitoring" / "alerts.yaml").read_text())
CASES = Path(__file__).with_name("alert_cases.yaml")
RULES: list[dict[str, Any]] = [rule for group in RULE["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_severity_and_a_remedy(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".") and len(rule["annotations"]["description"]) > 40
    assert re.fullmatch(r"\d+[mh]", rule["for"])


def test_every_alert_has_a_case() -> None:
    tried = {
        case["alertname"]
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tried == {rule["alert"] for rule in RULES}


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed, so the alerts are not evaluated")
    groups = yaml.safe_load(yaml.safe_dump(RULE["spec"]))
    for rule in (rule for group in groups["groups"] for rule in group["rules"]):
        del rule["annotations"]  # the cases are about when, not about the words
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(groups))
    shutil.copyfile(CASES, tmp_path / CASES.name)
    result = subprocess.run([promtool, "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    config = subprocess.run([promtool, "check", "rules", "alerts.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert config.returncode == 0, config.stderr
