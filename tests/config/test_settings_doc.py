"""docs/settings.md lists every setting with its default and says what it is."""

import re

from runtime.settings import Settings
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "settings.md"


def test_the_page_lists_every_setting_with_its_default_and_nothing_else() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    listed = {name.lower(): (default, what) for name, default, what in rows}
    assert set(listed) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, what = listed[name]
        assert what == field.description
        if isinstance(field.default, str | int | float):
            assert default == f"`{field.default}`"
