"""The one kind of error that a person at the terminal can mend."""


class UserError(ValueError):
    """A sentence for the user: what was asked, what is wrong, what to type instead.

    The command line prints it without a traceback and exits with status 2.
    """
