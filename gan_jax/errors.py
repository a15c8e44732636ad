"""The two ways in which a run ends early; scripts print each as one line, without a traceback."""


class InputError(ValueError):
    """Bad input from the user: one line that names the thing and the remedy. Scripts exit with status 2."""


class NonFiniteError(FloatingPointError):
    """A loss or a leaf of the state is nan or inf; the last good checkpoint is kept. Scripts exit with status 1."""
