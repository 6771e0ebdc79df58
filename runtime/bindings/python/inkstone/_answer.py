"""An answer as it comes."""

from __future__ import annotations

from typing import Iterator, Optional

from . import _native


class Answer:
    """Iterates text as it is drawn. `text` is what came so far, `finish` says why it is over."""

    def __init__(self, session: _native.Session, native: _native.Answer) -> None:
        self._session = session
        self._native = native
        self.text: str = ""
        self.finish: Optional[_native.Finish] = None

    def pieces(self) -> Iterator[_native.Piece]:
        """As iterating, with the progress of the prompt and the token of each text."""
        while (piece := self._native.next()) is not None:
            if isinstance(piece, (_native.Piece.TOKEN, _native.Piece.FINISHED)):
                self.text += piece.text
            if isinstance(piece, _native.Piece.FINISHED):
                self.finish = piece.finish
            yield piece

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces():
            if isinstance(piece, (_native.Piece.TOKEN, _native.Piece.FINISHED)) and piece.text:
                yield piece.text

    def read(self) -> str:
        """Draws all that is left; the whole text."""
        for _ in self.pieces():
            pass
        return self.text

    def cancel(self) -> None:
        """As `Session.cancel`: iteration ends with what is there, `finish` is `Finish.CANCELLED`."""
        self._session.cancel()

    @property
    def stats(self) -> _native.Stats:
        """What it took so far."""
        return self._native.stats()
