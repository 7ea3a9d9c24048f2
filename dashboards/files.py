"""All dashboards and their files."""

from pathlib import Path

from dashboards.board import Dashboard
from dashboards.broker_and_database import BROKER_AND_DATABASE
from dashboards.dead_letters import DEAD_LETTERS
from dashboards.flow import FLOW
from dashboards.grafana import as_json
from dashboards.relay import RELAY
from dashboards.steps import STEPS

FOLDER = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboards"
DASHBOARDS: tuple[Dashboard, ...] = (FLOW, STEPS, DEAD_LETTERS, RELAY, BROKER_AND_DATABASE)


def files() -> dict[str, str]:
    """Each file's text by its name."""
    return {f"{dashboard.uid.removeprefix('waybill-')}.json": as_json(dashboard) for dashboard in DASHBOARDS}


def write(folder: Path = FOLDER) -> None:
    """Write these dashboards into the folder and delete any other file there."""
    texts = files()
    for file in folder.glob("*.json"):
        if file.name not in texts:
            file.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)
