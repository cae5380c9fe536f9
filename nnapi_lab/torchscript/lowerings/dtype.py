"""Element types: conversions between float, integers and truth values."""

from __future__ import annotations

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.quantization import DEQUANTIZED_HERE
from nnapi_lab.rewrites.types import CONVERTED, NARROWED
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site

B8 = OperandCode.TENSOR_BOOL8
_IGNORED = ("dtype", "device", "layout", "pin_memory", "non_blocking", "copy", "memory_format", "other")


@lowers("aten::to", "aten::type_as", "aten::_to_copy", "aten::_cast_Float", "aten::_cast_Int", "aten::_cast_Long",
        "aten::_cast_Half", ignores=_IGNORED)  # fmt: skip
def to(site: Site, self: TorchValue) -> None:
    """What matters is what came out: another element type is a conversion, anything else does nothing."""
    have, want = site.code_of(self), site.code_of(site.out)
    if self.type.quant is not None:
        site.forbid("TO_QUANTIZED", "a quantized tensor has no other element type", fix="dequantize it first")
    if have == want:
        if self.type.dtype != site.out.type.dtype:
            site.log(NARROWED, values=[self.name, site.out.name],
                     facts={"from": self.type.dtype, "to": site.out.type.dtype})  # fmt: skip
        drop(site, self)
        return
    held = site.held(self)
    site.place(converted(site, held.operand, self, want, site.out.name), held.layout)


def converted(site: Site, operand: str, value: TorchValue, code: OperandCode, name: str = "") -> str:
    """The operand's elements as another type, as torch converts them: fractions cut off, truth is 0 or 1."""
    type = site.builder.type_of(operand)
    if type.code == code:
        return operand
    wanted = name or f"{operand}.as_{code.name.removeprefix('TENSOR_').lower()}"
    if type.code == B8:
        return site.as_number(operand, value, code, wanted)
    if type.quant is not None:
        number = site.add_all("DEQUANTIZE", input=operand, rule=DEQUANTIZED_HERE, names=[f"{operand}.real"])[0]
        return converted(site, number, value, code, name)
    if code == B8:
        return site.as_truth(operand, value, wanted)
    facts = {"from": type.code.name, "to": code.name}
    return site.add_all("CAST", input=operand, code=code, rule=CONVERTED, names=[wanted], facts=facts)[0]
