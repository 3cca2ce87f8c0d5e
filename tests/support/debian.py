"""Programs that Debian packages, for tests that ask the real thing: unpacked under `.cache`, installed nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache" / "debian"
_PATIENCE_S = 40
_THERE = 'mount --bind "$0" /usr/share && exec "$@"'


def program(package: str, name: str) -> list[str] | None:
    """The command for a program on the path, or of a package that is fetched once; None: neither is to be had."""
    if (found := shutil.which(name)) is not None:
        return [found]
    folder = _CACHE / package
    if not folder.exists():
        _fetch(package, folder)
    binary = folder / "usr" / "bin" / name
    # Debian's programs look for their files under /usr/share: for this one alone, the package's are there.
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", _THERE, str(folder / "usr" / "share")]
    if not binary.exists() or subprocess.run([*inside, "true"], capture_output=True).returncode:
        return None
    return [*inside, str(binary)]


def _fetch(package: str, folder: Path) -> None:
    """Leave the package's files in `folder`, or nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return
    _CACHE.mkdir(parents=True, exist_ok=True)
    # Of its own: two processes may want the same. Whoever is second throws his away.
    part = Path(tempfile.mkdtemp(dir=_CACHE))
    try:
        subprocess.run(
            ["apt-get", "download", package], cwd=part, check=True, capture_output=True, timeout=_PATIENCE_S
        )
        [archive] = part.glob("*.deb")
        subprocess.run(
            ["dpkg-deb", "-x", archive, part], check=True, capture_output=True, timeout=_PATIENCE_S
        )
        archive.unlink()
        part.rename(folder)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # No network, or somebody was faster: whoever asks looks what is there, and a skipped test shows this.
        sys.stderr.write(f"{package} from Debian: {error}\n")
    finally:
        shutil.rmtree(part, ignore_errors=True)
