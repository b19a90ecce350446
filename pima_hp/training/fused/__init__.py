"""The fastest engine: whole epochs of many runs at a time in vector registers, compiled by numba.

`tables` lists what the kernel knows. `vector` defines the operations in which `functions`, `activations`, `optimizers`
and `kernel` are written. `build` compiles them, `compiled` stores and loads the result, `known_answers` checks it.
`stack` holds runs that are trained together, `schedules` sets their learning rates, `cpu` and `gpu` call the kernel.
The rest of the project uses `engine`. The stacked engine is the readable counterpart.
"""
