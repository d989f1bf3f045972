"""The sheet of all pictures."""

import pytest
from PIL import Image

from jaxrl.errors import EnvError
from tests.core.test_rollout import counter
from tools.contact_sheet import SHEET, contact_sheet


def test_contact_sheet_holds_them_all(tmp_path):
    few = {name: SHEET[name] for name in ("frozen_lake", "simple_spread", "corridor")}
    path = contact_sheet(tmp_path / "sheet.png", few, columns=2)
    with Image.open(path) as image:
        assert min(image.size) > 300
    with pytest.raises(EnvError, match="must have pictures"):
        contact_sheet(tmp_path / "sheet.png", {"counter": lambda: counter(5.0, 5)})
