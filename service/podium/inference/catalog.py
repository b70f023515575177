"""The configured models by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from podium.errors import NotFound
from podium.orchestration.chat import ChatModel

__all__ = ["ConfiguredModels"]


class ConfiguredModels:
    """A `ModelCatalog` over a fixed set of models. The alias `default` always works."""

    def __init__(self, models: Mapping[str, ChatModel], *, default: str) -> None:
        self._models = dict(sorted(models.items()))
        self._default = default

    @property
    def default(self) -> str:
        """Name of the model used when a request names none."""
        return self._default

    def get(self, name: str) -> ChatModel:
        """Return a model; an empty name or `default` means the default one.

        Raises:
            NotFound: no model has this name; the message names those that exist.
        """
        wanted = self._default if name in ("", "default") else name
        try:
            return self._models[wanted]
        except KeyError:
            near = get_close_matches(name, self._models, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self._models)}"
            raise NotFound(
                f"there is no model {name!r}; {hint}", resource_type="podium.v1.Model", resource_name=name
            ) from None

    def list(self) -> Sequence[ChatModel]:
        """Return every model, by name."""
        return list(self._models.values())
