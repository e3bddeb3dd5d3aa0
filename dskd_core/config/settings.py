"""What all settings share: frozen, no unknown key, no credentials, and the kinds of values.

Every number has a least and a greatest value, every text and list a greatest length. They are part
of the form, so the server refuses what lies beyond them when a run is created. They are far above
what hundreds of GPUs are used for, and below what makes a process allocate or run without end;
what a machine or a corpus can bear is less, and refused by arithmetic before the work begins. A
limit of tokens, bytes or items that is so high that nothing reaches it means no limit.
"""

from typing import Annotated, Any, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dskd_core.config.form import TOLD, describe
from dskd_core.config.size import check_size
from dskd_core.credentials import check_no_credentials

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
"""At a million, nothing is left of the other terms in float32."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
WindowTokens = Annotated[int, Field(ge=8, le=1 << 20)]
"""A window is one forward pass; a million tokens are beyond the context of most models."""
BatchTokens = Annotated[int, Field(ge=1, le=1 << 24)]
"""A batch is on one device: the states of 16 million tokens (d = 4096) take 128 GiB in 16 bits."""
ShardTokens = Annotated[int, Field(ge=1, le=1 << 30)]
"""A shard is done anew if its worker dies: a billion tokens are days of a GPU."""
TokenLimit = Annotated[int, Field(ge=1, le=10**15)]
"""The largest corpora have some 10^13 tokens."""
DocumentTokens = Annotated[int, Field(ge=1, le=10**9)]
"""A document of a billion tokens is four gigabytes of text."""
Items = Annotated[int, Field(ge=1, le=10**9)]
"""The largest benchmark has some hundred thousand questions."""
AnswerTokens = Annotated[int, Field(ge=1, le=1 << 14)]
"""Each is a forward pass of its own, for every item."""
Exemplars = Annotated[int, Field(ge=0, le=1000)]
"""They stand in the prompt, of at most a million tokens."""
Layers = Annotated[int, Field(ge=1, le=4096)]
"""The deepest published models have fewer than 200."""
Senses = Annotated[int, Field(ge=1, le=1000)]
"""The paper takes 5 and 10; memory and time of k-means grow with it."""
Neighbours = Annotated[int, Field(ge=0, le=100_000)]
"""A vocabulary has about as many tokens."""
Steps = Annotated[int, Field(ge=1, le=10**9)]
"""A billion steps of a tenth of a second are three years."""
DeviceBytes = Annotated[int, Field(ge=1 << 20, le=1 << 42)]
"""4 TiB are more than any device has."""
DiskBytes = Annotated[int, Field(ge=1 << 20, le=1 << 50)]
"""A pebibyte."""
# Credentials in an address stand before an "@". The pattern is part of the form, so the server
# refuses them when a run is created, before they are kept anywhere.
_URI = r"(hf:[^:@]*(@[^:@]*)?|[^@]*|[^:]*)$"
_OF_HUB = r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w.][\w./-]*)?$"
Uri = Annotated[
    str,
    Field(
        max_length=4096,
        pattern=f"^{_URI}",
        # The form alone looks at names on the hub, and where a path begins: of the settings
        # store/access.py asks more, and says it in a sentence.
        json_schema_extra={
            "pattern": f"^(?!hf:(?!{_OF_HUB}))(?!/(proc|sys)(/|$)){_URI}",
            TOLD: "a hub id, a file, a folder, hf:OWNER/NAME or s3://BUCKET/PREFIX, below neither "
            "/proc nor /sys, and without a login before an @",
        },
    ),
]
"""As long as Linux lets a path be."""
Name = Annotated[
    str,
    Field(
        max_length=256,
        pattern=r"^[^:@]*$",
        json_schema_extra={TOLD: "a name as on the hub, without : and @"},
    ),
]
"""A name on the hub: of a repository, a revision, a configuration."""
Device = Annotated[
    str,
    Field(
        max_length=16,
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:(0|[1-9][0-9]{0,2}))?)$",
        json_schema_extra={TOLD: "auto, cpu, cuda, cuda:NUMBER, mps or xpu"},
    ),
]
"""A device of torch that computes: not meta, which holds no values."""
Text = Annotated[str, Field(max_length=256)]
"""A name in a file: of a column, a tag, a licence."""
Texts = Annotated[tuple[Text, ...], Field(max_length=1000)]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, credentials in any text, and infinity."""

    # A value that is refused may be a secret in the wrong place: pydantic's message has none.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        json_schema_extra=describe,
    )

    @model_validator(mode="before")
    @classmethod
    def _of_some_size(cls, values: Any) -> Any:
        return check_size(values)

    @field_validator("*", mode="before")
    @classmethod
    def _no_credentials(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind is not bool and (not isinstance(value, dict) or get_origin(kind) is dict):
            _check_no_flag(value)
        # The settings within settings look at theirs, and name them.
        return value if isinstance(value, dict | Settings) else check_no_credentials(value)

    @field_validator("*", mode="after")
    @classmethod
    def _one_zero(cls, value: Any) -> Any:
        # -0.0 equals 0.0, but would give the artifacts another address.
        return 0.0 if isinstance(value, float) and value == 0.0 else value


def _check_no_flag(value: Any) -> None:
    """Refuse true and false in the place of a number or a text: pydantic takes them for 1 and 0."""
    members = value.values() if isinstance(value, dict) else value
    members = members if isinstance(value, dict | list | tuple) else [value]
    if any(isinstance(member, bool) for member in members):
        raise ValueError("true and false are no values of this setting; give a number or a text")
