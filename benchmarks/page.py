"""Write the tables of the documentation's page of measurements from `benchmarks/results/`.

Run ``python benchmarks/page.py`` after a benchmark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from batch_effects import LABELS as BATCH_LABELS
from batch_effects import table as batch_effects_table
from deformation import real_summary as real_slices
from deformation import summary as known_deformations
from imputation import METHODS as IMPUTATION_METHODS
from integration import table as integration_table
from markdown_tables import write_table
from matching import table as matching_table
from names import INTEGRATION, MATCHING, NEW_SLICES, TISSUES, named
from new_slices import table as new_slices_table
from peers_report import ranking as peers_ranking
from peers_report import table as peers_table
from registration import summary

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLES = HERE.parent / "docs" / "_tables"
CLUSTERERS = {"kmeans": "k-means", "gmm": "tied mixture"}


def main() -> None:
    """Write one file for each table."""
    TABLES.mkdir(exist_ok=True)
    write("registration", registration(summary(pd.read_csv(RESULTS / "registration.csv"))))
    write("deformation", deformation(known_deformations(pd.read_csv(RESULTS / "deformation.csv"))))
    write("registration_real", registration_real(real_slices(pd.read_csv(RESULTS / "deformation_real.csv"))))
    for tissue, rows in pd.read_csv(RESULTS / "integration.csv").groupby("tissue"):
        write(f"integration_{tissue}", integration(rows))
    write("speed_slices", speed_slices(pd.read_csv(RESULTS / "speed_slices.csv")))
    write("speed_smoothed_pca", speed_smoothed_pca(pd.read_csv(RESULTS / "speed_smoothed_pca.csv")))
    write("batch_effects", batch_effects(pd.read_csv(RESULTS / "batch_effects.csv")))
    for task, rows in pd.read_csv(RESULTS / "imputation.csv").groupby("task"):
        write(f"imputation_{task}", imputation(rows))
    write("new_slices", new_slices(pd.read_csv(RESULTS / "new_slices.csv")))
    write("matching", matching(pd.read_csv(RESULTS / "matching.csv")))
    write("scale", scale(pd.read_csv(RESULTS / "scale.csv")))
    write("downstream", downstream(pd.read_csv(RESULTS / "downstream.csv")))
    write("tiles", tiles(pd.read_csv(RESULTS / "tiles.csv")))
    write("consensus", consensus(pd.read_csv(RESULTS / "consensus.csv")))
    write("refinement", refinement(pd.read_csv(RESULTS / "refinement.csv")))
    write("integration_constants", integration_constants(pd.read_csv(RESULTS / "integration_constants.csv")))
    write("integration_overlap", integration_overlap(pd.read_csv(RESULTS / "integration_overlap.csv")))
    peers = pd.read_csv(RESULTS / "peers.csv")
    write("peers", peers_table(peers))
    write("peers_ranking", peers_ranking(peers))
    write("mutation", mutation(pd.read_csv(RESULTS / "mutation.csv")))


def integration_constants(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each tissue and pair of constants; the first of a tissue is without integration."""
    shown = results.copy()
    for name in ("ridge", "n_prototypes"):
        shown[name] = shown[name].map("{:.0f}".format, na_action="ignore").fillna("")
    scores = ["ilisi", "clisi", "moved", "differs"]
    shown[scores] = shown[scores].map(lambda value: "–" if pd.isna(value) else f"{value:.3f}")
    # Numbers of prototypes with the same result share a row.
    shown = shown.groupby(["tissue", "ridge", *scores], sort=False)["n_prototypes"].agg(", ".join).reset_index()
    shown["n_prototypes"] = shown["n_prototypes"].replace("", "not integrated")
    shown = shown.set_index("tissue")[["n_prototypes", "ridge", *scores]]
    names = {
        "n_prototypes": "prototypes",
        "ridge": "ridge, spots",
        "ilisi": "iLISI",
        "clisi": "cLISI",
        "moved": "moved, SD",
        "differs": "differs, SD",
    }
    return shown.rename(columns=names)


def integration_overlap(results: pd.DataFrame) -> pd.DataFrame:
    """Errors of the shift by the share of spots that slices have in common."""
    grouped = results.groupby("share")["error"]
    wrong = grouped.agg(lambda errors: f"{(errors > 1).sum()} of {len(errors)}")
    shown = pd.DataFrame(
        {
            "on the wrong regions": wrong,
            "error of the others, SD": results[results["error"] <= 1].groupby("share")["error"].mean().round(2),
        }
    )
    shown.index = [f"{share:.0%}" for share in shown.index]
    return shown.rename_axis("spots in common regions")


