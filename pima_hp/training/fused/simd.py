"""A numba type for LANES numbers in a vector register: lane l belongs to member l of a block.

`load`, `store`, `splat` and the arithmetic below are single LLVM instructions on it. A lane never sees
another lane, so that a run's bits do not depend on its neighbours. Built with numba's extension API
(numba documentation, "Extending Numba", low-level extension API).
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, overload, register_model

LANES = 16
_CONTRACT = ("contract",)  # a * b + c may become one instruction; nothing else is reordered


class Lanes(types.Type):
    """LANES floating-point numbers of one width."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        scalar = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(scalar, LANES))


SINGLE, DOUBLE = Lanes(types.float32), Lanes(types.float64)
_KINDS = {types.float32: SINGLE, types.float64: DOUBLE}


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(_KINDS[array_type.dtype])
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _splat(context: Any, builder: Any, kind: Lanes, value: Any) -> Any:
    vector = context.get_value_type(kind)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, mask)


@intrinsic
def load(_typing: Any, array: Any, row: Any) -> Any:  # noqa: ARG001 -- numba goes by these names
    """Return row `row` of a flat array of rows of LANES numbers."""
    kind = _KINDS[array.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = builder.mul(args[1], ir.Constant(args[1].type, LANES))
        return builder.load(_pointer(context, builder, sig.args[0], args[0], index), align=array.dtype.bitwidth // 8)

    return kind(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, row: Any, value: Any) -> Any:  # noqa: ARG001
    """Write row `row` of a flat array of rows of LANES numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = builder.mul(args[1], ir.Constant(args[1].type, LANES))
        pointer = _pointer(context, builder, sig.args[0], args[0], index)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, _KINDS[array.dtype]), generate


@intrinsic
def splat(_typing: Any, model: Any, number: Any) -> Any:
    """Return a number in every lane, as wide as `model`, an array or other lanes."""
    kind = model if isinstance(model, Lanes) else _KINDS[model.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(context, builder, kind, context.cast(builder, args[1], sig.args[1], kind.dtype))

    return kind(model, number), generate


@intrinsic
def widen(_typing: Any, x: Any) -> Any:
    """Return the same numbers in double precision."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return args[0] if x == DOUBLE else builder.fpext(args[0], context.get_value_type(DOUBLE))

    return DOUBLE(x), generate


@intrinsic
def narrow(_typing: Any, model: Any, x: Any) -> Any:
    """Return double-precision numbers rounded to the width of the array `model`."""
    kind = _KINDS[model.dtype]

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return args[1] if kind == DOUBLE else builder.fptrunc(args[1], context.get_value_type(kind))

    return kind(model, x), generate


def _instruction(emit: Callable[..., Any], n_arguments: int) -> Any:
    def typed(kind: Any, *others: Any) -> Any:
        if not isinstance(kind, Lanes) or any(other != kind for other in others):
            return None
        return kind(kind, *others), lambda context, builder, _sig, args: emit(context, builder, kind, args)

    if n_arguments == 1:
        return intrinsic(lambda _typing, x: typed(x))
    if n_arguments == 2:
        return intrinsic(lambda _typing, x, y: typed(x, y))
    return intrinsic(lambda _typing, x, y, z: typed(x, y, z))


def _llvm(name: str, n_arguments: int) -> Any:
    def emit(context: Any, builder: Any, kind: Lanes, args: Any) -> Any:
        vector = context.get_value_type(kind)
        function_type = ir.FunctionType(vector, [vector] * n_arguments)
        function = cgutils.get_or_insert_function(
            builder.module, function_type, f"llvm.{name}.v{LANES}f{kind.dtype.bitwidth}"
        )
        return builder.call(function, args)

    return _instruction(emit, n_arguments)


add = _instruction(lambda _c, builder, _k, args: builder.fadd(*args, flags=_CONTRACT), 2)
sub = _instruction(lambda _c, builder, _k, args: builder.fsub(*args, flags=_CONTRACT), 2)
mul = _instruction(lambda _c, builder, _k, args: builder.fmul(*args, flags=_CONTRACT), 2)
div = _instruction(lambda _c, builder, _k, args: builder.fdiv(*args), 2)
sqrt = _llvm("sqrt", 1)
magnitude = _llvm("fabs", 1)
nearest_whole = _llvm("rint", 1)
fma = _llvm("fma", 3)  # x * y + z with one rounding


@intrinsic
def where_greater(_typing: Any, x: Any, bound: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where x > bound, else `no`; NaN is not greater."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return yes(x, bound, yes, no), generate


@intrinsic
def where_nan(_typing: Any, x: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where x is not a number, else `no`."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_unordered("uno", args[0], args[0]), args[1], args[2])

    return yes(x, yes, no), generate


@intrinsic
def power_of_two(_typing: Any, x: Any) -> Any:
    """Return 2**x for whole x within the range of the exponent, by writing its bits."""
    bits, shift, bias = (32, 23, 127) if x == SINGLE else (64, 52, 1023)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        whole = ir.VectorType(ir.IntType(bits), LANES)
        exponent = builder.add(builder.fptosi(args[0], whole), ir.Constant(whole, [bias] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [shift] * LANES)), context.get_value_type(x))

    return x(x), generate


def _operator(symbol: Any, instruction: Any) -> None:
    def choose(x, y):
        if isinstance(x, Lanes) and x == y:
            return lambda x, y: instruction(x, y)
        return None

    overload(symbol, inline="always")(choose)


for _symbol, _one in ((operator.add, add), (operator.sub, sub), (operator.mul, mul), (operator.truediv, div)):
    _operator(_symbol, _one)


@njit
def at(array, index):
    """Return an element of an array of whole numbers."""
    return array[index]


@njit
def copy_chosen(source, first, choice, row, target, into):
    """Copy in each lane the row that it chooses: `first` + the whole number in row `row` of `choice`."""
    for lane in range(LANES):
        target[into * LANES + lane] = source[(first + choice[row * LANES + lane]) * LANES + lane]
