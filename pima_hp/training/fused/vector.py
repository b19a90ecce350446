"""numba types for a vector register, one number per lane, and for rows of such numbers in memory.

Lane l belongs to member l of a block. The operations are single LLVM instructions; none of them combines lanes, so the
bits of a run do not depend on its neighbors. Built with numba's extension API (numba documentation, "Extending Numba",
low-level extension API).
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, overload, register_model

CONTRACT = ("contract",)  # a * b + c may become one instruction; nothing else is reordered
_INDEX = ir.IntType(32)


class _Numbers(types.Type):
    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"{type(self).__name__}({dtype}, {count})")


class Lanes(_Numbers):
    """`count` numbers in a vector register."""


class Rows(_Numbers):
    """A pointer to rows of `count` numbers.

    Its name holds no number that numba assigns per process, as that of a record array does.
    """


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(manager[kind.dtype].get_value_type(), kind.count))


@register_model(Rows)
class _RowsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Rows) -> None:
        row = ir.ArrayType(manager[kind.dtype].get_value_type(), kind.count)
        super().__init__(manager, kind, row.as_pointer())


def operation(result: Callable[..., Any], n_arguments: int | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Make a numba function of a function that emits instructions, given context, builder, signature and arguments.

    Args:
        result: returns the type of the result from those of the arguments.
        n_arguments: where `inspect` cannot tell.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_typing: Any, *kinds: Any) -> Any:
            signature = result(*kinds)(*kinds)
            return signature, lambda context, builder, sig, args: emit(context, builder, sig, *args)

        n = len(inspect.signature(emit).parameters) - 3 if n_arguments is None else n_arguments
        names = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in "tabcdefgh"[: n + 1]]
        typed.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate


def _first(kind: Any, *_others: Any) -> Any:
    return kind


def _none(*_kinds: Any) -> Any:
    return types.void


def _row(rows: Any, *_others: Any) -> Lanes:
    """Return the type of a row of an array; of lanes, their own."""
    return Lanes(rows.dtype, rows.count)


def _address(context: Any, builder: Any, kind: Lanes, rows: Any, row: Any) -> Any:
    return builder.bitcast(builder.gep(rows, [row]), context.get_value_type(kind).as_pointer())


@operation(_first)
def skip(_context, builder, _sig, rows, count):
    """Return a pointer to the row `count` rows further on."""
    return builder.gep(rows, [count])


@operation(lambda _rows, _index: types.intp)
def at(context, builder, sig, rows, index):
    """Return a whole number from rows of one."""
    number = builder.load(builder.gep(rows, [index, ir.Constant(_INDEX, 0)]))
    return builder.sext(number, context.get_value_type(sig.return_type))


@operation(_first)
def block_of(_context, _builder, _sig, block):
    """Return the number of the block to work on: on the GPU each program has its own."""
    return block


@operation(_row)
def load(context, builder, sig, rows, row):
    """Return a row of an array."""
    kind = sig.return_type
    return builder.load(_address(context, builder, kind, rows, row), align=kind.dtype.bitwidth // 8)


@operation(_none)
def store(context, builder, sig, rows, row, value):
    """Write a row of an array."""
    kind = sig.args[2]
    builder.store(value, _address(context, builder, kind, rows, row), align=kind.dtype.bitwidth // 8)
    return context.get_dummy_value()


@operation(_none)
def gather(context, builder, sig, source, first, choice, row, target, into):
    """Copy in each lane the row that it chooses: `first` + the whole number in row `row` of `choice`."""
    from_row, choices, to_row = (builder.gep(*at) for at in ((source, [first]), (choice, [row]), (target, [into])))
    for number in range(sig.args[0].count):
        lane = [ir.Constant(_INDEX, 0), ir.Constant(_INDEX, number)]
        chosen = builder.sext(builder.load(builder.gep(choices, lane)), ir.IntType(64))
        builder.store(builder.load(builder.gep(from_row, [chosen, lane[1]])), builder.gep(to_row, lane))
    return context.get_dummy_value()


@operation(_row)
def splat(context, builder, sig, _model, number):
    """Return a number in every lane, as wide as `model`, an array or other lanes."""
    kind = sig.return_type
    undefined = ir.Constant(context.get_value_type(kind), ir.Undefined)
    value = context.cast(builder, number, sig.args[1], kind.dtype)
    first = builder.insert_element(undefined, value, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INDEX, kind.count), [0] * kind.count))


@operation(_row)
def cast(context, builder, sig, model, x):  # noqa: ARG001
    """Return numbers in the width of the array `model`."""
    given, wanted = sig.args[1].dtype.bitwidth, sig.return_type.dtype.bitwidth
    convert = builder.fpext if wanted > given else builder.fptrunc
    return x if wanted == given else convert(x, context.get_value_type(sig.return_type))


@operation(lambda _x, _bound, yes, _no: yes)
def where_gt(_context, builder, _sig, x, bound, yes, no):
    """Return `yes` in the lanes where x > bound, else `no`; NaN is not greater."""
    return builder.select(builder.fcmp_ordered(">", x, bound), yes, no)


@operation(lambda _x, yes, _no: yes)
def where_nan(_context, builder, _sig, x, yes, no):
    """Return `yes` in the lanes where x is not a number, else `no`."""
    return builder.select(builder.fcmp_unordered("uno", x, x), yes, no)


@operation(_first)
def power_of_two(context, builder, sig, x):
    """Return 2**x for whole x within the range of the exponent, by writing its bits."""
    kind = sig.return_type
    bits, shift, bias = (32, 23, 127) if kind.dtype == types.float32 else (64, 52, 1023)
    whole = ir.VectorType(ir.IntType(bits), kind.count)
    exponent = builder.add(builder.fptosi(x, whole), ir.Constant(whole, [bias] * kind.count))
    return builder.bitcast(
        builder.shl(exponent, ir.Constant(whole, [shift] * kind.count)), context.get_value_type(kind)
    )


def _llvm(name: str, n_arguments: int) -> Any:
    """Return an LLVM intrinsic for all lanes."""

    def emit(context: Any, builder: Any, sig: Any, *args: Any) -> Any:
        kind, vector = sig.return_type, context.get_value_type(sig.return_type)
        mangled = f"llvm.{name}.v{kind.count}f{kind.dtype.bitwidth}"
        function_type = ir.FunctionType(vector, [vector] * len(args))
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, mangled), args)

    return operation(_first, n_arguments)(emit)


sqrt, absolute, rint = _llvm("sqrt", 1), _llvm("fabs", 1), _llvm("rint", 1)
fma = _llvm("fma", 3)  # x * y + z with one rounding


def _arithmetic(symbol: Any, instruction: str, flags: tuple[str, ...] = CONTRACT) -> None:
    """Give lanes an arithmetic operator."""

    @operation(_first)
    def emitted(_context, builder, _sig, x, y):
        return getattr(builder, instruction)(x, y, flags=flags)

    def choose(x, y):
        return (lambda x, y: emitted(x, y)) if isinstance(x, Lanes) and x == y else None

    overload(symbol, inline="always")(choose)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv", ())
