"""A process that runs .tflite models on LiteRT's reference kernels; it may abort, so it is not the test's own.

Reads pickled (model, inputs) from stdin until it ends; answers each with a pickled output array, or with the
sentence of LiteRT's refusal as a str.
"""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def run(model: bytes, inputs: list[np.ndarray]) -> np.ndarray | str:
    """The first output, by the reference kernels; a sentence when LiteRT does not take the model."""
    try:
        interpreter = Interpreter(
            model_content=model, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    except (RuntimeError, ValueError) as refusal:
        return str(refusal)


def main() -> None:
    # LiteRT writes notes to standard output; the answers go through a descriptor of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            model, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(run(model, inputs), answers)
        answers.flush()


if __name__ == "__main__":
    main()
