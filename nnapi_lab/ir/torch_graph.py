"""The TorchScript side, as plain data: values, nodes and the graph, without a single torch object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import PerChannel, Quant


@dataclass(frozen=True, slots=True)
class TorchType:
    """What TorchScript says of a value.

    `kind`: "Tensor", or the TorchScript name of another type ("int", "float[]", "NoneType", "Tensor[]" …).
    For tensors `dtype` is torch's name without the module ("float32", "quint8"), `shape` the logical shape and
    `quant` the quantization of a quantized tensor; each is None while unknown.
    """

    kind: str = "Tensor"
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    quant: Quant | PerChannel | None = None

    @property
    def is_tensor(self) -> bool:
        return self.kind == "Tensor"

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    def __str__(self) -> str:
        if not self.is_tensor:
            return self.kind
        dims = "[?]" if self.shape is None else "[" + ",".join(map(str, self.shape)) + "]"
        quant = f" {self.quant}" if self.quant is not None else ""
        return f"{self.dtype or 'Tensor'}{dims}{quant}"


@dataclass(frozen=True, slots=True, eq=False)
class TensorData:
    """A constant tensor: stored elements (codes for a quantized one, row-major, logical order) and their type.

    `zero_points` holds torch's per-channel zero points (NNAPI requires them to be 0); None otherwise.
    """

    array: np.ndarray
    type: TorchType
    zero_points: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PackedParams:
    """The weights hidden in a quantized convolution or linear: what torch calls packed parameters.

    `kind`: "conv2d", "conv_transpose2d", "linear" …; `weight` OIHW (or [out, in]); `bias` float32 or None.
    The remaining fields are meaningless for linear.
    """

    kind: str
    weight: TensorData
    bias: np.ndarray | None
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TorchValue:
    """A value of the graph. `name` as TorchScript prints it ("%7", "%x.1").

    `constant` is set when the value is known without running the model: a Python scalar, string or None, a tuple
    for lists, TensorData, or PackedParams; `is_constant` tells a constant None from "not constant".
    """

    name: str
    type: TorchType
    constant: Any = None
    is_constant: bool = False
    origin: str = ""  # attribute path of a parameter: "features.0.0.weight"
    items: tuple[str, ...] = ()  # names of the members of a list that one node returns (split, chunk)


@dataclass(frozen=True, slots=True)
class TorchNode:
    """One node: `kind` such as "aten::conv2d", names of inputs and outputs, and where it was written.

    `scope` is the module path ("features.0.conv"), `python` the user's line ("model.py:42"), `schema` torch's
    argument names in order (empty for prim nodes), `overload` which of the operator's schemas is meant.
    """

    id: int
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scope: str = ""
    python: str = ""
    schema: tuple[str, ...] = ()
    overload: str = ""

    @property
    def name(self) -> str:
        return self.outputs[0] if self.outputs else self.kind

    def argument(self, name: str) -> str:
        """The value passed for the schema argument `name`. Raises KeyError when there is none."""
        try:
            return self.inputs[self.schema.index(name)]
        except (ValueError, IndexError):
            raise KeyError(f"{self.kind} has no argument {name}; it has {', '.join(self.schema)}") from None


@dataclass(frozen=True, slots=True, eq=False)
class TorchGraph:
    """A captured model: one flat list of nodes (submodules inlined), values by name.

    `structure` says how the outputs are handed back: "tensor", or a nested tuple/list/dict template whose leaves
    are positions in `outputs`.
    """

    name: str
    values: Mapping[str, TorchValue]
    nodes: tuple[TorchNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    structure: Any = 0
    _producers: Mapping[str, TorchNode] = field(init=False, repr=False)
    _consumers: Mapping[str, tuple[TorchNode, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        producers: dict[str, TorchNode] = {}
        consumers: dict[str, list[TorchNode]] = {}
        for node in self.nodes:
            for output in node.outputs:
                producers[output] = node
                producers.update(dict.fromkeys(self.values[output].items, node))
            for read in dict.fromkeys(node.inputs):
                consumers.setdefault(read, []).append(node)
        object.__setattr__(self, "_producers", MappingProxyType(producers))
        object.__setattr__(
            self, "_consumers", MappingProxyType({name: tuple(users) for name, users in consumers.items()})
        )

    def __getitem__(self, name: str) -> TorchValue:
        return self.values[name]

    def __iter__(self) -> Iterator[TorchNode]:
        return iter(self.nodes)

    def producer(self, name: str) -> TorchNode | None:
        return self._producers.get(name)

    def consumers(self, name: str) -> tuple[TorchNode, ...]:
        return self._consumers.get(name, ())

    def line(self, node: TorchNode) -> str:
        """The node as one line of text: `%7 : float32[1,8] = aten::relu(%6)  # scope, file:line`."""
        outs = ", ".join(f"{name} : {self.values[name].type}" for name in node.outputs)
        where = ", ".join(part for part in (node.scope, node.python) if part)
        names = node.schema or ("",) * len(node.inputs)
        shown = [self._argument_text(name, value) for name, value in zip(names, node.inputs, strict=False)]
        return f"{outs} = {node.kind}({', '.join(shown)})" + (f"  # {where}" if where else "")

    def _argument_text(self, argument: str, name: str) -> str:
        """`%x` for a tensor, `stride=[2, 2]` for a number: constants are written where they are used."""
        value = self.values[name]
        if not value.is_constant or value.type.is_tensor:
            return name
        held = value.constant
        text = list(held) if isinstance(held, tuple) else "packed" if isinstance(held, PackedParams) else repr(held)
        return f"{argument}={text}" if argument else str(text)

    def __str__(self) -> str:
        heads = ", ".join(f"{name} : {self.values[name].type}" for name in self.inputs)
        body = "\n".join(f"  {self.line(node)}" for node in self.nodes)
        return f"graph {self.name}({heads}):\n{body}\n  return ({', '.join(self.outputs)})"
