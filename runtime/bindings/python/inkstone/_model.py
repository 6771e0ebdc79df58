"""Models and their text."""

from __future__ import annotations

import json
import os
from typing import Any, List, Mapping, Optional, Sequence, Union

from . import _native
from ._closing import Closing
from ._session import Session

Messages = Sequence[Mapping[str, Any]]


class Model(Closing[_native.Model]):
    """An `.ink` file, mapped and checked; any number of sessions share it."""

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        super().__init__(_native.Model.open(os.fspath(path)))

    def attach(self, adapter: Union[str, "os.PathLike[str]"], scale: float = 1.0) -> "Model":
        """This model with an adapter's file beside those it has, scaled. Both share the mapped file.

        `inkstone adapter import` writes such a file.
        """
        return Model._of(self._native.attach(os.fspath(adapter), scale))

    @classmethod
    def _of(cls, native: _native.Model) -> "Model":
        model = cls.__new__(cls)
        Closing.__init__(model, native)
        return model

    @property
    def name(self) -> str:
        """The name in the file, or else that of the file."""
        return self._native.name()

    @property
    def context(self) -> int:
        """Positions that it was trained for."""
        return self._native.context()

    @property
    def vocabulary(self) -> int:
        """Tokens that there are."""
        return self._native.vocabulary()

    @property
    def has_template(self) -> bool:
        """Whether the model knows conversations: a base model does not."""
        return self._native.has_template()

    def verify(self) -> None:
        """Reads the whole file and compares its hashes."""
        self._native.verify()

    def tokenize(self, text: str) -> List[int]:
        """The tokens of plain text, with what begins a text before it where the vocabulary says so."""
        return self._native.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens give none."""
        return self._native.detokenize(list(tokens))

    def render_chat(self, messages: Messages, tools: Optional[Sequence[Any]] = None) -> str:
        """The text of a conversation that the model is to continue, by its chat template."""
        return self._native.render_chat(json.dumps(list(messages)), json.dumps(list(tools)) if tools else None)

    def plan(self, **config: Any) -> _native.Plan:
        """What `session` with the same arguments will take, exactly; nothing is reserved."""
        return self._native.plan(_config(**config))

    def session(self, **config: Any) -> Session:
        """Reserves a session: all its memory and threads.

        `context`, `threads`, `batch`, `rewind`, `kv` (a `Kv`), `shift_keep`, `plain`, `embeddings` and `draft` (a `Model`) are those
        of `SessionConfig`; what is left out is the engine's choice.
        """
        return Session(self._native, self._native.session(_config(**config)))


def _config(draft: Optional[Model] = None, **config: Any) -> _native.SessionConfig:
    return _native.SessionConfig(draft=None if draft is None else draft._native, **config)
