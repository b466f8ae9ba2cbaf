"""``torchrun --nproc-per-node=2 -m spotscape.distributed tissue.h5ad --out embedded.h5ad``."""

import sys

from spotscape.distributed._command import main

sys.exit(main())
