"""The site of the documentation: every Markdown page of the repository, at its place in the repository.

Build it with ``python -m sphinx -W -c docs . site`` in the repository's root, and open ``site/index.html``. Pages link
to each other, and to files of code, as in the repository, and a link or an anchor that leads nowhere is a warning,
which ``-W`` makes an error.
"""

from __future__ import annotations

import re
import subprocess
import sys

from sphinx.application import Sphinx

from verl_stepgrpo import __version__

project = "verl-stepgrpo"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
include_patterns += ["benchmarks/*.md", "docs/*.md", "docs/upstream/*.md", "examples/**.md", "recipes/**.md"]
# Folders that are not looked into: environments, what runs leave, and the site itself.
exclude_patterns = [".*", "out", "**/out", "build", "checkpoints", "dist", "outputs", "site"]
smartquotes_action = "D"  # dashes alone; quotes stay as they are written
# Anchors of headings, as a repository's web page has them.
myst_heading_anchors = 4

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
html_show_sourcelink = html_copy_source = False
html_static_path, html_css_files = ["static"], ["site.css"]
# index.html of the whole site leads to that of docs.
html_extra_path = ["root"]

_UNMARKED_OPTION = re.compile(r"(`[^`]*`)|(?<![\w-])(--[\w-]+)")
"""What is marked as code, or an option that is not, and that would get a dash of text."""


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _add_command_line)


def _add_command_line(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what Typer itself writes of the commands behind the text of ``docs/cli.md``."""
    if docname == "docs/cli":
        command = f"-m typer verl_stepgrpo.cli utils docs --name {project}".split()
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        commands = done.stdout[done.stdout.index("## ") :]  # before it stands their list, cut short
        source[0] += _UNMARKED_OPTION.sub(lambda match: match[1] or f"`{match[2]}`", commands)
