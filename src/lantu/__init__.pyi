from .config.composing import Composition as Composition
from .config.composing import compose as compose
from .errors import UserError as UserError
from .training.result import Result as Result
from .training.run import run as run
