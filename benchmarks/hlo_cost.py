"""What a compiled GPU program will cost, read from its optimised HLO: kernels, bytes, operations.

A kernel takes the longest of three: its launch, its bytes through memory, its matrix products at
the card's rate. A loop takes its body times its trips, a conditional its dearest branch, or its
cheapest where the other is said to be rare.
"""

import dataclasses
import math
import re
from typing import Any

# NVIDIA's data sheet of the H100 SXM: HBM3, and dense TF32 in the tensor cores.
BYTES_PER_SECOND = 3.35e12
OPERATIONS_PER_SECOND = 495e12
# Measured on one H100 under XLA's CUDA graphs: 177 kernels of an update in 0.34 ms.
LAUNCH_SECONDS = 1.9e-6

# A line's opcode follows its shape; the names in its metadata look like opcodes too.
_LINE = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\S+) "
    r"(?P<opcode>[\w\-]+)\((?P<operands>[^()]*)\)(?P<rest>.*)"
)
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_LAUNCHES_NOTHING = {
    "after-all", "bitcast", "call", "conditional", "constant", "copy-done", "fusion-done",
    "get-tuple-element", "opt-barrier", "parameter", "partition-id", "tuple", "while",
}  # fmt: skip
_READS_A_PART = {"dynamic-slice", "gather", "slice"}


@dataclasses.dataclass(frozen=True)
class Line:
    """One instruction: `operands` are names, `rest` what follows them."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    def called(self, kind: str) -> list[str]:
        """The computations that attribute `kind` names."""
        found = re.search(rf"\b{kind}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.rest)
        return re.findall(r"[\w.\-]+", found.group(1)) if found else []

    def branches(self) -> list[str]:
        """The computations that a conditional chooses from."""
        kinds = ("branch_computations", "true_computation", "false_computation")
        return [name for kind in kinds for name in self.called(kind)]

    @property
    def scope(self) -> str:
        """Where in the traced program it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found.group(1) if found else ""


Program = dict[str, list[Line]]


@dataclasses.dataclass
class Cost:
    """Kernels, bytes, operations and predicted seconds of one pass; `bound` counts kernels."""

    kernels: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0
    seconds: float = 0.0
    bound: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"launch": 0.0, "memory": 0.0, "compute": 0.0}
    )

    def add(self, other: "Cost", times: float = 1.0) -> None:
        self.kernels += times * other.kernels
        self.bytes += times * other.bytes
        self.operations += times * other.operations
        self.seconds += times * other.seconds
        for kind, kernels in other.bound.items():
            self.bound[kind] += times * kernels


def parse(text: str) -> Program:
    """The computations of a program by name; the one that runs is "entry"."""
    program: Program = {}
    name = None
    for row in text.splitlines():
        if head := _HEAD.match(row):
            name = "entry" if head.group(1) else head.group(2)
            program[name] = []
        elif name and (match := _LINE.match(row)):
            operands = tuple(re.findall(r"%([\w.\-]+)", match["operands"]))
            program[name].append(
                Line(
                    match["name"], match["shape"], match["opcode"], operands, match["rest"],
                    row.lstrip().startswith("ROOT"),
                )
            )  # fmt: skip
    return program


def kernels(program: Program, computation: str) -> int:
    """Kernels in one pass over a computation, loops and branches apart."""
    return sum(line.opcode not in _LAUNCHES_NOTHING for line in program.get(computation, ()))


def chain(program: Program, computation: str) -> int:
    """Kernels that wait for each other: the most on one path through a computation.

    What one pass would take where all others run beside them. Loops and branches apart.
    """
    waited: dict[str, int] = {}
    for line in program.get(computation, ()):
        before = max((waited.get(name, 0) for name in line.operands), default=0)
        waited[line.name] = before + (line.opcode not in _LAUNCHES_NOTHING)
    return max(waited.values(), default=0)


def loops(program: Program) -> list[dict[str, Any]]:
    """Every loop: its body, the trips that the compiler knows (or None) and where it came from."""
    return [
        {
            "body": line.called("body")[0],
            "kernels": kernels(program, line.called("body")[0]),
            "chain": chain(program, line.called("body")[0]),
            "trips": trips_of(line),
            "where": line.scope[-80:],
        }
        for body in program.values()
        for line in body
        if line.opcode == "while"
    ]


