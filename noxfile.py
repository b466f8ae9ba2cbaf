"""Everything that continuous integration runs, runnable by anyone: ``nox --list`` shows the sessions.

Each session makes its own environment with pip. Inside an environment that already holds the project and the
dependency group ``dev``, ``nox --no-venv --no-install --session <name>`` runs the same commands without making one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = "constraints/ci.txt"
PYTHONS = ("3.11", "3.12", "3.13")

# One core, one thread: test processes run side by side, and sums keep their order.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
QUIET = {"MPLBACKEND": "agg", "SPOTSCAPE_PROGRESS_BAR": "false", "SPOTSCAPE_VERBOSITY": "warning"}
EXECUTION = ("--ExecutePreprocessor.timeout=1800", "--ExecutePreprocessor.record_timing=False")

# The environment of `build` has no torch, so the package is looked at and not imported.
_LOOK_INTO_WHEEL = """
from importlib.metadata import files
missing = {"spotscape/__init__.py", "spotscape/py.typed"} - {path.as_posix() for path in files("spotscape")}
raise SystemExit(f"the wheel lacks {sorted(missing)}" if missing else 0)
"""

# Real tissue is fetched once, before the notebook runs, so that no download is in its outputs.
_FETCH = """
import sys
import spotscape as sp
try:
    for call in sys.argv[1:]:
        eval(call)
except ConnectionError as error:
    print(error)
"""

_LOWEST = ("--extra", "leiden", "--group", "test", "--resolution", "lowest-direct", "--python-version", "3.11")

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typecheck", "tests", "doctest", "docs"]

# A bare `torch` on Linux is the CUDA build. Whoever sets PIP_CONSTRAINT decides for themselves.
os.environ.setdefault("PIP_CONSTRAINT", CONSTRAINTS)

PYPROJECT = nox.project.load_toml("pyproject.toml")


def _groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, *names)


def _run_tests(session: nox.Session, *default: str) -> None:
    arguments = session.posargs or default
    session.run("python", "-m", "pytest", *arguments, env=THREADS | QUIET)


@nox.session
def tests(session: nox.Session) -> None:
    """Test on this Python; arguments after ``--`` go to pytest and replace ``-n auto``."""
    session.install("--editable", ".[leiden,faiss,interactive,spatialdata,volume]", *_groups("test"))
    _run_tests(session, "-n", "auto")


@nox.session(default=False)
def tests_slow(session: nox.Session) -> None:
    """Run the tests that take long, which `tests` skips."""
    session.install("--editable", ".[leiden,faiss,interactive,spatialdata,volume]", *_groups("test"))
    _run_tests(session, "-n", "auto", "--run-slow", "-m", "slow")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Test on this Python and list the lines that no test reaches, which takes a quarter longer."""
    session.install("--editable", ".[leiden,faiss,interactive,spatialdata,volume]", *_groups("test"))
    _run_tests(session, "-n", "auto", "--cov", "--cov-report", "term")


def _works(python: str) -> bool:
    """Whether an interpreter is there and starts: a shim may be on the path without one behind it."""
    command = shutil.which(f"python{python}")
    probe = [command or "", "-c", "import sys, ensurepip; print(sys.version_info[:2])"]
    return bool(command) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@nox.session(python=[python for python in PYTHONS if _works(python)], default=False)
def tests_all(session: nox.Session) -> None:
    """Test on every supported Python that this machine has."""
    session.install(".[leiden]", *_groups("test"))
    _run_tests(session, "-n", "auto")


@nox.session(default=False)
def tests_lowest(session: nox.Session) -> None:
    """Test with the lowest version of every direct dependency (torch too if PIP_CONSTRAINT is set to nothing)."""
    session.install("uv")
    lowest = Path(session.create_tmp()) / "lowest.txt"
    session.run("uv", "pip", "compile", "pyproject.toml", *_LOWEST, "--output-file", str(lowest), "--quiet")
    pins = lowest.read_text(encoding="utf-8").splitlines()
    if os.environ["PIP_CONSTRAINT"]:
        pins = [line for line in pins if not line.startswith(("torch==", "triton==", "nvidia"))]
    lowest.write_text("\n".join(pins) + "\n", encoding="utf-8")
    session.install("--editable", ".[leiden]", *_groups("test"), "--constraint", str(lowest))
    _run_tests(session, "-n", "auto", "-W", "default")


@nox.session(default=False)
def tests_newest(session: nox.Session) -> None:
    """Test with pre-releases of all dependencies: what breaks here will break for users next."""
    session.install("--pre", "--upgrade", "--editable", ".[leiden]", *_groups("test"))
    _run_tests(session, "-n", "auto", "-W", "default")


@nox.session(default=False)
@nox.parametrize("extra", ["none", *sorted(set(PYPROJECT["project"]["optional-dependencies"]) - {"all"})])
def tests_extra(session: nox.Session, extra: str) -> None:
    """Test with one extra at a time, and with none; tests that need another skip and say so."""
    session.install("--editable", "." if extra == "none" else f".[{extra}]", *_groups("test"))
    _run_tests(session, "-n", "auto")


@nox.session(default=False)
def tests_wheel(session: nox.Session) -> None:
    """Build the wheel, install it into an empty environment, and test what it installed from another folder."""
    session.install(*_groups("build"))
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels))
    session.install("--force-reinstall", str(next(wheels.glob("*.whl"))), *_groups("test"))
    suite = str(ROOT / "tests")
    with session.chdir(wheels):
        _run_tests(session, "-n", "auto", "--rootdir", str(ROOT), "--config-file", str(ROOT / "pyproject.toml"), suite)


