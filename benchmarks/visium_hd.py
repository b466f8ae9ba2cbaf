"""From the output folder of Visium HD to domains on the command line: time and memory.

    python benchmarks/visium_hd.py FOLDER --bins 400000 --threads 2

Options that it does not know are those of `spotscape run`.

A folder in Space Ranger's format is simulated, if it is not there yet: bins of 8 µm on the grid of a 6.5 mm capture
area, of which those under tissue are in the matrix, 18,000 genes, a median of about 200 counts in a bin, wavy layers.
Then `spotscape run` reads it, finds domains, and writes an h5ad and a report. Printed are wall time, processor time and
peak memory of that process, and the agreement of the domains with the layers.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd

import spotscape as sp

SIDE, N_GENES, N_LAYERS = 813, 18_000, 7
MICRONS_PER_PIXEL, BIN = 0.2738, 8.0
BLOCK = 20_000
_UNIT = 1 if sys.platform == "darwin" else 1024


def write_folder(folder: Path, n_bins: int, seed: int = 0) -> None:
    """Write matrix, positions and scale factors of the bins under a round tissue with wavy layers."""
    rng = np.random.default_rng(seed)
    row, column = (axis.ravel() for axis in np.mgrid[:SIDE, :SIDE])
    angle = np.arctan2(row - SIDE / 2, column - SIDE / 2)
    distance = np.hypot(row - SIDE / 2, column - SIDE / 2) * (1 + 0.06 * np.sin(5 * angle))
    inside = np.sort(np.argsort(distance, kind="stable")[:n_bins])
    height = row[inside] / SIDE + 0.04 * np.sin(column[inside] / 60) + 0.02 * np.sin(column[inside] / 23)
    layer = pd.qcut(height, N_LAYERS, labels=False)
    bins = folder / "binned_outputs" / "square_008um"
    (bins / "spatial").mkdir(parents=True)
    barcodes = np.array([f"s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)])
    pixel = BIN / MICRONS_PER_PIXEL
    table = pd.DataFrame({"barcode": barcodes, "in_tissue": np.isin(np.arange(len(row)), inside).astype(int)})
    table["array_row"], table["array_col"] = row, column
    table["pxl_row_in_fullres"], table["pxl_col_in_fullres"] = row * pixel + 1000, column * pixel + 2000
    table.to_parquet(bins / "spatial" / "tissue_positions.parquet")
    factors = {"bin_size_um": BIN, "microns_per_pixel": MICRONS_PER_PIXEL, "spot_diameter_fullres": pixel}
    factors |= {"tissue_hires_scalef": 0.25, "tissue_lowres_scalef": 0.025}
    (bins / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")
    pd.DataFrame({"barcode": barcodes[inside], "layer": layer}).to_csv(folder / "truth.csv.gz", index=False)
    _write_matrix(bins / "filtered_feature_bc_matrix.h5", barcodes[inside], layer, rng)


def _write_matrix(path: Path, barcodes: np.ndarray, layer: np.ndarray, rng: np.random.Generator) -> None:
    base = rng.gamma(0.3, 1.0, N_GENES) + 1e-6
    change = np.exp(rng.normal(0, 1.0, (N_LAYERS, N_GENES)) * (rng.random((N_LAYERS, N_GENES)) < 0.05))
    cumulative = np.cumsum(base * change, axis=1)
    cumulative /= cumulative[:, -1:]
    names = np.array([f"GENE{i}" for i in range(N_GENES)], dtype="S")
    pointers = [np.zeros(1, dtype=np.int64)]
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        options = {"maxshape": (None,), "chunks": (1 << 18,), "compression": "gzip", "compression_opts": 1}
        data = matrix.create_dataset("data", (0,), dtype=np.int32, **options)
        indices = matrix.create_dataset("indices", (0,), dtype=np.int64, **options)
        for start in range(0, len(layer), BLOCK):
            own = layer[start : start + BLOCK]
            totals = rng.poisson(200 * rng.lognormal(0, 0.6, len(own)))
            owner = np.repeat(np.arange(len(own)), totals)
            genes = np.empty(len(owner), dtype=np.int64)
            for one in np.unique(own):
                drawn = own[owner] == one
                genes[drawn] = np.searchsorted(cumulative[one], rng.random(drawn.sum()))
            places, counts = np.unique(owner * N_GENES + genes, return_counts=True)
            end = data.shape[0] + len(places)
            for dataset, values in ((data, counts), (indices, places % N_GENES)):
                dataset.resize((end,))
                dataset[-len(places) :] = values
            pointers.append(pointers[-1][-1] + np.cumsum(np.bincount(places // N_GENES, minlength=len(own))))
        matrix["indptr"], matrix["barcodes"] = np.concatenate(pointers), barcodes.astype("S")
        matrix["shape"] = np.array([N_GENES, len(layer)], dtype=np.int32)
        features = matrix.create_group("features")
        features["id"] = features["name"] = names
        features["feature_type"] = np.array(["Gene Expression"] * N_GENES, dtype="S")
        features["genome"] = np.array(["GRCh38"] * N_GENES, dtype="S")


def main() -> None:
    """Simulate, run, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bins", type=int, default=400_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", default="spotscape")
    options, more = parser.parse_known_args()
    if not (options.folder / "truth.csv.gz").exists():
        start = time.perf_counter()
        write_folder(options.folder, options.bins)
        print(f"simulated {options.bins:,} bins in {time.perf_counter() - start:.0f} s", flush=True)
    out = options.folder / f"{options.method}.h5ad"
    command = [sys.executable, "-m", "spotscape", "run", str(options.folder), str(out), f"--method={options.method}"]
    command += [f"--threads={options.threads}", f"--report={out.with_suffix('.html')}", "--overwrite", *more]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    adata = anndata.read_h5ad(out, backed="r")
    truth = pd.read_csv(options.folder / "truth.csv.gz", index_col="barcode")["layer"].loc[adata.obs_names]
    found = adata.obs[f"{options.method.replace('-', '_')}_domain"]
    ari = sp.metrics.ari(truth, found)
    print(
        f"{adata.n_obs:,} bins: {wall / 60:.1f} min wall, {(used.ru_utime + used.ru_stime) / 60:.1f} min of processor "
        f"time, {used.ru_maxrss * _UNIT / 1e9:.1f} GB, {found.nunique()} domains, ARI {ari:.2f}"
    )


if __name__ == "__main__":
    main()
