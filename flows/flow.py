"""What all flows share: their default settings, their runner, and no secret in what they show."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Flow, get_client
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.utilities.hashing import file_hash

from dskd_core.config import PipelineConfig
from dskd_core.redaction import redact, redacted_value, redacting
from flows.limits import naming_limits
from flows.runners.choice import ChosenRunner
from tasks.policy import briefly

DEFAULTS = PipelineConfig()
P = ParamSpec("P")
R = TypeVar("R")


class RedactedFlow(Flow[P, R]):
    """A flow that repeats no secret of its parameters."""

    @redacting
    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as what the flow takes.

        Raises:
            ParameterTypeError: if one is refused.
        """
        try:
            return super().validate_parameters(parameters)
        except Exception:
            keep_no_secret()
            raise

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of a run that this process begins, as the server keeps them."""
        return dict(redacted_value(super().serialize_parameters(parameters)))


def keep_no_secret() -> None:
    """Have the server keep this process's run without the secrets in its parameters.

    Those of a run whose parameters the server was told not to check are refused by the flow.
    """
    # A server that is away must not hide the refusal itself.
    with contextlib.suppress(Exception), briefly(), get_client(sync_client=True) as client:
        if run_id := flow_run.id:
            kept = client.read_flow_run(UUID(run_id)).parameters
            if (clean := redacted_value(kept)) != kept:
                client.update_flow_run(UUID(run_id), parameters=clean)


def dskd_flow(flow_run_name: str) -> Callable[[Callable[P, R]], RedactedFlow[P, R]]:
    """Return a decorator that makes a flow of ours: its name, its runner, no secrets.

    A limit of the system that ends a run is named in its state.

    Args:
        flow_run_name: what a run is called, by its parameters: ``tidy {config.root_uri}``.
    """

    @redacting
    def named() -> str:
        context = FlowRunContext.get()
        return redact(flow_run_name.format(**(context.parameters if context else {})))

    def make(function: Callable[P, R]) -> RedactedFlow[P, R]:
        return RedactedFlow(
            redacting(naming_limits(function)),
            name="dskd",
            flow_run_name=named,
            task_runner=ChosenRunner(),
            version=file_hash(inspect.getfile(function)),
        )

    return make
