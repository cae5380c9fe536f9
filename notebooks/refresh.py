"""Run every notebook from the top and keep its outputs as pictures and text, for those who read the repository.

python notebooks/refresh.py [NAME.ipynb …]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbclient
import nbformat

HERE = Path(__file__).resolve().parent


def refresh(path: Path) -> None:
    """Execute `path` in place; a failing cell leaves the file as it was."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", store_widget_state=False).execute(
        cwd=str(HERE)
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, different at every run
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    os.environ["NNAPI_LAB_DISPLAY"] = "svg"
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        refresh(path)
