"""A made-up workbench that looks like MobileNetV2's quantized blocks: what every view test draws."""

from __future__ import annotations

import pytest

from nnapi_lab.views.parts import (
    DiffRowPart,
    EdgePart,
    GraphPart,
    LinkPart,
    NodePart,
    ProblemPart,
    StepPart,
    TensorPart,
    WorkbenchPart,
)

FORMULA = "W'[o,h,w,i] = W[o,i,h,w]; perm = (0,2,3,1)"


class Sketchbook:
    """Collects parts while a chain of blocks is told."""

    def __init__(self) -> None:
        self.left: list[NodePart] = []
        self.right: list[NodePart] = []
        self.left_edges: list[EdgePart] = []
        self.right_edges: list[EdgePart] = []
        self.links: list[LinkPart] = []
        self.steps: list[StepPart] = []
        self.rows: list[DiffRowPart] = []

    def begin(self) -> None:
        self.left.append(NodePart("x", "x", "float32[1,3,224,224]", "input", "NCHW"))
        self.right.append(
            NodePart("%x", "%x", "q8a[1,224,224,3]", "input", "NHWC", "scale 0.0186 zp 114", rewrites=("layout",))
        )
        self.links.append(LinkPart("x", "%x"))
        self.steps.append(
            StepPart(
                "1",
                "layout.nchw_to_nhwc",
                "layout",
                "Feature map kept channels last",
                "PyTorch's shape is always N,C,H,W; NNAPI's feature maps are dense N,H,W,C.",
                "operand[n,h,w,c] = value[n,c,h,w]; perm = (0,2,3,1)",
                before=(
                    TensorPart("x", ("1", "3", "224", "224"), ("N", "C", "H", "W"), "float32", sample=("0.1", "0.2")),
                ),
                after=(
                    TensorPart(
                        "%x",
                        ("1", "224", "224", "3"),
                        ("N", "H", "W", "C"),
                        "q8a",
                        "scale 0.0186 zp 114",
                        ("119", "102"),
                    ),
                ),
                source="NNAPI NeuralNetworks.h, data layout of CONV_2D",
                left=("x",),
                right=("%x",),
            )
        )

    def conv(self, name: str, source: tuple[str, str], n: int, channels: int, size: int) -> tuple[str, str]:
        """conv, batch norm and ReLU6 on the left; one CONV_2D with weight, bias and result on the right."""
        kind = "DEPTHWISE_CONV_2D" if n % 3 == 1 else "CONV_2D"
        chain = [f"conv{n}", f"bn{n}", f"relu{n}"]
        labels = ["aten::conv2d", "aten::batch_norm", "aten::hardtanh"]
        for at, (node, label) in enumerate(zip(chain, labels, strict=True)):
            self.left.append(
                NodePart(
                    node,
                    f"{label}",
                    f"float32[1,{channels},{size},{size}]",
                    "torch",
                    "NCHW" if at == 0 else "",
                    rewrites=("operation",) if at == 0 else ("fusion",),
                    scope=f"{name}.{at}",
                    source=f"mobilenet.py:{40 + n}",
                    text=f"%{node} = {label}(%{source[0]}, …)",
                    attributes=(("stride", "[1, 1]"), ("padding", "[1, 1]")) if at == 0 else (),
                )
            )
            self.left_edges.append(EdgePart(source[0] if at == 0 else chain[at - 1], node, "input"))
        op, weight, bias, out = f"op:{n}", f"%{name}.weight", f"%{name}.bias", f"%{n}"
        self.right += [
            NodePart(
                weight,
                weight,
                f"q8a[{channels},3,3,{channels}]",
                "constant",
                "1HWC" if "DEPTH" in kind else "OHWI",
                "scale 0.00312 zp 128",
                rewrites=("layout", "quantization", "constant"),
            ),
            NodePart(
                bias,
                bias,
                f"int32[{channels}]",
                "constant",
                "vector",
                "scale 5.8e-05",
                rewrites=("quantization",),
            ),
            NodePart(op, kind, "fuse RELU6, explicit padding", "operation", rewrites=("fusion",), scope=name),
            NodePart(out, out, f"q8a[1,{size},{size},{channels}]", "operand", "NHWC", f"scale 0.02{n % 10} zp 0"),
        ]
        self.right_edges += [
            EdgePart(source[1], op, "input"),
            EdgePart(weight, op, "weight"),
            EdgePart(bias, op, "bias"),
            EdgePart(op, out, "output"),
        ]
        self.links += [LinkPart(chain[0], right) for right in (op, weight, bias)]
        self.links += [LinkPart(chain[1], op), LinkPart(chain[2], op), LinkPart(chain[2], out)]
        self.explain(n, chain, op, weight, bias, channels)
        self.rows.append(
            DiffRowPart(
                f"%relu{n}",
                chain[2],
                out,
                f"{name} → {out}",
                {"max_abs": 0.0001 * (1 + (n * 7) % 23), "sqnr_db": 60.0 - n, "within_one": 99.5},
                "rounding only" if n % 5 else "inherited from an earlier operation",
            )
        )
        return chain[2], out

    def explain(self, n: int, chain: list[str], op: str, weight: str, bias: str, channels: int) -> None:
        dims = (str(channels), str(channels), "3", "3")
        self.steps += [
            StepPart(
                f"{4 * n + 2}",
                "layout.oihw_to_ohwi",
                "layout",
                "Convolution weights: OIHW to OHWI",
                "PyTorch stores a filter as out, in, height, width; NNAPI wants the input channel last.",
                FORMULA,
                "garbage output",
                before=(TensorPart("weight", dims, tuple("OIHW"), "qint8", "scale 0.00312", ("-12", "3", "44")),),
                after=(
                    TensorPart(
                        weight, (dims[0], "3", "3", dims[1]), tuple("OHWI"), "q8a", "scale 0.00312 zp 128", ("116",)
                    ),
                ),
                facts=(("perm", "(0, 2, 3, 1)"), ("max |Δ|", "0")),
                source="NNAPI CONV_2D input 1",
                left=(chain[0],),
                right=(weight, op),
            ),
            StepPart(
                f"{4 * n + 3}",
                "quantization.bias_int32",
                "quantization",
                "Float bias to int32",
                "NNAPI adds an int32 bias to the accumulator, in the accumulator's own unit.",
                "b_q[o] = round(b[o] / (s_in · s_w))",
                facts=(("s_in", "0.0186"), ("s_w", "0.00312")),
                left=(chain[0],),
                right=(bias, op),
            ),
            StepPart(
                f"{4 * n + 4}",
                "fusion.batch_norm",
                "fusion",
                "Batch normalisation folded into the weights",
                formula="W' = W · γ/√(σ²+ε)",
                left=(chain[0], chain[1]),
                right=(weight, bias),
            ),
            StepPart(
                f"{4 * n + 5}",
                "fusion.activation",
                "fusion",
                "Activation fused",
                left=(chain[2],),
                right=(op,),
            ),
        ]

    def add(self, n: int, one: tuple[str, str], two: tuple[str, str]) -> tuple[str, str]:
        self.left.append(NodePart(f"add{n}", "aten::add", "float32[1,24,56,56]", "torch", source="mobilenet.py:77"))
        self.left_edges += [EdgePart(one[0], f"add{n}"), EdgePart(two[0], f"add{n}")]
        self.right += [
            NodePart(f"op:add{n}", "ADD", "fuse NONE", "operation"),
            NodePart(f"%add{n}", f"%add{n}", "q8a[1,56,56,24]", "operand", "NHWC", "scale 0.0412 zp 121"),
        ]
        self.right_edges += [
            EdgePart(one[1], f"op:add{n}"),
            EdgePart(two[1], f"op:add{n}"),
            EdgePart(f"op:add{n}", f"%add{n}"),
        ]
        self.links += [LinkPart(f"add{n}", f"op:add{n}"), LinkPart(f"add{n}", f"%add{n}")]
        return f"add{n}", f"%add{n}"

    def finish(self, title: str, problems: tuple[ProblemPart, ...] = ()) -> WorkbenchPart:
        rows = sorted(self.rows, key=lambda row: -(row.metrics["max_abs"] or 0))
        return WorkbenchPart(
            title,
            GraphPart("TorchScript", tuple(self.left), tuple(self.left_edges)),
            GraphPart("NNAPI", tuple(self.right), tuple(self.right_edges)),
            tuple(self.links),
            (("operations", "12"), ("operands", "48"), ("required API level", "29 (Android 10)")),
            tuple(self.steps),
            diff_rows=tuple(rows),
            problems=problems,
        )


