"""Checks of options of the data that need no data: folds, and a batch that several devices share."""

from lantu.errors import UserError


def check_folds(fold: int | None, folds: int | None) -> None:
    """Raise a `UserError` unless both are given and are consistent, or neither is given."""
    if folds is None and fold is None:
        return
    if folds is None:
        raise UserError(f"`data.fold={fold}` is one of several folds: add `data.folds=5`.")
    if folds < 2:
        raise UserError(f"`data.folds={folds}` must be at least 2.")
    every = ",".join(map(str, range(folds)))
    if fold is None:
        raise UserError(f"`data.folds={folds}` needs the fold to test on: `-m data.fold={every}` runs them all.")
    if not 0 <= fold < folds:
        raise UserError(f"`data.fold={fold}`: of {folds} folds the numbers are {every}.")


def check_share(batch_size: int, *, ranks: int) -> int:
    """The number of examples of a batch on each rank.

    Raises:
        UserError: the batch cannot be split evenly.
    """
    share, rest = divmod(batch_size, ranks)
    if rest or not share:
        near = [each for each in (share * ranks, (share + 1) * ranks) if each]
        raise UserError(
            f"`data.batch_size={batch_size}` is the batch of all {ranks} devices together, and cannot be cut into "
            f"{ranks} equal shares. {' or '.join(f'`data.batch_size={each}`' for each in near)} can."
        )
    return share
