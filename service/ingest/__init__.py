from typing import Final

from service.compiled import put_first

COMPILED: Final = put_first(__path__)
"""Whether the modules that every event passes through run as machine code."""
