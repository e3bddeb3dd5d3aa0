"""Where ``dskd torchrun`` listens, and what it refuses before it starts anything."""

import socket

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.torchrun import _listening


def test_the_store_listens_on_the_named_address_alone_and_is_hosted_once():
    with socket.socket(fileno=_listening("127.0.0.1", 0)) as made:
        host, port = made.getsockname()
        assert host == "127.0.0.1"
        assert _listening("127.0.0.1", port) is None, "another process has it"
    assert _listening("192.0.2.1", port) is None, "another machine has that address"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (["--nnodes", "2"], "--nnodes 2 times --nproc-per-node 1 are 2 processes, and training"),
        (["--rdzv-endpoint", "gpu1"], "--rdzv-endpoint 'gpu1' is no HOST:PORT; write it as"),
        (["--nnodes", "0"], "'--nnodes'"),
    ],
)
def test_a_launch_that_cannot_work_is_refused_in_one_sentence(options, refusal, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(f"root_uri: {tmp_path}\n")
    result = CliRunner().invoke(app, ["torchrun", str(file), *options])
    assert result.exit_code == 2
    assert refusal in " ".join(result.output.split())
    assert "Traceback" not in result.output