def mobile_blocks(blocks: int) -> WorkbenchPart:
    """A stem and inverted residuals: expand, depthwise, project, and an addition over each block."""
    book = Sketchbook()
    book.begin()
    at = book.conv("features.0.0", ("x", "%x"), 0, 32, 112)
    n = 1
    for block in range(1, blocks + 1):
        start = at
        for part in range(3):
            at = book.conv(f"features.{block}.conv.{part}", at, n, 24 * (1 + part), 56)
            n += 1
        if block > 1:
            at = book.add(block, start, at)
    return book.finish("mobilenet_v2")


@pytest.fixture(scope="session")
def mobilenet() -> WorkbenchPart:
    """Three blocks: about 40 nodes on the left, 50 on the right."""
    return mobile_blocks(3)


@pytest.fixture(scope="session")
def deep() -> WorkbenchPart:
    """Seventeen blocks, as deep as MobileNetV2."""
    return mobile_blocks(17)


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


@pytest.fixture(scope="session")
def hostile() -> WorkbenchPart:
    """Every text is markup; it must be shown, never obeyed."""
    text = HOSTILE
    node = NodePart("a", text, text, "torch", text, text, text, text, ("layout",), text, text, text, ((text, text),))
    other = NodePart(text, text, text, "operation", rewrites=("layout",))
    tensor = TensorPart(text, (text,), (text,), text, text, (text,))
    return WorkbenchPart(
        text,
        GraphPart(text, (node,)),
        GraphPart(text, (other,)),
        (LinkPart("a", text),),
        ((text, text),),
        (
            StepPart(
                text,
                text,
                "layout",
                text,
                text,
                text,
                text,
                (tensor,),
                (tensor,),
                ((text, text),),
                text,
                ("a",),
                (text,),
            ),
        ),
        diff_rows=(DiffRowPart(text, "a", text, text, {"max_abs": 1.0}, text),),
        problems=(ProblemPart(text, text, text, text, text, text, ("a",), (text,)),),
    )
