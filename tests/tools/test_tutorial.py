"""docs/plugins/tutorial.md, followed to the letter in a new environment, gives a plugin that works."""

import tomllib
import zipfile

from tools.reference.blocks import blocks_of
from tools.tutorial import PAGE, commands, follow


def test_whoever_does_what_the_page_says_has_a_working_plugin(tmp_path):
    found = follow(tmp_path)
    assert found.code == 0, found.output
    typed = [
        command
        for block in blocks_of("", PAGE.read_text())
        if block.language == "sh"
        for command in commands(block.code)
    ]
    assert [command for command, _ in found.commands] == typed
    assert '"minutes": 0.12' in found.output  # 15 words at 120 a minute, as its config.toml says
    package = tmp_path / "place" / "sensorium-reading-time"
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]["sensorium"]
    assert points == {"reading-time": "sensorium_reading_time"}
    (wheel,) = (package / "dist").iterdir()
    with zipfile.ZipFile(wheel) as packed:
        assert "sensorium_reading_time/__init__.py" in packed.namelist()
        names = [name for name in packed.namelist() if name.endswith("entry_points.txt")]
        assert b"reading-time = sensorium_reading_time" in packed.read(names[0])


def test_a_failing_command_is_the_last_one_and_is_told(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```sh\necho one # not a part of it\nfalse\necho three\n```\n")
    monkeypatch.setattr("tools.tutorial.PAGE", page)
    found = follow(tmp_path)
    assert (found.code, [command for command, _ in found.commands], found.output) == (1, ["echo one"], "one\n")
