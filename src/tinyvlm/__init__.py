"""tinyvlm: the shared core of the course. Light to import: torch and nothing that draws or downloads."""

__version__ = "0.1.0"
