"""Agreement of domains with the annotation: tissue × method × seed × clusterer.

    python benchmarks/accuracy                                    the floors and both defaults on all tissues
    python benchmarks/accuracy --tissues choose --methods ablations --seeds 3
    python benchmarks/accuracy --tissues degraded --methods floors defaults
    python benchmarks/accuracy --tissues starmap dlpfc_151673 --methods robustness
    python benchmarks/accuracy --tissues starmap@genes_0.7 --methods "spacross*mask_rate/2"
    python benchmarks/accuracy --report                           tables and plots of what has been run
    python benchmarks/accuracy --list                             all names

The labels give the number of domains and the scores; no method sees them. Results are appended as they come and what is
there is not run again; a method whose settings have changed since is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Python puts this folder first, so that its `tissues` would hide the one beside it.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from accuracy import run, settings, tissues  # noqa: E402

RESULTS = Path(__file__).resolve().parents[1] / "results" / "study.csv"


def main() -> int:
    """Run what is missing, or write the report."""
    arguments = _parse()
    names = tissues.expand(arguments.tissues)
    methods = settings.expand(arguments.methods)
    if arguments.list:
        print("\n".join([*_groups("tissues", tissues.GROUPS), *_groups("methods", settings.GROUPS)]))
        return 0
    if arguments.report:
        from accuracy import report

        report.write(arguments.out, arguments.docs)
        return 0
    training = {"threads": arguments.threads, "embeddings": arguments.embeddings}
    return run.study(names, methods, arguments.seeds, arguments.out, **training)


def _groups(what: str, groups: dict[str, tuple[str, ...]]) -> list[str]:
    return [what, *(f"  {group}: {' '.join(names)}" for group, names in groups.items())]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tissues", nargs="+", default=["choose", "confirm"], help="names or groups; see --list")
    parser.add_argument("--methods", nargs="+", default=["floors", "defaults"], help="names or groups; see --list")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps embeddings, to score them in another way")
    parser.add_argument("--docs", type=Path, default=RESULTS.parents[2] / "docs", help="where the report is written")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
