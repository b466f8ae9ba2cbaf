"""Both encoders on several processes, one per GPU or machine: ``torchrun -m spotscape.distributed --help``.

:func:`spotscape.tl.spotscape` and :func:`spotscape.tl.spacross` join the group that torchrun started them in. This is a
command around them: it reads and writes the file, and says what to do when the group breaks.
"""

from spotscape.distributed._command import main

__all__ = ["main"]
