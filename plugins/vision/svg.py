"""Drawings in SVG through CairoSVG, in a process of their own: nothing else is read, and there are limits.

A drawing can name other files, hold entities that grow, and keep a processor busy for ever with a kilobyte.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hooks import BadInput, Event, ModelUnavailable

if TYPE_CHECKING:
    from plugins.vision.document import DocumentSettings

LARGEST = 20_000_000
MEMORY = 1_500_000_000
# Ends with 2 for a content at fault, and says why in a line; with 3 where the library is missing.
DRAW = """
import resource, sys
source, target, side, seconds, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000_000, 200_000_000))
try:
    from cairosvg.helpers import node_format
    from cairosvg.parser import Tree
    from cairosvg.surface import PNGSurface
except (ImportError, OSError) as error:
    print(error); raise SystemExit(3)

def refuse(url, resource_type):
    raise ValueError('it names another file, which is not read')

try:
    with open(source, 'rb') as file:
        tree = Tree(bytestring=file.read(), url_fetcher=refuse, unsafe=False)
    ruler = object.__new__(PNGSurface)  # knows how long an inch is, and has nothing drawn on it
    ruler.dpi, ruler.font_size, ruler.context_width, ruler.context_height = 96, 16, None, None
    width, height, box = node_format(ruler, tree)
    width, height = width or box[2], height or box[3]
    if not 0 < max(width, height) < 1e6 or not 0 < min(width, height):
        raise ValueError('its size makes no sense')
    longer = 'output_width' if width >= height else 'output_height'
    with open(target, 'wb') as output:
        PNGSurface(tree, output, 96, background_color='white', **{longer: int(side)}).finish()
except MemoryError:
    print('it needs too much memory'); raise SystemExit(2)
except Exception as error:
    print(str(error) or type(error).__name__); raise SystemExit(2)
"""


def draw(event: Event, path: Path, settings: DocumentSettings) -> None:
    """Write the drawing as a PNG on white; raises BadInput."""
    if event.size > LARGEST:
        raise BadInput(f"The drawing has {event.size / 1e6:,.0f} MB; at most 20 are drawn.", "Export it as PNG.")
    seconds = max(1, int(settings.time_limit / 2))
    numbers = (min(settings.page_side, 2000), seconds, MEMORY)
    command = [sys.executable, "-c", DRAW, str(event.path.absolute()), str(path), *map(str, numbers)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * seconds, cwd=path.parent)
    except subprocess.TimeoutExpired as error:
        raise BadInput("Drawing it takes too long.", "Export it as PNG.") from error
    said = " ".join(done.stdout.split())[:200].rstrip(".")
    if done.returncode == 3:
        raise ModelUnavailable(
            f"Drawings in SVG need CairoSVG and the library cairo: {said}.",
            "Install them: pip install 'sensorium[documents]', and the system's package libcairo2.",
        )
    if done.returncode:
        raise BadInput(f"The SVG cannot be drawn: {said or 'it needs too much'}.", "Export it as PNG.")
