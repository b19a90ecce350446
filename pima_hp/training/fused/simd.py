"""numba types for a vector register, one number per lane, and for rows of such numbers in memory.

Lane l belongs to member l of a block. `load`, `store`, `splat` and the arithmetic below are single LLVM instructions;
none of them combines lanes, so a run's bits do not depend on its neighbors. Built with numba's extension API (numba
documentation, "Extending Numba", low-level extension API).
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, overload, register_model

_CONTRACT = ("contract",)  # a * b + c may become one instruction; nothing else is reordered


class Lanes(types.Type):
    """So many floating-point numbers of one width."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        scalar = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.count))


class Rows(types.Type):
    """A pointer to rows of so many numbers.

    Its name holds no number that numba assigns per process, as that of a record array does: the kernel's symbols are
    the same wherever it is compiled.
    """

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Rows({dtype}, {count})")


@register_model(Rows)
class _RowsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Rows) -> None:
        row = ir.ArrayType(manager[kind.dtype].get_value_type(), kind.count)
        super().__init__(manager, kind, row.as_pointer())


def rows_at(dtype: Any, count: int) -> Any:
    """Return the function that turns an address, a whole number, into a pointer to rows."""
    kind = Rows(dtype, count)

    @intrinsic
    def at_address(_typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(address), generate

    return at_address


@intrinsic
def skip(_typing: Any, rows: Any, count: Any) -> Any:  # noqa: ARG001
    """Return a pointer to the row `count` rows further on."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return rows(rows, types.intp), generate


@intrinsic
def at(_typing: Any, rows: Any, index: Any) -> Any:  # noqa: ARG001
    """Return a whole number from rows of one."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        number = builder.load(builder.gep(args[0], [args[1], ir.Constant(ir.IntType(32), 0)]))
        return builder.sext(number, context.get_value_type(types.intp))

    return types.intp(rows, types.intp), generate


def _kind(rows: Any) -> Lanes:
    """Return what a row holds."""
    return Lanes(rows.dtype, rows.count)


def _pointer(builder: Any, rows: Any, row: Any) -> Any:
    """Return where a row begins, as a pointer to an array of its lanes."""
    return builder.gep(rows, [row])


def _splat(context: Any, builder: Any, kind: Lanes, value: Any) -> Any:
    vector = context.get_value_type(kind)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, mask)


@intrinsic
def load(_typing: Any, array: Any, row: Any) -> Any:  # noqa: ARG001 -- numba goes by these names
    """Return a row of an array."""
    kind = _kind(array)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        pointer = _pointer(builder, *args)
        vector = builder.bitcast(pointer, context.get_value_type(kind).as_pointer())
        return builder.load(vector, align=kind.dtype.bitwidth // 8)

    return kind(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, row: Any, value: Any) -> Any:  # noqa: ARG001
    """Write a row of an array."""
    kind = _kind(array)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        pointer = _pointer(builder, *args[:2])
        vector = builder.bitcast(pointer, context.get_value_type(kind).as_pointer())
        builder.store(args[2], vector, align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, kind), generate


@intrinsic
def copy_chosen(_typing: Any, source: Any, first: Any, choice: Any, row: Any, target: Any, into: Any) -> Any:  # noqa: ARG001
    """Copy in each lane the row that it chooses: `first` + the whole number in row `row` of `choice`."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        from_row, choices, to_row = (_pointer(builder, *args[position : position + 2]) for position in (0, 2, 4))
        zero = ir.Constant(ir.IntType(32), 0)
        for number in range(_kind(source).count):
            lane = ir.Constant(ir.IntType(32), number)
            chosen = builder.load(builder.gep(choices, [zero, lane]))
            value = builder.load(builder.gep(from_row, [builder.sext(chosen, ir.IntType(64)), lane]))
            builder.store(value, builder.gep(to_row, [zero, lane]))
        return context.get_dummy_value()

    return types.void(source, types.intp, choice, types.intp, target, types.intp), generate


@intrinsic
def splat(_typing: Any, model: Any, number: Any) -> Any:
    """Return a number in every lane, as wide as `model`, an array or other lanes."""
    kind = model if isinstance(model, Lanes) else _kind(model)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(context, builder, kind, context.cast(builder, args[1], sig.args[1], kind.dtype))

    return kind(model, number), generate


@intrinsic
def widen(_typing: Any, x: Any) -> Any:
    """Return the same numbers in double precision."""
    kind = Lanes(types.float64, x.count)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return args[0] if x == kind else builder.fpext(args[0], context.get_value_type(kind))

    return kind(x), generate


@intrinsic
def narrow(_typing: Any, model: Any, x: Any) -> Any:
    """Return double-precision numbers rounded to the width of the array `model`."""
    kind = _kind(model)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return args[1] if kind == x else builder.fptrunc(args[1], context.get_value_type(kind))

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
            builder.module, function_type, f"llvm.{name}.v{kind.count}f{kind.dtype.bitwidth}"
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
    bits, shift, bias = (32, 23, 127) if x.dtype == types.float32 else (64, 52, 1023)

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        whole = ir.VectorType(ir.IntType(bits), x.count)
        exponent = builder.add(builder.fptosi(args[0], whole), ir.Constant(whole, [bias] * x.count))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [shift] * x.count)), context.get_value_type(x))

    return x(x), generate


def _operator(symbol: Any, instruction: Any) -> None:
    def choose(x, y):
        if isinstance(x, Lanes) and x == y:
            return lambda x, y: instruction(x, y)
        return None

    overload(symbol, inline="always")(choose)


for _symbol, _one in ((operator.add, add), (operator.sub, sub), (operator.mul, mul), (operator.truediv, div)):
    _operator(_symbol, _one)
