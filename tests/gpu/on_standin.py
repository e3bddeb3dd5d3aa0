"""Run pytest on the stand-in for a GPU: python -m tests.gpu.on_standin tests/gpu.

Processes that it starts import this module too, and have the stand-in as well. To import it is to
install the stand-in, so pytest must not collect it (conftest.py).
"""

import sys

from tests import standin_gpu

standin_gpu.install()

if __name__ == "__main__":
    import pytest

    sys.exit(pytest.main(sys.argv[1:]))
