"""Exact search of the most similar spots: torch tiles beside faiss's flat index, in one run.

python benchmarks/similarity.py --candidates 5000 20000 100000 1000000
"""

from __future__ import annotations

import argparse
import time

import torch
from tissues import hardware

from spotscape.nn import most_similar


def main() -> None:
    """Print the least seconds of processor time of both, taken in turns, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--candidates", type=int, nargs="+", default=[5_000, 20_000, 100_000])
    parser.add_argument("--k", type=int, nargs="+", default=[5, 30])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.process_time()
    import faiss

    print({"seconds_to_import_faiss": round(time.process_time() - started, 3), **hardware()})
    faiss.omp_set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(arguments.queries, 64, generator=generator)
    for n_candidates in arguments.candidates:
        candidates = torch.randn(n_candidates, 64, generator=generator)
        for k in arguments.k:
            seconds = {"torch": float("inf"), "faiss": float("inf")}
            for _ in range(arguments.repeats):
                for backend, least in seconds.items():
                    started = time.process_time()
                    most_similar(queries, candidates, k, backend=backend)  # type: ignore[arg-type]
                    seconds[backend] = min(least, time.process_time() - started)
            print({"candidates": n_candidates, "k": k, **seconds, "faiss/torch": seconds["faiss"] / seconds["torch"]})


if __name__ == "__main__":
    main()
