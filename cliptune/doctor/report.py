"""All that the doctor says of one config, in one place: what the terminal, the JSON and the page show."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cliptune.doctor.findings import Findings
from cliptune.doctor.problems import Problem
from cliptune.doctor.settings import Recommendation
from cliptune.doctor.zero_shot import ZeroShot
from cliptune.whole import write_whole


@dataclass
class Report:
    """What the doctor says.

    Args:
        name: of the config.
        findings: of the scan.
        zero: what the untouched backbone says.
        problems: the worst first.
        recommendations: what is right already included.
        fixed: the config with what is recommended, as YAML.
        versions: what it ran on.
    """

    name: str
    findings: Findings
    zero: ZeroShot
    problems: list[Problem] = field(default_factory=list)
    recommendations: list[Recommendation] = field(default_factory=list)
    fixed: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `json` writes; the thumbnails are left to the page."""
        found = self.findings.to_json()
        found.pop("thumbnails", None)
        return {
            "name": self.name,
            "problems": [asdict(one) for one in self.problems],
            "recommendations": [asdict(one) | {"changes": one.changes} for one in self.recommendations],
            "zero_shot": self.zero.to_json(),
            "findings": found,
            "fixed": self.fixed,
            "versions": self.versions,
        }


def write_json(file: Path, report: Report) -> None:
    """Write the report as JSON, whole or not at all."""
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False, default=str) + "\n"
    write_whole(file, lambda handle: handle.write(text.encode("utf-8", "replace")))
