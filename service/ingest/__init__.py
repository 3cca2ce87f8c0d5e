from typing import Final

from compiled import put_first

COMPILED: Final = put_first(__name__, __path__)
"""Whether the modules that every event passes through run as machine code."""
