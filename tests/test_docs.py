"""The pages are true: their Python runs, and what they name exists."""

import dataclasses
import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from mjx_dm import settings
from mjx_dm.bench.options import Options as BenchOptions
from mjx_dm.config import Config
from mjx_dm.eval_cli import EvalOptions
from mjx_dm.export.__main__ import Options as ExportOptions
from mjx_dm.films.options import FilmOptions
from mjx_dm.report.__main__ import Options as ReportOptions
from mjx_dm.view.__main__ import Options as ViewOptions
from mjx_dm.view.mixture import Options as MixtureOptions

ROOT = Path(__file__).parents[1]
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", *DOCS]
PYTHON = re.compile(r"^ *```python\n(.*?)^ *```$", re.S | re.M)
# Of a page's text: `code` and what stands in a block of commands.
SPAN = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.S | re.M)
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


def text(page: str) -> str:
    return (ROOT / page).read_text()


def commands(page: str) -> list[str]:
    """Every command and code span of a page, one a line, continued lines joined."""
    lines = "\n".join(BLOCK.findall(text(page))).replace("\\\n", " ").splitlines()
    return lines + SPAN.findall(BLOCK.sub("", text(page)))


def flags_of(defaults: dict[str, object]) -> set[str]:
    off = {f"no_{name}" for name, value in defaults.items() if isinstance(value, bool)}
    return {name.replace("_", "-") for name in defaults.keys() | off | {"help"}}


def defaults_of(options: type) -> dict[str, object]:
    return {field.name: field.default for field in dataclasses.fields(options)}


TRAIN = flags_of(settings.flat(Config())) | {"list-tasks"}
EVALUATE = flags_of(defaults_of(EvalOptions) | defaults_of(FilmOptions))
BENCH = flags_of(defaults_of(BenchOptions))
REPORT = flags_of(defaults_of(ReportOptions))
VIEW = flags_of(defaults_of(ViewOptions)) | flags_of(defaults_of(MixtureOptions))
EXPORT = flags_of(defaults_of(ExportOptions))


@pytest.mark.parametrize("page", [page for page in PAGES if PYTHON.search(text(page))])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for block in PYTHON.findall(text(page)):
        exec(dedent(block), names)
    assert capsys.readouterr().out.strip()


def cells_of_the_notebook() -> list[str]:
    notebook = json.loads(text("examples/quickstart.ipynb"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def test_the_notebook_is_the_script():
    script = re.split(r"^# %% .*\n", text("examples/quickstart.py"), flags=re.M)[1:]
    assert cells_of_the_notebook() == [part.strip() for part in script]


@pytest.mark.slow
def test_the_notebook_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells_of_the_notebook():
        exec(cell.replace("minutes=0.5", "env_steps=1_000"), names)
    out = capsys.readouterr().out
    assert re.search(r"return \d+ ± \d+ over 5 episodes", out)
    assert "reward of each world" in out


def test_the_readme_is_one_screen():
    readme = text("README.md")
    assert len(readme.splitlines()) <= 120
    assert len(readme.split()) <= 700


@pytest.mark.parametrize("page", DOCS)
def test_a_page_of_the_docs_has_at_most_150_lines(page):
    assert len(text(page).splitlines()) <= 150


def test_the_site_has_every_page():
    named = re.findall(r"([\w/-]+\.md)$", text("mkdocs.yml"), re.M)
    assert sorted(f"docs/{page}" for page in named) == DOCS


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_relative_link_of_a_page_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", text(page))
    relative = [target for target in targets if "://" not in target]
    missing = [x for x in relative if not ((ROOT / page).parent / x).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_that_a_page_names_exists(page):
    unknown = []
    for command in commands(page):
        flags = set(FLAG.findall(re.sub(r"XLA_FLAGS=\S+|--xla\S*|#.*", "", command)))
        if re.search(r"\btrain\.py\b", command):
            unknown += flags - TRAIN
        elif "eval_render.py" in command:
            unknown += flags - EVALUATE
        elif "mjx_dm.bench" in command:
            unknown += flags - BENCH
        elif "mjx_dm.report" in command:
            unknown += flags - REPORT
        elif "mjx_dm.view" in command:
            unknown += flags - VIEW
        elif "mjx_dm.export" in command:
            unknown += flags - EXPORT
        elif command.startswith("--"):
            unknown += flags - TRAIN - EVALUATE - REPORT - BENCH - VIEW - EXPORT
    assert not unknown


@pytest.mark.parametrize("page", PAGES)
def test_every_path_target_and_module_that_a_page_names_exists(page):
    missing = []
    for command in commands(page):
        if "mujoco_warp" in command:
            continue
        for path in re.findall(
            r"(?<![\w/.])((?:benchmarks|docs|examples|tests|mjx_dm)/[\w./*-]+)", command
        ):
            is_gym_id = re.match(r"mjx_dm/[A-Z]", path)
            if not is_gym_id and "NAME" not in path and not list(ROOT.glob(path.rstrip("/"))):
                missing.append(path)
        for module in re.findall(r"python -m (mjx_dm[\w.]*)", command):
            file = ROOT / module.replace(".", "/")
            if not (file.with_suffix(".py").exists() or (file / "__main__.py").exists()):
                missing.append(module)
        for target in re.findall(r"^make ([a-z][a-z-]*)", command):
            if not re.search(rf"^{target}:", text("Makefile"), re.M):
                missing.append(f"make {target}")
    assert not missing


def test_every_data_file_of_the_findings_exists():
    results = ROOT / "benchmarks" / "results"
    names = re.findall(r"`([\w*]+\.json)`", text("docs/findings.md"))
    missing = [n for n in names if not [*results.glob(n), *(results / "cpu_runs").glob(n)]]
    assert names
    assert not missing
