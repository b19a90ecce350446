"""What the learning curves of runs say: pure functions on arrays, (R, E) in; never imports torch."""
