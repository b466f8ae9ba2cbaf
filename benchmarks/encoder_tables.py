"""The encoders as they are today in the tables of integration, batch effects and new slices.

    python benchmarks/encoder_tables.py
    python benchmarks/encoder_tables.py --go-on

Rows of the encoders are removed and measured again. Existing rows of linear methods are kept. Run it after a
change of a default of the encoders; `--go-on` finishes a run that was broken off. It is small on purpose, about ten
minutes on one core: two seeds of simulated slices, one of real ones, five of parts of them. The scripts themselves run
more seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

import batch_effects
import integration
import new_slices
import page
import pandas as pd
import torch

import spotscape as sp

# Tissue, methods and seeds of the benchmark of integration.
INTEGRATION = (
    ("heterogeneous", integration.METHODS, 2),
    (
        "dlpfc_donor3",
        (*integration.LINEAR, "default", "no_integration", "all_matches", "spacross_2d", "spacross_3d"),
        1,
    ),
    *(
        (part, ("floor_3", "floor_3_integrated", "default", "all_matches", "no_scaling", "spacross_2d"), 5)
        for part in integration.PARTS
    ),
)
SIMULATED_SEEDS, REAL_SEEDS = 2, 1


def main() -> None:
    """Remove rows of the encoders, measure them, and write tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--go-on", action="store_true", help="keep the rows that are there")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    for part in arguments.parts:
        module, linear, run = PARTS[part]
        if not arguments.go_on:
            rows = pd.read_csv(module.RESULTS)
            rows[rows["method"].isin(linear)].to_csv(module.RESULTS, index=False)
        run()
    batch_effects.draw(pd.read_csv(batch_effects.RESULTS), batch_effects.PICTURE)
    page.main()


def run_batch_effects() -> None:
    """All strengths, and seqFISH."""
    for seed in range(max(SIMULATED_SEEDS, REAL_SEEDS)):
        for tissue in batch_effects.TISSUES:
            if seed < (SIMULATED_SEEDS if tissue in batch_effects.SIMULATED else REAL_SEEDS):
                batch_effects.run(tissue, seed, list(batch_effects.METHODS), batch_effects.RESULTS)


def run_integration() -> None:
    """Both tissues."""
    for tissue, methods, seeds in INTEGRATION:
        wanted = [name for name in methods if not name.endswith("harmony")]
        options = {"out": integration.RESULTS, "methods": wanted, "first_seed": 0, "seeds": seeds}
        integration.run_tissue(tissue, SimpleNamespace(**options))


def run_new_slices() -> None:
    """Three slices and a fourth."""
    with tempfile.TemporaryDirectory() as models:
        for seed in range(REAL_SEEDS):
            for method in new_slices.METHODS:
                new_slices.run(method, seed, SimpleNamespace(out=new_slices.RESULTS, models=Path(models)))


PARTS = {
    "batch_effects": (batch_effects, {"floor"}, run_batch_effects),
    "integration": (integration, set(integration.LINEAR) - {"pca_integrated", "floor_3_integrated"}, run_integration),
    "new_slices": (new_slices, set[str](), run_new_slices),
}

if __name__ == "__main__":
    main()
