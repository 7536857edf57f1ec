"""The errors that a person at the terminal can mend."""


class UserError(ValueError):
    """A sentence for the user: what was asked, what is wrong, what to type instead.

    The command line prints it without a traceback and exits with `status`.
    """

    status = 2


class Fault(UserError):
    """What stopped a run that had begun, in a sentence: what happened, where, what to type next."""

    status = 1