@nox.session
def doctest(session: nox.Session) -> None:
    """Run the examples of all docstrings."""
    session.install("--editable", ".[leiden]", *_groups("test"))
    _run_tests(session, "--doctest-modules", "-p", "no:cacheprovider", "src/spotscape")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    session.install(*(entry for entry in _groups("lint") if entry.startswith(("codespell", "ruff"))))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", *_spelled_files())


def _spelled_files() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".txt"}
    return [name for name in listing.stdout.splitlines() if Path(name).suffix in suffixes and Path(name).exists()]


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types: mypy, strict."""
    session.install("--editable", ".", *_groups("lint"))
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into ``docs/_build/html``, any warning is an error; then check its links and its search."""
    session.install("--editable", ".", *_groups("docs"))
    for leftover in ("docs/_build", "docs/generated"):
        shutil.rmtree(leftover, ignore_errors=True)
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html", env=QUIET)
    session.run("python", "docs/check_site.py")


@nox.session(default=False)
def linkcheck(session: nox.Session) -> None:
    """Follow every link of the site that leads to other sites."""
    session.install("--editable", ".", *_groups("docs"))
    session.run("python", "-m", "sphinx", "-q", "-b", "linkcheck", "docs", "docs/_build/linkcheck", env=QUIET)


@nox.session(default=False)
def notebooks(session: nox.Session) -> None:
    """Execute notebooks, each from a clean kernel, and store the outputs; ``-- --check`` leaves the files alone.

    Names of notebooks after ``--`` choose some of them. One whose real tissue is neither in the folder that
    ``SPOTSCAPE_DATA`` names nor can be downloaded is left out, with a warning.
    """
    check = "--check" in session.posargs
    chosen = [name for name in session.posargs if name != "--check"] or sorted(
        map(str, Path("notebooks").glob("*.ipynb"))
    )
    if not chosen:
        session.skip("there is no notebook yet")
    session.install("--editable", ".[leiden]", *_groups("docs"))
    target = ["--output-dir", session.create_tmp()] if check else ["--inplace"]
    for name in chosen:
        if problem := _fetch_tissue(session, name):
            session.warn(f"{name} is left out: {problem}")
            continue
        # A notebook draws with the backend of its kernel.
        command = ("jupyter", "nbconvert", "--to", "notebook", "--execute", *EXECUTION, *target, name)
        session.run(*command, env={"MPLBACKEND": None})
        if not check:  # warnings begin with the file of the kernel, which is another one each time
            text = Path(name).read_text(encoding="utf-8")
            Path(name).write_text(re.sub(r"/\w+/ipykernel_\d+/\d+\.py:\d+: ", "", text), encoding="utf-8")


def _fetch_tissue(session: nox.Session, notebook: str) -> str:
    """Why the real tissue that a notebook reads cannot be had; empty if it can, or if it reads none."""
    text = Path(notebook).read_text(encoding="utf-8").replace('\\"', '"')
    folder = Path(os.environ.get("SPOTSCAPE_DATA", "."))
    files = set(re.findall(r'environ\["SPOTSCAPE_DATA"\]\) / "([^"]+)"', text))
    missing = sorted(name for name in files if not (folder / name).exists())
    if missing:
        return f"the folder that SPOTSCAPE_DATA names lacks {', '.join(missing)}"
    calls = sorted(set(re.findall(r"sp\.datasets\.(?:starmap|dlpfc)\([^)]*\)", text)))
    if not calls:
        return ""
    return str(session.run("python", "-c", _FETCH, *calls, env=QUIET, silent=True, stderr=None)).strip()


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Run the demonstration of the README; arguments after ``--`` go to it."""
    session.install("--editable", ".")
    session.run("python", "-m", "spotscape.demo", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build wheel and source archive, check them, and look at what the wheel installs."""
    session.install(*_groups("build"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    archives = sorted(map(str, Path("dist").iterdir()))
    session.run("twine", "check", "--strict", *archives)
    session.install("--force-reinstall", "--no-deps", next(name for name in archives if name.endswith(".whl")))
    session.run("python", "-P", "-c", _LOOK_INTO_WHEEL)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run a benchmark: ``nox -s bench -- benchmarks/<name>.py [its arguments]``."""
    if not session.posargs:
        session.error(f"name a benchmark after --; there are {sorted(map(str, Path('benchmarks').glob('*.py')))}")
    session.install("--editable", ".[leiden]")
    session.run("python", *session.posargs)


@nox.session(default=False)
def gallery(session: nox.Session) -> None:
    """Draw every plot on the real tissue in the folder that SPOTSCAPE_DATA names, for the documentation."""
    session.install("--editable", ".[leiden]")
    session.run("python", "benchmarks/gallery.py", *session.posargs)


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """See which changes of a module its tests miss; after ``--`` modules below src/ and ``--tests``."""
    session.install("--editable", ".[leiden]", *_groups("test"))
    session.run("python", "benchmarks/mutation.py", *session.posargs, env=THREADS | QUIET)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Run the tests that need a CUDA device."""
    session.install("--editable", ".[leiden]", *_groups("test"))
    _run_tests(session, "-m", "gpu")


if __name__ == "__main__":
    sys.exit("Run `nox`, or `nox --list` to see the sessions.")
