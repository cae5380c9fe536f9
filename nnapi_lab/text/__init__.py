"""The text form of a model: `parse(show(model)) == model`, and the `.nn` files that hold it."""

from nnapi_lab.text.nn_file import read_nn, write_nn
from nnapi_lab.text.parse import parse
from nnapi_lab.text.show import call_text, show

__all__ = ["call_text", "parse", "read_nn", "show", "write_nn"]
