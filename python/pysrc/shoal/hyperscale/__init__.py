"""hyperscale on native parts.

The modules below this package have the paths, names, signatures and fields of those below
`hyperscale.distributed`, on the engine of Shoal where that is faster, and right where the originals
are known to be wrong. `install()` puts them into a hyperscale that is importable:

    import shoal.hyperscale

    shoal.hyperscale.install()
    import hyperscale.distributed.swim
"""

from ._install import InstallError, install, installed, uninstall

__all__ = ["InstallError", "install", "installed", "uninstall"]
