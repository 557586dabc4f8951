"""Writes conda.yaml, the environment of `mlflow run`, from the pins of requirements.lock.

With --check it writes nothing and fails where the two disagree.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CONDA_PYTHON = {
    "python_version": "3.11",
    "python_full_version": "3.11.0",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "sys_platform": "linux",
}


def conda_yaml() -> str:
    lock = (ROOT / "requirements.lock").read_text()
    found = [Requirement(match[1]) for match in re.finditer(r"^([a-z0-9][^\\\n]*==[^\\\n]*)", lock, re.MULTILINE)]
    pins = [f"{pin.name}{pin.specifier}" for pin in found if pin.marker is None or pin.marker.evaluate(CONDA_PYTHON)]
    lines = ["# Made from requirements.lock by `make lock`.", "name: forecastle", "channels:", "  - conda-forge"]
    lines += ["dependencies:", "  - python=3.11", "  - pip", "  - pip:"]
    return "\n".join([*lines, *(f"      - {pin}" for pin in pins)]) + "\n"


def main() -> int:
    path = ROOT / "conda.yaml"
    if "--check" not in sys.argv:
        path.write_text(conda_yaml())
        return 0
    if not path.is_file() or path.read_text() != conda_yaml():
        sys.stderr.write("conda.yaml does not follow requirements.lock: run `make lock`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
