"""What holds memory until it is closed."""

from __future__ import annotations

from typing import Any, Generic, Optional, TypeVar

Native = TypeVar("Native")
Own = TypeVar("Own", bound="Closing[Any]")


class Closing(Generic[Native]):
    """Holds an object of the library; leaving a `with` block, or `close`, lets go of it."""

    def __init__(self, native: Native) -> None:
        self._held: Optional[Native] = native

    def close(self) -> None:
        """Lets go of it; memory is free again once nothing else uses it. A second call does nothing."""
        self._held = None

    @property
    def _native(self) -> Native:
        if self._held is None:
            raise ValueError(f"the {type(self).__name__.lower()} is closed")
        return self._held

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
