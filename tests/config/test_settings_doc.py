"""docs/settings.md lists every setting with its default and a description."""

import re

from runtime.settings import Settings
from tests.support.paths import ROOT

WITHOUT_A_DEFAULT = {
    **dict.fromkeys(("database_url", "amqp_url"), "(needed)"),
    **dict.fromkeys(("alert_webhook_url", "smtp_user", "smtp_password", "tracing_otlp_url"), "(none)"),
    "sap_password": "(a sandbox's)",
}
PAGE = ROOT / "docs" / "settings.md"


def test_the_page_lists_every_setting_with_its_default_and_nothing_else() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    listed = {name.lower(): (default, what) for name, default, what in rows}
    assert set(listed) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, what = listed[name]
        assert what == field.description
        assert default == WITHOUT_A_DEFAULT.get(name, f"`{field.default}`")
