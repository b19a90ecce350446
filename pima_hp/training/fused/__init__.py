"""The fast engine: whole epochs of many runs at a time in vector registers, compiled by numba.

`tables` says what the kernel knows; `simd` is the vector type, `functions`, `activations` and `rules` are what it
computes, `kernel` is an epoch of training. `build` compiles it, `compiled` keeps and loads the result, `known_answers`
checks it. `members` and `stack` are the runs that are trained together, `on_cpu` and `on_gpu` call the kernel, and
`engine` is what the rest of the project asks. The stacked engine is the readable twin.
"""