def conditionals(program: Program) -> list[dict[str, Any]]:
    """Every conditional: the kernels of each branch, loops apart, and where it came from."""
    return [
        {
            "kernels": [kernels(program, name) for name in line.branches()],
            "where": line.scope[-80:],
        }
        for body in program.values()
        for line in body
        if line.opcode == "conditional"
    ]


def cost(
    program: Program, computation: str = "entry", unknown_trips: int = 1, rare: str | None = None
) -> Cost:
    """What `computation` costs with all that it calls.

    unknown_trips: how often a loop turns whose trips the compiler does not know. rare: a part of
    the scope of conditionals whose dearest branch is seldom taken.
    """

    def of(name: str) -> Cost:
        return cost(program, name, unknown_trips, rare)

    total = Cost()
    for line in program.get(computation, ()):
        if line.opcode == "while":
            trips = trips_of(line) or unknown_trips
            total.add(of(line.called("body")[0]), trips)
        elif line.opcode == "conditional":
            branches = sorted(map(of, line.branches()), key=lambda branch: branch.seconds)
            total.add(branches[0 if rare and rare in line.scope else -1])
        elif line.opcode == "call":
            total.add(of(line.called("to_apply")[0]))
        elif line.opcode not in _LAUNCHES_NOTHING:
            total.add(_kernel(program, computation, line))
    return total


def _kernel(program: Program, computation: str, line: Line) -> Cost:
    shapes = {other.name: other.shape for other in program[computation]}
    called = line.called("calls")
    if called:
        body = program[called[0]]
        moved = _written(body, next(other.shape for other in body if other.root))
        for parameter in (other for other in body if other.opcode == "parameter"):
            moved += _read(body, parameter)
        operations = sum(_dot(body, other) for other in body if other.opcode == "dot")
    else:
        alone = [
            Line(n, shapes.get(n, ""), "parameter", (), "", False)
            for n in dict.fromkeys(line.operands)
        ]
        body = [*alone, dataclasses.replace(line, root=True)]
        moved = _written(body, line.shape) + sum(_read(body, parameter) for parameter in alone)
        operations = _dot(body, line) if line.opcode == "dot" else 0.0
    times = {
        "launch": LAUNCH_SECONDS,
        "memory": moved / BYTES_PER_SECOND,
        "compute": operations / OPERATIONS_PER_SECOND,
    }
    bound = max(times, key=lambda kind: times[kind])
    result = Cost(1, moved, operations, times[bound])
    result.bound[bound] = 1
    return result


def _read(body: list[Line], source: Line) -> float:
    """Bytes that a kernel reads of one operand: of a slice or a row, only that."""
    total = 0.0
    for user in (line for line in body if source.name in line.operands):
        if user.opcode == "bitcast":
            total += _read(body, user)
        elif user.opcode in _READS_A_PART and user.operands[0] == source.name:
            total += bytes_of(user.shape)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == source.name:
            continue  # Written in place.
        else:
            return bytes_of(source.shape)
    return min(total, bytes_of(source.shape))


def _written(body: list[Line], shape: str) -> float:
    """Bytes that a kernel writes: all of its result, or the slice that it updates in place."""
    updates = [line for line in body if line.opcode == "dynamic-update-slice"]
    by_name = {line.name: line for line in body}
    total = bytes_of(shape)
    for line in updates:
        total += bytes_of(by_name[line.operands[1]].shape) - bytes_of(line.shape)
    return max(total, 0.0)


def _dot(body: list[Line], line: Line) -> float:
    """Two operations for each product of a contraction."""
    left = next(other.shape for other in body if other.name == line.operands[0])
    sizes = _sizes(left)
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
    dims = [int(d) for d in contracted.group(1).split(",")] if contracted else []
    return 2.0 * math.prod(_sizes(line.shape)) * math.prod(sizes[d] for d in dims)


def trips_of(line: Line) -> int | None:
    """How often a loop turns, where the compiler knows it."""
    found = re.search(r'known_trip_count.*?"n":"(\d+)"', line.rest)
    return int(found.group(1)) if found else None


def _sizes(shape: str) -> list[int]:
    found = _ARRAY.search(shape)
    return [int(size) for size in found.group(2).split(",") if size] if found else []


def bytes_of(shape: str) -> float:
    """Of an array, or of all arrays of a tuple."""
    total = 0.0
    for kind, dims in _ARRAY.findall(shape):
        bits = re.search(r"\d+", kind)
        width = max(int(bits.group()) // 8, 1) if bits else 1
        total += width * math.prod(int(size) for size in dims.split(",") if size)
    return total
