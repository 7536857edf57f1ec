"""Find the sweep that a command refers to, or name a new one."""

from omegaconf import DictConfig

from lantu.errors import UserError
from lantu.redaction import redact
from lantu.sweeps.state.request import Request, slug
from lantu.sweeps.state.sweep_folder import SweepFolder, sweeps_of


def find_or_name(cfg: DictConfig, request: Request, *, kind: str) -> tuple[SweepFolder, bool]:
    """Return the sweep's folder and whether the sweep is new.

    Raises:
        UserError: the named sweep does not exist, or was started with other overrides.
    """
    from pathlib import Path

    home = sweeps_of(Path(str(cfg.paths.store)))
    named = cfg.sweep.resume or cfg.sweep.name
    digest = request.digest(kind)
    if named:
        folder = SweepFolder(home / slug(str(named)))
        if not folder.exists():
            if cfg.sweep.resume:
                raise UserError(f"`sweep.resume={named}`: {unknown(home, str(named))}")
            return folder, True
        if folder.content()["digest"] != digest:
            _refuse_other(folder, request, kind)
        return folder, False
    start = str(cfg.hydra.runtime.choices.get("experiment") or cfg.hydra.runtime.choices.get("data"))
    name = request.name(start)
    for number in range(1, 10_000):
        folder = SweepFolder(home / (name if number == 1 else f"{name}-{number}"))
        if not folder.exists():
            return folder, True
        if folder.content()["digest"] == digest:
            return folder, False
    raise AssertionError(name)


def unknown(home: object, name: str) -> str:
    """Format the error for a sweep that does not exist."""
    from pathlib import Path

    from lantu.suggestions import did_you_mean

    known = sorted(each.parent.name for each in Path(str(home)).glob("*/sweep.json"))
    return f"there is no sweep `{name}`.{did_you_mean(name, known)} There are: {', '.join(known) or 'none'}."


def _refuse_other(folder: SweepFolder, request: Request, kind: str) -> None:
    content = folder.content()
    before, now = {redact(str(each)) for each in content["fixed"]}, {redact(each) for each in request.fixed}
    parts = [
        *(f"`{each}` is new" for each in sorted(now - before)),
        *(f"`{each}` is missing" for each in sorted(before - now)),
        *(f"`{each}` varies now" for each in sorted(set(request.keys) - set(content["keys"]))),
        *(f"`{each}` varies no more" for each in sorted(set(content["keys"]) - set(request.keys))),
        *([f"it was a {content['kind']} and is a {kind}"] if content["kind"] != kind else []),
    ]
    raise UserError(
        f"the sweep `{folder.name}` asks for something else, so that its trials could not be compared with these: "
        f"{'; '.join(parts)}. To continue it as it is: `lantu train sweep.resume={folder.name}`. For another sweep, "
        f"choose another name."
    )
