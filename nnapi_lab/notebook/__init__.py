"""The only importer of IPython, ipywidgets and anywidget: interaction, and nothing else."""
