"""What does a hyperparameter do to a small neural network? Many small trainings, one judged answer."""

__version__ = "0.1.0"
