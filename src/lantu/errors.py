"""The errors that a person at the terminal can mend."""


class UserError(ValueError):
    """A sentence for the user: what was asked, what is wrong, what to type instead.

    The command line prints it without a traceback and exits with `status`.
    """

    status = 2


class Fault(UserError):
    """What stopped a run that had begun, in a sentence: what happened, where, what to type next."""

    status = 1


def lacks(owner: object, method: str, purpose: str) -> UserError:
    """The error that a class does not have a method: says which class, which method and what it is needed for.

    Args:
        owner: the object or the class.
        method: its name, without parentheses.
        purpose: such as "to predict from a file".
    """
    cls = owner if isinstance(owner, type) else type(owner)
    return UserError(
        f"`{cls.__module__}.{cls.__qualname__}` has no method `{method}`, which is needed {purpose}. "
        "CONTRIBUTING.md shows how to write it."
    )
