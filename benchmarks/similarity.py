"""Exact search of the most similar spots: torch tiles beside faiss's flat index, in one run.

python benchmarks/similarity.py --queries 2048 --candidates 12000
"""

from __future__ import annotations

import argparse
import time

import torch
from tissues import hardware

from spotscape.nn import most_similar


def main() -> None:
    """Print the median seconds of both, taken in turns, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--candidates", type=int, default=12_000)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (torch.randn(n, 64, generator=generator) for n in (arguments.queries, arguments.candidates))
    seconds: dict[str, list[float]] = {"torch": [], "faiss": []}
    for _ in range(arguments.repeats):
        for backend, taken in seconds.items():
            started = time.perf_counter()
            most_similar(queries, candidates, arguments.k, backend=backend)  # type: ignore[arg-type]
            taken.append(time.perf_counter() - started)
    medians = {backend: sorted(taken)[len(taken) // 2] for backend, taken in seconds.items()}
    named = {f"{backend}_seconds": median for backend, median in medians.items()}
    print({**named, "faiss/torch": medians["faiss"] / medians["torch"], **hardware()})


if __name__ == "__main__":
    main()
