"""The two roots of every error that flexhyca raises.

`FlexhycaError` is something the user can mend: its message is one line that names the file, layer
or field, the value, the limit and the next step.  `InternalError` is a bug of ours.
"""


class FlexhycaError(Exception):
    """Bad input, configuration or program; the command line prints it and exits with 2.

    what : what is wrong, and where. advice : the next step, where somebody has to know the one
    without the other; printed behind it. No code reads the words of either.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


class FlexhycaWarning(UserWarning):
    """What to know before a result is believed; the command line prints it in one line."""


class ConfigError(FlexhycaError):
    """A configuration value is unknown, of the wrong type, out of range or contradictory."""


class ModelError(FlexhycaError):
    """A network, its weights or its data cannot be used."""


class QuantisationError(FlexhycaError):
    """The quantised network wraps or overflows without any fault."""


class CompileError(FlexhycaError):
    """A layer cannot be mapped to the configured accelerator."""


class ProgramError(FlexhycaError):
    """A program file or an assembly text is malformed."""


class DeadlockError(FlexhycaError):
    """The program cannot finish: every engine that is left waits for a token that never comes."""


class InternalError(Exception):
    """An invariant of flexhyca itself does not hold; please report it."""


def brief(text: str, most: int = 60) -> str:
    """The beginning of a text in one line, where it says what was found and need not be whole."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of another library's message, as it can stand in one of ours."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.isprintable() else repr(line)
