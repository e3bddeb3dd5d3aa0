"""What all settings share: frozen, no unknown key, no credentials, and the kinds of values."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dskd_core.credentials import check_no_credentials, refuse_in_form

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Credentials in an address stand before an "@". The pattern is part of the form, so the server
# refuses them when a run is created, before they are kept anywhere.
Uri = Annotated[str, Field(pattern=r"^(hf:[^:@]*(@[^:@]*)?|[^@]*|[^:]*)$")]
Name = Annotated[str, Field(pattern=r"^[^:@]*$")]
"""A name on the hub: of a repository, a revision, a configuration."""


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, and credentials in any text."""

    # A value that is refused may be a secret in the wrong place: pydantic's message has none.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        json_schema_extra=refuse_in_form,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        # The settings within settings look at theirs, and name them.
        return value if isinstance(value, dict | Settings) else check_no_credentials(value)
