"""The private PostgreSQL under the restrictions that a machine may have."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stack.instance import Instance
from lab.stack.program import Child
from lab.stack.servers import postgres
from lab.stack.servers.obtain import native_postgres
from ops.errors import ServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own admits its user only."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def comes_up(instance: Instance) -> bool:
    """Start, wait for the answer, stop; True when it stopped by itself."""
    _, program = native_postgres(instance)
    child = Child(program, instance.mark)
    try:
        child.wait_ready()
    finally:
        clean = child.stop()
    return clean


def test_it_starts_below_a_folder_that_only_its_owner_may_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    assert comes_up(Instance(closed / "one"))


@as_root
def test_it_runs_as_nobody_where_namespaces_are_forbidden(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance(open_folder / "one")
    monkeypatch.setattr(postgres, "UNSHARE", ("false",))
    assert comes_up(instance)
    assert (instance.folder / "postgres" / "data").stat().st_uid == postgres.NOBODY

    monkeypatch.undo()  # the same data, on a machine that allows namespaces
    assert comes_up(instance)
    assert (instance.folder / "postgres" / "data").stat().st_uid == 0


@as_root
def test_without_access_for_the_user_nobody_one_line_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres, "UNSHARE", ("false",))

    with pytest.raises(ServerError, match="set DATABASE_URL"):
        native_postgres(Instance(tmp_path / "one"))


def test_it_starts_again_after_it_was_killed(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "one")
    _, program = native_postgres(instance)
    child = Child(program, instance.mark)
    child.wait_ready()
    os.kill(child.pid, signal.SIGKILL)  # not reaped yet: its pid still exists, as under an init that never reaps
    instance.stop_processes()
    try:
        assert comes_up(instance)
    finally:
        child.stop()


def test_a_partial_data_folder_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "one" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")

    assert comes_up(Instance(tmp_path / "one"))
