"""Check the site that Sphinx has built: every link inside it leads somewhere, and its search answers what users ask.

``python docs/check_site.py`` looks at ``docs/_build/html``. The search is Sphinx's own script, run by node.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parent / "_build" / "html"
# Hits that a user sees without scrolling.
FIRST = 5
# What users type, and the pages of which one has to be among the first hits.
QUESTIONS = {
    "xenium": ["platforms", "loading_data"],
    "visium hd": ["platforms", "loading_data"],
    "merfish": ["platforms", "loading_data"],
    "stereo-seq": ["platforms", "loading_data"],
    "spatialdata": ["loading_data"],
    "install conda": ["installation"],
    "gpu": ["installation", "faq", "scaling"],
    "apple silicon": ["installation"],
    "which method": ["which_method"],
    "how many domains": ["faq", "guide_n_domains"],
    "number of neighbours": ["guide_domains"],
    "leiden resolution": ["guide_domains", "generated/spotscape.tl.domains"],
    "batch correction": ["many_slices"],
    "align slices": ["many_slices", "generated/spotscape.pp.register_slices"],
    "compare patients": ["faq"],
    "marker genes": ["guide_markers"],
    "pseudotime": ["guide_trajectory", "generated/spotscape.tl.trajectory"],
    "missing genes": ["guide_imputation", "guide_new_slices"],
    "save model": ["guide_new_slices", "generated/spotscape.models.load", "faq"],
    "new sample": ["guide_new_slices", "faq"],
    "cell types": ["which_method", "glossary", "faq"],
    "mclust": ["guide_domains"],
    "p-values": ["guide_markers"],
    "snakemake": ["command_line"],
    "napari": ["plots"],
    "colours": ["plots"],
    "memory": ["scaling", "benchmarks"],
    "accuracy": ["accuracy_study"],
    "glossary": ["glossary"],
    "million cells": ["scaling", "faq"],
    "out of memory": ["scaling"],
    "seed": ["reproducibility"],
    "confidence": ["guide_confidence"],
    "is not raw counts": ["errors"],
    "normalise": ["faq"],
    "umap": ["faq"],
    "save figure": ["plots"],
    "cite": ["citing"],
}
_SEARCH = """
const fs = require("fs"), vm = require("vm"), [site, questions] = process.argv.slice(1);
const page = vm.createContext({ localStorage: { setItem() {} }, SPHINX_HIGHLIGHT_ENABLED: false, _: (text) => text,
  document: { addEventListener() {}, getElementById: () => null }, _ready() {} });
page.window = page;
for (const name of ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"])
  vm.runInContext(fs.readFileSync(`${site}/${name}`, "utf8"), page);
page.questions = JSON.parse(questions);
console.log(vm.runInContext(`JSON.stringify(questions.map((one) =>
  Search._performSearch(...Search._parseQuery(one)).reverse().map((hit) => hit[0])))`, page));
"""


class _Page(HTMLParser):
    """The links of a page, and the places in it that a link can name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        link = given.get("href") if tag in {"a", "link"} else given.get("src")
        self.links |= {link} if link else set()


def broken_links(site: Path) -> list[str]:
    """Links to files and places that do not exist."""
    files = [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "_static"]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
    broken = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in known):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def hits(site: Path, questions: list[str]) -> list[list[str]]:
    """The pages that the site's search finds for each question, best first, each once."""
    command = ["node", "-e", _SEARCH, str(site), json.dumps(questions)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [list(dict.fromkeys(pages)) for pages in found]


def main() -> None:
    """Print what is wrong, and fail if anything is."""
    problems = [f"broken link in {line}" for line in broken_links(SITE)]
    if shutil.which("node"):
        for (question, wanted), pages in zip(QUESTIONS.items(), hits(SITE, list(QUESTIONS)), strict=True):
            if not set(wanted) & set(pages[:FIRST]):
                problems.append(f"the search for {question!r} finds {pages[:FIRST]}, not {wanted}")
    else:
        sys.stdout.write("node is not installed, so the search is not tested.\n")
    sys.stdout.write("\n".join([*problems, f"{len(problems)} problems"]) + "\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
