"""Sessions: a sequence of tokens and what follows it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Optional, Sequence, Union, cast

from . import _native
from ._answer import Answer
from ._closing import Closing

if TYPE_CHECKING:
    import numpy

Path = Union[str, "os.PathLike[str]"]


class Session(Closing[_native.Session]):
    """A sequence of tokens, in memory that is reserved once. `Model.session` makes it."""

    def __init__(self, model: _native.Model, native: _native.Session) -> None:
        super().__init__(native)
        self._model = model

    def stream(self, text: str = "", **options: Any) -> Answer:
        """Appends text; iterating the answer draws what follows, text by text. Options are those of `answer`."""
        if text:
            self._native.feed_text(text)
        return self.answer(**options)

    def chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Optional[Sequence[Any]] = None, **options: Any
    ) -> Answer:
        """Makes a conversation the whole sequence and answers it; what was run of it already is kept.

        `messages` are as in OpenAI's interface: `[{"role": "user", "content": "Hello"}]`.
        """
        self._native.prompt_chat(json.dumps(list(messages)), json.dumps(list(tools)) if tools else None)
        return self.answer(**options)

    def answer(
        self,
        *,
        limit: Optional[int] = None,
        stops: Sequence[str] = (),
        ignore_stops: bool = False,
        json_schema: Optional[Union[str, Mapping[str, Any]]] = None,
        lark: Optional[str] = None,
        gbnf: Optional[str] = None,
        regex: Optional[str] = None,
    ) -> Answer:
        """An answer to what was fed: at most `limit` tokens, ended by any of `stops`.

        A JSON Schema, a Lark or GBNF grammar or a regular expression holds the whole answer to it; one at most.
        """
        if json_schema is not None and not isinstance(json_schema, str):
            json_schema = json.dumps(json_schema)
        kinds = _native.Grammar
        given = [
            kind(text)
            for kind, text in (
                (kinds.JSON_SCHEMA, json_schema),
                (kinds.LARK, lark),
                (kinds.GBNF, gbnf),
                (kinds.REGEX, regex),
            )
            if text is not None
        ]
        if len(given) > 1:
            raise ValueError("an answer has one grammar at most")
        options = _native.AnswerOptions(
            limit=limit,
            stops=list(stops),
            # The generator does not tell type checkers that the kinds of a grammar are grammars.
            grammar=cast(Optional[_native.Grammar], given[0] if given else None),
            ignore_stops=ignore_stops,
        )
        return Answer(self._native, self._native.answer(options))

    def feed(self, text: Union[str, Iterable[int]]) -> None:
        """Appends text, tokenised by itself, or tokens; nothing is computed."""
        if isinstance(text, str):
            self._native.feed_text(text)
        else:
            self._native.feed(list(text))

    def prompt(self, text: Union[str, Iterable[int]]) -> int:
        """Makes text, or tokens, the whole sequence, keeping what it begins with already; how many tokens were kept."""
        if isinstance(text, str):
            return self._native.prompt_text(text)
        return self._native.prompt(list(text))

    def sampling(self, **parameters: Any) -> None:
        """Draws by these from now on: `temperature`, `top_k`, `top_p`, `min_p`, `seed` and the others of `Sampling`.

        None at all is greedy choice.
        """
        self._native.set_sampling(_native.Sampling(**parameters))

    def logits(self) -> "numpy.ndarray[Any, numpy.dtype[numpy.float32]]":
        """Runs what was fed; the logits that follow it, float32, one for each token of the vocabulary. Needs NumPy."""
        import numpy

        return numpy.frombuffer(self._native.logits_bytes(), dtype="<f4").astype(numpy.float32)

    def embed(
        self, text: Union[str, Iterable[int]], pooling: _native.Pooling = _native.Pooling.MEAN
    ) -> "numpy.ndarray[Any, numpy.dtype[numpy.float32]]":
        """The vector of a text, of length 1 and as wide as the model. Needs NumPy, and `session(embeddings=True)`."""
        import numpy

        tokens = self._model.tokenize(text) if isinstance(text, str) else list(text)
        return numpy.array(self._native.embed(tokens, pooling), dtype=numpy.float32)

    def cancel(self) -> None:
        """Stops the running call, or else the next one that computes; from any thread, waiting for nothing."""
        self._native.cancel()

    def uncancel(self) -> bool:
        """Takes a `cancel` back that no call has heeded yet; whether there was one."""
        return self._native.uncancel()

    @property
    def position(self) -> int:
        """Tokens in the sequence."""
        return self._native.position()

    @property
    def context(self) -> int:
        """Positions it can hold."""
        return self._native.context()

    @property
    def tokens(self) -> List[int]:
        """The sequence: fed and drawn tokens that have not been dropped."""
        return self._native.tokens()

    @property
    def text(self) -> str:
        """The text of the sequence."""
        return self._model.detokenize(self.tokens)

    def mark(self) -> _native.Mark:
        """The end of the sequence, to go back to."""
        return self._native.mark()

    def rewind(self, to: Union[_native.Mark, int]) -> None:
        """Forgets all tokens from a mark or position on; 0 forgets all."""
        if isinstance(to, int):
            self._native.rewind_to(to)
        else:
            self._native.rewind(to)

    def fork(self) -> "Session":
        """A session of its own that stands where this one stands."""
        return Session(self._model, self._native.fork())

    def save(self, path: Path) -> None:
        """Writes the state to a file, which is whole or not there."""
        self._native.save(os.fspath(path))

    def load(self, path: Path) -> None:
        """Takes a saved state over, of the same model and configuration."""
        self._native.load(os.fspath(path))