def refinement(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement before and after one and ten passes of the vote, a row for each tissue, hops and passes."""
    shown = results[results["n_passes"].isin([0, 1, 10])].set_index("tissue")
    scores = {"ari": "ARI", "accuracy_boundary": "accuracy at borders", "recall_thin": "recall of thin layers"}
    counts = shown[["n_hops", "n_passes", "changed"]].set_axis(["hops", "passes", "spots changed"], axis="columns")
    text = shown[list(scores)].map(lambda value: "" if pd.isna(value) else f"{value:.3f}").rename(columns=scores)
    return pd.concat([counts, text], axis=1)


def mutation(results: pd.DataFrame) -> pd.DataFrame:
    """Changes of the code, those that were tried, and the share that the tests noticed."""
    share = (results["killed"] / results["drawn"]).map("{:.0%}".format)
    names = {"without_meaning": "without effect", "drawn": "tried", "killed": "noticed"}
    return results.assign(share=share).set_index("code").rename(columns=names)


def registration(results: pd.DataFrame) -> pd.DataFrame:
    """Shares of pairs in per cent, a row for each method and kind of outline."""
    shares = ["recovered", "within_1", "flagged", "wrong_unflagged"]
    shown = results.assign(**{name: (100 * results[name]).map("{:.1f} %".format) for name in shares})
    names = {"shown": "overlap", "within_1": "within one spacing", "wrong_unflagged": "wrong and not flagged"}
    columns = ["outline", "shown", "pairs", *shares]
    return shown.set_index("method")[columns].rename(columns=names).rename_axis("method")


def deformation(results: pd.DataFrame) -> pd.DataFrame:
    """Median errors in spacings, a row for each layout and size of the deformation."""
    names = {"amplitude": "largest displacement", "best_rigid": "best rigid pose", "rigid": "rigid", "bent": "bent"}
    shown = results.assign(recovered=(100 * results["recovered"]).map("{:.0f} %".format))
    columns = {**names, "recovered": "within one spacing", "pairs": "pairs"}
    for name in ("best_rigid", "rigid", "bent"):
        shown[name] = shown[name].map("{:.2f}".format)
    return shown.set_index("layout")[list(columns)].rename(columns=columns)


def registration_real(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement of labels and of genes that were held out with the nearest spot; means over pairs."""
    measures = {"same_label": "same layer", "correlation": "correlation of genes held out"}
    text = results[list(measures)].map(lambda value: "–" if pd.isna(value) else f"{value:.3f}").rename(columns=measures)
    return pd.concat([results[["tissue", "method", "pairs"]], text], axis=1).set_index("tissue")


def integration(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement and mixing of one tissue, a row for each method: ARI over all spots ± SD / mean of that by slice."""
    shown = integration_table(results).droplevel("tissue").replace("", pd.NA).dropna(axis="columns", how="all")
    for method in ("kmeans", "gmm"):
        shown[f"ari_{method}"] += " / " + shown[f"ari_{method}_slices"].str.partition(" ")[0]
    names = {
        "seeds": "seeds",
        "ari_kmeans": "k-means, all / by slice",
        "ari_gmm": "mixture, all / by slice",
        "ilisi": "iLISI",
        "clisi": "cLISI",
        "f1_lisi": "F1-LISI",
        "purity_Private_3": "purity, private",
        "purity_Layer_3": "purity, lacking",
    }
    # A page has no room for F1-LISI beside purities, or beside SDs in every column.
    left_out = {"f1_lisi"} if "purity_Private_3" in shown or shown["f1_lisi"].str.contains("±").any() else set()
    order = [name for name in names if name in shown and name not in left_out]
    return named(shown[order].rename(columns=names), INTEGRATION).rename_axis("method")


def new_slices(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement of the fourth slice, a row for each method and setting."""
    shown = named(new_slices_table(results).reset_index("setting"), NEW_SLICES)
    origins, clusterers = {"carried": "transferred", "alone": "alone"}, {"kmeans": "k-means", "gmm": "mixture"}
    columns = {
        f"{key}_{which}": f"{origin}, {clusterer}"
        for key, origin in origins.items()
        for which, clusterer in clusterers.items()
    }
    return shown.rename(columns=columns)


def speed_slices(results: pd.DataFrame) -> pd.DataFrame:
    """Seconds per epoch and ratio, a row for each setting."""
    shown = results.set_index("setting")[["s_per_epoch", "times_faster"]]
    text = {"s per epoch": shown["s_per_epoch"].map("{:.2f}".format)}
    return pd.DataFrame({**text, "times faster": shown["times_faster"].map("{:.0f}".format)}, index=shown.index)


def scale(results: pd.DataFrame) -> pd.DataFrame:
    """Processor time, memory and agreement by size and method, and how time and memory grow; a row for each size."""
    names = {"smoothed_pca": "smoothed PCA", "spotscape": "Spotscape", "spacross": "SpaCross"}
    results = results[results["batch_size"] == "default"]
    text = pd.DataFrame(
        {
            "cells": results["cells"],
            "method": results["method"],
            "text": results["cpu_seconds"].map("{:.0f} s / ".format)
            + results["gb_peak"].map("{:.1f} GB / ".format)
            + results["ari"].map("{:.3f}".format),
        }
    )
    shown = (
        text.pivot_table("text", "cells", "method", aggfunc="first").reindex(columns=list(names)).rename(columns=names)
    )
    shown.index = shown.index.map("{:,}".format)
    shown.loc["slope"] = [_slopes(results[results["method"] == method]) for method in names]
    return shown.fillna("–").rename_axis("cells")


def _slopes(rows: pd.DataFrame) -> str:
    """Slopes of time and memory over cells, both as logarithms."""
    fits = [np.polyfit(np.log(rows["cells"]), np.log(rows[of]), 1)[0] for of in ("cpu_seconds", "gb_peak")]
    return "{:.2f} / {:.2f}".format(*fits)


def downstream(results: pd.DataFrame) -> pd.DataFrame:
    """Processor time by size, a row for each function."""
    shown = results.pivot_table("cpu_seconds", "function", "cells", aggfunc="mean", sort=False)
    text = shown.map(lambda seconds: "–" if pd.isna(seconds) else f"{seconds:.1f} s")
    return text.rename(columns="{:,} cells".format).rename_axis("function")


def tiles(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement of steps over tiles beside that of steps on all spots."""
    shown = results.pivot_table("ari", ["tissue", "clusterer"], "batches", aggfunc=_spread, sort=False)
    text = shown[[1, 8]].rename(columns={1: "steps on all spots", 8: "8 batches of tiles"})
    return text.rename(index=CLUSTERERS, level="clusterer").reset_index("clusterer")


def consensus(results: pd.DataFrame) -> pd.DataFrame:
    """Agreement of single trainings and of the consensus of five."""
    second = results["annotation"] == "domain_banksy"
    results = results.assign(tissue=results["tissue"].replace(TISSUES) + np.where(second, ", second annotation", ""))
    keys = ["tissue", "annotation", "encoders", "clusterer"]
    shown = results.pivot_table("ari", keys, "domains", aggfunc=_spread, sort=False)[["single", "consensus"]]
    names = {"single": "single training", "consensus": "consensus of five"}
    shown = shown.fillna("–").rename(columns=names)
    shown = shown.rename(index=CLUSTERERS, level="clusterer").reset_index(keys[1:])
    return shown.drop(columns=["annotation", "encoders"])


def _spread(values: pd.Series) -> str:
    """Mean ± SD (number)."""
    return f"{values.mean():.3f} ± {values.std():.3f} ({len(values)})"


def speed_smoothed_pca(results: pd.DataFrame) -> pd.DataFrame:
    """Seconds, memory and ratio by size, a row for each setting."""
    shown = pd.DataFrame(index=pd.Index(results["setting"].unique(), name="setting"))
    for spots, rows in results.groupby("spots"):
        by_setting = rows.set_index("setting")
        shown[f"seconds, {spots:,} cells"] = by_setting["seconds"].map("{:.1f}".format)
        shown[f"times faster, {spots:,} cells"] = by_setting["times_faster"].map("{:.1f}".format)
        shown[f"memory, {spots:,} cells"] = by_setting["peak_gb"].map("{:.1f} GB".format)
    return shown


def batch_effects(results: pd.DataFrame) -> pd.DataFrame:
    """Mixing / accuracies, means over seeds; a row for each tissue and a column for each method."""
    means = batch_effects_table(results).reset_index()
    found = means["ari_kmeans"].map("{:.2f} / ".format) + means["ari_gmm"].map("{:.2f}".format)
    types = means["clisi"].map("{:.3f}".format)
    means["text"] = means["ilisi"].map("{:.2f} / ".format) + found.where(means["ari_gmm"].notna(), types)
    shown = means.pivot_table("text", "tissue", "method", aggfunc="first", sort=False).fillna("–")
    shown.insert(0, "seeds", means.groupby("tissue")["seeds"].min())
    shown = shown.rename(columns=BATCH_LABELS, index=lambda name: name.replace("_", " regions, "))
    return shown.rename_axis("tissue, batch effect")


def imputation(results: pd.DataFrame) -> pd.DataFrame:
    """RMSE / L1 / Spearman of one task, mean ± SD over seeds, a row for each method and a column for each tissue."""
    shown = {}
    for tissue, rows in results.groupby("tissue", sort=False):
        by_method = rows.groupby("method")[["rmse", "l1", "spearman"]]
        means, deviations = by_method.mean(), by_method.std()
        texts = means.map("{:.3f}".format) + deviations.map(lambda value: "" if pd.isna(value) else f" ± {value:.3f}")
        shown[f"{TISSUES.get(tissue, tissue)}: RMSE / L1 / Spearman"] = texts.agg(" / ".join, axis=1)
    order = [method for method in IMPUTATION_METHODS if method in set(results["method"])]
    return pd.DataFrame(shown).loc[order].rename_axis("method")


def matching(results: pd.DataFrame) -> pd.DataFrame:
    """Share of right labels, a row for each method; of several seeds mean ± SD."""
    shown = matching_table(results).replace(r" \(\d+\)$", "", regex=True)
    shown.columns = [f"{TISSUES.get(tissue, tissue)}, {k} match{'es' if k > 1 else ''}" for tissue, k in shown.columns]
    return named(shown, MATCHING).rename_axis("method")


def write(name: str, table: pd.DataFrame) -> None:
    """Write a table as markdown, unless it is empty."""
    if len(table):
        write_table(TABLES / f"{name}.md", named(table))


if __name__ == "__main__":
    main()
