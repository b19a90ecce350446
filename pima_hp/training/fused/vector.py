"""numba type for a vector register, one number per lane, and the operations in which the kernel is written.

Lane l belongs to member l of a block. The operations are single LLVM instructions; none of them combines lanes, so the
bits of a run do not depend on its neighbors. Built with numba's extension API (numba documentation, "Extending Numba",
low-level extension API).
"""

import operator
from collections.abc import Callable
from functools import wraps
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, overload, register_model

CONTRACT = ("contract",)  # a * b + c may become one instruction; nothing else is reordered
_INDEX, _LONG = ir.IntType(32), ir.IntType(64)


class Lanes(types.Type):
    """`count` numbers in a vector register; rows of them in memory are a `CPointer` to it.

    No name holds a number that numba assigns per process, as that of a record array does.
    """

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.alignment = dtype.bitwidth // 8  # of a row in memory, in bytes
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(manager[kind.dtype].get_value_type(), kind.count))


@njit
def block_of(block):
    """Return the number of the block to work on: on the GPU each program has its own."""
    return block


@njit
def at(array, index):
    """Return an element of an array of whole numbers."""
    return array[index]


@intrinsic
def skip(_typing, rows, count):
    """Return a pointer to the row `count` rows further on."""
    return rows(rows, count), lambda _context, builder, _sig, args: builder.gep(args[0], [args[1]])


@intrinsic
def load(_typing, rows, row):
    """Return a row of an array."""

    def emit(_context, builder, _sig, args):
        return builder.load(builder.gep(args[0], [args[1]]), align=rows.dtype.alignment)

    return rows.dtype(rows, row), emit


@intrinsic
def store(_typing, rows, row, value):
    """Write a row of an array."""

    def emit(context, builder, _sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]), align=rows.dtype.alignment)
        return context.get_dummy_value()

    return types.void(rows, row, value), emit


@intrinsic
def gather(_typing, source, first, choice, row, target, into):
    """Copy in each lane the row that it chooses: `first` + the whole number in row `row` of `choice`."""
    count = source.dtype.count

    def emit(context, builder, _sig, args):
        starts = [builder.gep(args[place], [args[place + 1]]) for place in (0, 2, 4)]
        numbers, choices, copies = (builder.bitcast(each, each.type.pointee.element.as_pointer()) for each in starts)
        for lane in range(count):
            chosen = builder.sext(builder.load(builder.gep(choices, [_INDEX(lane)])), _LONG)
            place = builder.add(builder.mul(chosen, _LONG(count)), _LONG(lane))
            builder.store(builder.load(builder.gep(numbers, [place])), builder.gep(copies, [_INDEX(lane)]))
        return context.get_dummy_value()

    return types.void(source, first, choice, row, target, into), emit


def _spread(context: Any, builder: Any, kind: Lanes, given: Any, value: Any) -> Any:
    """Return a number of the type `given` in every lane, and lanes as they are."""
    if isinstance(given, Lanes):
        return value
    undefined = ir.Constant(context.get_value_type(kind), ir.Undefined)
    first = builder.insert_element(undefined, context.cast(builder, value, given, kind.dtype), _INDEX(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INDEX, kind.count), 0))


@intrinsic
def splat(_typing, model, number):
    """Return a number in every lane, as wide as `model`, an array or other lanes."""
    kind = model if isinstance(model, Lanes) else model.dtype
    return kind(model, number), lambda context, builder, _, args: _spread(context, builder, kind, number, args[1])


@intrinsic
def cast(_typing, model, x):
    """Return numbers in the width of the array `model`."""
    given, wanted = x.dtype.bitwidth, model.dtype.dtype.bitwidth

    def emit(context, builder, sig, args):
        convert = builder.fpext if wanted > given else builder.fptrunc
        return args[1] if wanted == given else convert(args[1], context.get_value_type(sig.return_type))

    return model.dtype(model, x), emit


@intrinsic
def is_single(_typing, x):
    """Return whether lanes are in single precision; known when compiling."""
    return types.boolean(x), lambda *_: cgutils.bool_t(x.dtype == types.float32)


def elementwise(emit: Callable[..., Any]) -> Any:
    """Make a numba function of a function that emits instructions, given the builder and lanes.

    A number among the arguments stands for lanes that are all equal.
    """

    @wraps(emit)
    def typed(_typing: Any, *given: Any) -> Any:
        kind = next(each for each in given if isinstance(each, Lanes))

        def emit_for_lanes(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            return emit(builder, *(_spread(context, builder, kind, *each) for each in zip(given, args, strict=True)))

        return kind(*given), emit_for_lanes

    return intrinsic(typed)


@elementwise
def where_gt(builder, x, bound, yes, no):
    """Return `yes` in the lanes where x > bound, else `no`; NaN is not greater."""
    return builder.select(builder.fcmp_ordered(">", x, bound), yes, no)


@elementwise
def power_of_two(builder, x):
    """Return 2**x for whole x within the range of the exponent, by writing its bits; 1 for NaN."""
    bits, shift, bias = (32, 23, 127) if x.type.element == ir.FloatType() else (64, 52, 1023)
    whole = ir.VectorType(ir.IntType(bits), x.type.count)
    number = builder.select(builder.fcmp_unordered("uno", x, x), x.type(0.0), x)
    return builder.bitcast(builder.shl(builder.add(builder.fptosi(number, whole), whole(bias)), whole(shift)), x.type)


def _llvm(name: str, builder: Any, *args: Any) -> Any:
    """Call an LLVM intrinsic for all lanes."""
    vector = args[0].type
    mangled = f"llvm.{name}.v{vector.count}f{32 if vector.element == ir.FloatType() else 64}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * len(args)), mangled)
    return builder.call(function, args)


sqrt = elementwise(lambda builder, x: _llvm("sqrt", builder, x))
absolute = elementwise(lambda builder, x: _llvm("fabs", builder, x))
rint = elementwise(lambda builder, x: _llvm("rint", builder, x))
fma = elementwise(lambda builder, x, y, z: _llvm("fma", builder, x, y, z))  # x * y + z with one rounding


def _arithmetic(symbol: Any, instruction: str, flags: tuple[str, ...] = CONTRACT) -> None:
    """Give lanes an arithmetic operator."""
    emitted = elementwise(lambda builder, x, y: getattr(builder, instruction)(x, y, flags=flags))

    def choose(x, y):
        return (lambda x, y: emitted(x, y)) if isinstance(x, Lanes) or isinstance(y, Lanes) else None

    overload(symbol, inline="always")(choose)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv", ())
