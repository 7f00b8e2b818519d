import pytest
from watched import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run directory of a policy that was not trained."""
    return Run(tmp_path_factory.mktemp("watched"))
