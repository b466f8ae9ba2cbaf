"""The interactive view in a real browser: seconds to the first paint, and a selection that comes back.

    pip install jupyterlab playwright psutil 'spotscape[interactive]'
    python benchmarks/explore.py --cells 100000 --browser /usr/bin/chromium

Starts JupyterLab, opens a notebook in headless Chromium, runs a cell with :func:`spotscape.pl.explore`, and waits until
the canvas shows a third of the tissue's area in colour. Then it drags a lasso and reads the column in another cell.
Beside seconds on the clock it prints the processor time that kernel, server and browser took meanwhile, which hardly
depends on what else the machine does.
``--python`` names the interpreter with spotscape, if JupyterLab and playwright live in another environment.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

TISSUE = """
import anndata as ad, numpy as np, pandas as pd, time, spotscape as sp
rng = np.random.default_rng(0)
adata = ad.AnnData(np.zeros(({n}, 1), np.float32), obsm={{"spatial": rng.uniform(0, 10_000, ({n}, 2))}})
x, y = adata.obsm["spatial"].T
adata.obs["domain"] = pd.Categorical((y // 1250 + np.sin(x / 1000)).astype(int).astype(str))
sp.settings.verbosity = "warning"
{warm}
"""
VIEW = """
started = time.perf_counter()
view = sp.pl.explore(adata, "domain")
print("python", time.perf_counter() - started)
view.show()
"""
READ = "print('selected', int(adata.obs['selected'].sum()), 'of', adata.n_obs)"
# The share of a canvas that is painted, looked at in every frame.
WATCH = """() => {
    window.paintedAt = 0;
    const look = () => {
        for (const canvas of document.querySelectorAll(".jp-OutputArea canvas")) {
            const context = canvas.width > 300 && canvas.getContext("2d");
            if (!context) continue;
            const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
            let painted = 0;
            for (let i = 3; i < pixels.length; i += 400) painted += pixels[i] > 0;
            if (painted > pixels.length / 1200) { window.paintedAt = Date.now(); return; }
        }
        requestAnimationFrame(look);
    };
    look();
}"""


def main() -> None:
    """Run it and print one line of figures."""
    arguments = _parse()
    folder = Path(tempfile.mkdtemp())
    cells = [TISSUE.format(n=arguments.cells, warm="import jscatter" if arguments.warm else ""), VIEW, READ]
    _write_notebook(folder / "view.ipynb", cells)
    with _server(folder, arguments.python) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=arguments.browser, args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        if arguments.verbose:
            page.on("console", lambda message: print("browser:", message.text[:200]))
        page.goto(f"{address}/lab/tree/view.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        _run_cell(page, 0)
        page.evaluate(WATCH)
        used = _processor_time()
        pressed = _run_cell(page, 1, wait=False)
        page.wait_for_function("window.paintedAt > 0", timeout=300_000)
        paint = page.evaluate("window.paintedAt") / 1000 - pressed
        used = {name: after - used[name] for name, after in _processor_time().items()}
        _wait_idle(page, 1)
        python = float(_output(page, 1).split()[1])
        _lasso(page)
        page.screenshot(path=arguments.screenshot)
        _run_cell(page, 2)
        print(f"cells {arguments.cells:,}  first paint {paint:.2f} s  of it sp.pl.explore {python:.2f} s ", end="")
        print(_output(page, 2))
        print(
            "processor time until the first paint:",
            ", ".join(f"{name} {seconds:.2f} s" for name, seconds in used.items()),
        )
        browser.close()


def _write_notebook(path: Path, sources: list[str]) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source.strip(), "outputs": [],
         "execution_count": None}
        for i, source in enumerate(sources)
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "viewer", "display_name": "viewer", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


@contextmanager
def _server(folder: Path, python: str) -> Iterator[str]:
    """JupyterLab on a free port, with a kernel of the interpreter that has spotscape."""
    kernel = folder / "share" / "jupyter" / "kernels" / "viewer"
    kernel.mkdir(parents=True)
    command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "viewer", "language": "python"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=_environment(folder / "share" / "jupyter"), stdout=log, stderr=log,
    )  # fmt: skip
    try:
        for _ in range(600):
            time.sleep(0.2)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _environment(share: Path) -> dict[str, str]:
    import os

    return {**os.environ, "JUPYTER_PATH": str(share)}


def _run_cell(page: Page, index: int, *, wait: bool = True) -> float:
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".cm-content").click()
    pressed = time.time()
    page.keyboard.press("Control+Enter")
    if wait:
        _wait_idle(page, index)
    return pressed


def _processor_time() -> dict[str, float]:
    """Seconds that the kernel, the server and the browser have used so far."""
    seconds = {"kernel": 0.0, "server": 0.0, "browser": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        kind = "kernel" if "ipykernel" in command else "server" if "jupyterlab" in command else "browser"
        seconds[kind] += times.user + times.system
    return seconds


def _wait_idle(page: Page, index: int) -> None:
    """Wait until a cell has run and has a number."""
    prompts = '[...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")]'
    done = f"(index) => /[0-9]/.test({prompts}[index].textContent)"
    page.wait_for_function(done, arg=index, timeout=300_000)
    page.wait_for_timeout(300)


def _output(page: Page, index: int) -> str:
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    return str(cell.locator(".jp-OutputArea-output pre").first.inner_text()).strip()


def _lasso(page: Page) -> None:
    """Choose the lasso, and draw a square in the middle of the canvas, not quite closed: that would be a click."""
    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)
    page.locator(".jp-OutputArea button[title*='asso']").first.click()
    page.wait_for_timeout(500)
    box: Any = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    corners = [(80, -80), (80, 80), (-80, 80), (-80, -30)]
    page.mouse.move(x - 80, y - 80)
    page.mouse.down()
    for dx, dy in corners:
        page.mouse.move(x + dx, y + dy, steps=20)
    page.mouse.up()
    page.wait_for_timeout(3000)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--browser", default=None, help="a Chromium; none takes playwright's own")
    parser.add_argument("--python", default=sys.executable, help="interpreter with spotscape")
    parser.add_argument("--warm", action="store_true", help="import jupyter-scatter before the clock starts")
    parser.add_argument("--screenshot", default="explore.png")
    parser.add_argument("--verbose", action="store_true", help="print what the browser's console says")
    return parser.parse_args()


if __name__ == "__main__":
    main()
