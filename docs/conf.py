"""The site of these documents: `uv run --only-group docs sphinx-build -W docs site`."""

project = "tp35"
copyright = "tp35 contributors"

extensions = ["myst_parser"]
myst_heading_anchors = 3
highlight_language = "none"
exclude_patterns = ["images/*.md"]

# nothing that a reader's browser would ask another host for
html_theme = "furo"
html_title = "tp35"
html_copy_source = False
html_show_sourcelink = False
