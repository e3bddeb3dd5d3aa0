"""Prefect's settings as they travel to the workers of a cluster: the server's address, no secret.

Prefect sends all its settings with every task, its API key among them, as a pickle: through the
scheduler, and readable by whoever reaches it. Ours sends the address alone; all else, the key too,
a worker takes from its own environment or profile.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_API_URL


class WorkerSettings(Mapping[str, Any]):
    """What a worker makes its settings of: its own, with the address of the flow's server.

    It is looked at on the worker alone; a scheduler that unpickles it passes it on as it is.
    """

    def __init__(self, api_url: str | None) -> None:
        """Take the address of the server that the flow reports to."""
        self._api_url = api_url

    def __getitem__(self, name: str) -> Any:
        """Return the profile or the settings of this process."""
        own = get_settings_context()
        if name == "settings" and self._api_url:
            return own.settings.copy_with_update({PREFECT_API_URL: self._api_url})
        return getattr(own, name)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of what a context of settings is made of."""
        return iter(("profile", "settings"))

    def __len__(self) -> int:
        """Return how many these are."""
        return 2


class _Travelling(SettingsContext):
    """The settings of this process, of which a worker is sent the address."""

    def serialize(self, include_secrets: bool = True) -> Any:
        """Return what is pickled for a worker."""
        return WorkerSettings(self.settings.api.url)


def without_secrets() -> AbstractContextManager[Any]:
    """Send tasks to workers without the secrets among Prefect's settings meanwhile."""
    own = get_settings_context()
    return _Travelling(profile=own.profile, settings=own.settings)
