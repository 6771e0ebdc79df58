"""Language models on small devices: the same tokens everywhere.

>>> import inkstone
>>> with inkstone.Model("story.ink") as model, model.session() as session:
...     for text in session.stream("Once upon a time", limit=64):
...         print(text, end="")

A `Model` is a mapped file, a `Session` a sequence of tokens in memory that is reserved once, an `Answer` what follows
the sequence, drawn while it is iterated. Calls of one session come one after another; `Session.cancel` may come from
any thread. Whatever goes wrong is an `InkstoneError`; its subclasses say what to act on.
"""

from ._answer import Answer
from ._model import Model
from ._native import Finish, InkstoneError, Kv, Mark, Piece, Plan, Pooling, Purpose, Stats, version
from ._session import Session

__version__ = version()
__all__ = [
    "Answer",
    "Finish",
    "InkstoneError",
    "Kv",
    "Mark",
    "Model",
    "Piece",
    "Plan",
    "Pooling",
    "Purpose",
    "Session",
    "Stats",
]
